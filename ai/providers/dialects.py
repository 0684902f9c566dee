"""
JSON Schema as each provider accepts it for a native structured output.

Providers understand a part of JSON Schema and refuse the rest. What they do not understand is moved
into the description, where the model may still follow it; we validate the answer against the whole
schema ourselves. Where an official SDK rewrites schemas, ours does what it does, and tests hold us to it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

Schema = dict[str, Any]

_ANNOTATIONS = ("$schema", "$id", "$comment", "examples")
_OPENAI_REFUSES = (
    "minLength", "maxLength", "contentEncoding", "contentMediaType", "uniqueItems", "contains", "minContains",
    "maxContains", "prefixItems", "unevaluatedItems", "patternProperties", "propertyNames", "minProperties",
    "maxProperties", "unevaluatedProperties", "dependentRequired", "dependentSchemas", "not", "if", "then", "else",
)  # fmt: skip
_ANTHROPIC_FORMATS = frozenset(
    {"date-time", "time", "date", "duration", "email", "hostname", "uri", "ipv4", "ipv6", "uuid"}
)
_NULL: Schema = {"type": "null"}
_KEPT = 256  # schemas in their rewritten form
_REWRITTEN: dict[tuple[Callable[[Mapping[str, Any]], Schema], int], tuple[Mapping[str, Any], Schema]] = {}
"""By identity: the schema itself is kept beside it, so that no other can have its place."""
_GEMINI_TAKES = frozenset({
    "type", "description", "enum", "items", "minItems", "maxItems", "minimum", "maximum", "anyOf",
    "properties", "additionalProperties", "required", "$ref", "$defs",
})  # fmt: skip
_GEMINI_FORMATS = frozenset({"date-time", "date", "time"})


def rewritten(rewrite: Callable[[Mapping[str, Any]], Schema], schema: Mapping[str, Any]) -> Schema:
    """
    Return *schema* as *rewrite* makes it, made once: every question of a pipeline brings the same one.
    """
    known = _REWRITTEN.get((rewrite, id(schema)))
    if known is None or known[0] is not schema:
        if len(_REWRITTEN) >= _KEPT:
            _REWRITTEN.clear()
        known = _REWRITTEN[rewrite, id(schema)] = (schema, rewrite(schema))
    return known[1]


def openai_strict(schema: Mapping[str, Any]) -> Schema:
    """
    Return *schema* for OpenAI's strict mode: every property required, no other allowed.

    A property that may be left out becomes one that may be null.
    """
    part = _plain(schema)
    if "$ref" in part:
        rewritten: Schema = {"$ref": part["$ref"]}  # strict mode allows nothing beside a reference
        if "$defs" in part:
            rewritten["$defs"] = {name: openai_strict(value) for name, value in part["$defs"].items()}
        return rewritten
    refused = {name: part.pop(name) for name in _OPENAI_REFUSES if name in part}
    if "oneOf" in part:
        part["anyOf"] = part.pop("oneOf")
    if part.get("default", ...) is None:
        del part["default"]
    _each(part, openai_strict)
    if part.get("type") == "object" or "properties" in part:
        optional = set(part.get("properties", {})) - set(schema.get("required", ()))
        part["properties"] = {
            name: _nullable(value) if name in optional else value for name, value in part.get("properties", {}).items()
        }
        part["required"] = list(part["properties"])
        part["additionalProperties"] = False
    return _described(part, refused)


def anthropic_strict(schema: Mapping[str, Any]) -> Schema:
    """
    Return *schema* for Anthropic's structured output, as the official SDK transforms it.
    """
    part = _plain(schema)
    kept: Schema = {}
    if "$defs" in part:
        kept["$defs"] = {name: anthropic_strict(value) for name, value in part.pop("$defs").items()}
    if "$ref" in part:
        return kept | {"$ref": part["$ref"]}
    kind = part.pop("type", None)
    literal: Schema = {name: part.pop(name) for name in ("enum", "const") if name in part and _primitives(part[name])}
    variants = {name: part.pop(name) for name in ("anyOf", "oneOf", "allOf") if part.get(name)}
    kept |= literal
    if variants:
        name = next(iter(variants))
        kept["allOf" if name == "allOf" else "anyOf"] = [anthropic_strict(value) for value in variants[name]]
    elif not literal:
        kept["type"] = kind or "string"
    kept |= {name: part.pop(name) for name in ("description", "title") if name in part}
    if not literal:
        kept |= _anthropic_typed(kind, part)
    return _described(kept, part)


def _anthropic_typed(kind: Any, part: Schema) -> Schema:
    """
    Take what belongs to *kind* out of *part*.
    """
    if kind == "object":
        required = {"required": list(part.pop("required"))} if "required" in part else {}
        properties = {name: anthropic_strict(value) for name, value in part.pop("properties", {}).items()}
        part.pop("additionalProperties", None)
        return {"properties": properties, "additionalProperties": False} | required
    if kind == "string" and part.get("format") in _ANTHROPIC_FORMATS:
        return {"format": part.pop("format")}
    if kind == "array":
        items = {"items": anthropic_strict(part.pop("items"))} if isinstance(part.get("items"), dict) else {}
        least = {"minItems": part.pop("minItems")} if "minItems" in part else {}
        if least.get("minItems", 0) > 1:
            part |= least  # back in, as the last of what is only told in words
            least = {}
        return items | least
    return {}


def gemini(schema: Mapping[str, Any]) -> Schema:
    """
    Return *schema* in the part of JSON Schema that Google's models understand; the SDK sends it as it is.
    """
    part = _plain(schema)
    if "$ref" in part:
        return {name: part[name] for name in ("$ref", "$defs") if name in part} | _gemini_definitions(part)
    part.pop("title", None)
    if "const" in part:
        part["enum"] = [part.pop("const")]
    if "oneOf" in part and "anyOf" not in part:
        part["anyOf"] = part.pop("oneOf")
    part.pop("default", None)
    takes = _GEMINI_TAKES | ({"format"} if part.get("format") in _GEMINI_FORMATS else set())
    refused = {name: part.pop(name) for name in list(part) if name not in takes}
    _each(part, gemini)
    return _described(part, refused)


def tool_input(schema: Mapping[str, Any]) -> Schema:
    """
    Return *schema* as the input of a tool: whole, without what only people read.
    """
    return {name: value for name, value in schema.items() if name not in _ANNOTATIONS}


def _gemini_definitions(part: Schema) -> Schema:
    return {"$defs": {name: gemini(value) for name, value in part["$defs"].items()}} if "$defs" in part else {}


def _plain(schema: Mapping[str, Any]) -> Schema:
    """
    Return a copy without annotations, and with a list of types spelled as alternatives.
    """
    part = {name: value for name, value in schema.items() if name not in _ANNOTATIONS}
    if "definitions" in part:
        part["$defs"] = part.pop("definitions")
    if isinstance(part.get("$ref"), str):
        part["$ref"] = part["$ref"].replace("#/definitions/", "#/$defs/")
    kinds = part.get("type")
    if not isinstance(kinds, list):
        return part
    if len(kinds) == 1:
        return part | {"type": kinds[0]}
    outer = {name: part[name] for name in ("title", "description", "default", "$defs") if name in part}
    inner = {name: value for name, value in part.items() if name not in outer}
    return outer | {"anyOf": [_NULL if kind == "null" else _of_kind(inner, kind) for kind in kinds]}


def _of_kind(inner: Schema, kind: str) -> Schema:
    part = inner | {"type": kind}
    if "enum" in part:
        part["enum"] = [value for value in part["enum"] if value is not None]
    return part


def _each(part: Schema, rewrite: Any) -> None:
    for name in ("properties", "$defs"):
        if isinstance(part.get(name), dict):
            part[name] = {key: rewrite(value) for key, value in part[name].items()}
    if isinstance(part.get("items"), dict):
        part["items"] = rewrite(part["items"])
    for name in ("anyOf", "allOf"):
        if isinstance(part.get(name), list):
            part[name] = [rewrite(value) for value in part[name]]


def _nullable(schema: Schema) -> Schema:
    if _takes_null(schema):
        return schema
    if set(schema) == {"anyOf"}:
        return {"anyOf": [*schema["anyOf"], _NULL]}
    return {"anyOf": [schema, _NULL]}


def _takes_null(schema: Schema) -> bool:
    if schema.get("type") == "null" or ("const" in schema and schema["const"] is None):
        return True
    return any(_takes_null(variant) for variant in schema.get("anyOf", ()))


def _described(part: Schema, refused: Schema) -> Schema:
    """
    Say in the description of *part* what the provider would refuse as a keyword.
    """
    if not refused:
        return part
    told = "{" + ", ".join(f"{name}: {value}" for name, value in refused.items()) + "}"
    said = part.get("description")
    return part | {"description": f"{said}\n\n{told}" if said is not None else told}


def _primitives(value: Any) -> bool:
    if isinstance(value, list):
        return bool(value) and all(_primitives(item) and not isinstance(item, list) for item in value)
    return value is None or isinstance(value, str | int | float | bool)
