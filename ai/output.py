"""
What a pipeline wants back from a model: a JSON Schema of an object, and whether an answer keeps it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import orjson

from penstock.errors import Invalid

MOST_COMPLAINTS = 5  # errors of one answer that are worth telling the model
LONGEST_COMPLAINT = 200  # characters; the end says what is wrong, the start repeats the value


@dataclass(frozen=True, kw_only=True)
class OutputSchema:
    """
    The schema of an answer, under a name that models get to see.
    """

    name: str
    schema: Mapping[str, Any]

    @cached_property
    def hash(self) -> str:
        """
        Identify the schema by its content; the order of its keys does not matter.
        """
        return fingerprint(self.schema)

    @cached_property
    def wire_name(self) -> str:
        """
        Return the name as providers accept it.
        """
        plain = "".join(char if char.isascii() and (char.isalnum() or char in "-_") else "_" for char in self.name)
        return plain[:64] or "answer"

    @cached_property
    def literals(self) -> frozenset[str]:
        """
        Return every text the schema itself offers, as a value or as a name.
        """
        return frozenset(_literals(self.schema))

    @cached_property
    def tokens(self) -> int:
        """
        Return what the schema takes of a model's window.
        """
        from ai import tokens  # not needed by those who only name a schema

        return tokens.count(orjson.dumps(dict(self.schema)).decode())

    @cached_property
    def _validator(self) -> Any:
        import jsonschema_rs  # not needed by those who only name a schema

        try:
            return jsonschema_rs.validator_for(dict(self.schema), validate_formats=True, retriever=_refuse)
        except (jsonschema_rs.ValidationError, ValueError) as exc:
            message = f"the answer schema {self.name!r} is not a JSON Schema: {str(exc).splitlines()[0]}"
            raise Invalid(message, hint="mend the schema file that `ask.output` names") from exc

    def validate(self, value: Any) -> list[str]:
        """
        Return what is wrong with *value*, each with its place; empty when it keeps the schema.
        """
        if not isinstance(value, dict):
            return ["the answer is not a JSON object"]
        found = self._validator.iter_errors(value)
        return [_complaint(error) for error, _ in zip(found, range(MOST_COMPLAINTS), strict=False)]

    def without_gaps(self, value: Any) -> Any:
        """
        Return *value* without the nulls that stand for optional properties a provider had to fill.
        """
        return _pruned(value, [self.schema], self.schema) if _has_null(value) else value


def fingerprint(data: Any) -> str:
    """
    Return 32 hex digits that identify JSON *data*.
    """
    canonical = orjson.dumps(data, option=orjson.OPT_SORT_KEYS | orjson.OPT_NON_STR_KEYS)
    return hashlib.sha256(canonical).hexdigest()[:32]


def _complaint(error: Any) -> str:
    place = ".".join(str(part) for part in error.instance_path) or "the answer"
    message = error.message if len(error.message) <= LONGEST_COMPLAINT else f"…{error.message[-LONGEST_COMPLAINT:]}"
    return f"{place}: {message}"


def _refuse(uri: str) -> Any:
    raise ValueError(f"it refers to {uri!r}; only references inside the file are followed")


def _literals(part: Any) -> list[str]:
    if isinstance(part, list):
        return [text for item in part for text in _literals(item)]
    if not isinstance(part, Mapping):
        return []
    own = [*part.get("enum", ()), part.get("const")] if isinstance(part.get("enum", []), list) else []
    own += part["properties"] if isinstance(part.get("properties"), Mapping) else ()
    return [text for text in own if isinstance(text, str)] + [
        text for value in part.values() for text in _literals(value)
    ]


def _has_null(value: Any) -> bool:
    if isinstance(value, dict):
        return any(map(_has_null, value.values()))
    return any(map(_has_null, value)) if isinstance(value, list) else value is None


def _pruned(value: Any, schemas: list[Mapping[str, Any]], root: Mapping[str, Any]) -> Any:
    parts = [part for schema in schemas for part in alternatives(schema, root)]
    if isinstance(value, list):
        items = [part["items"] for part in parts if isinstance(part.get("items"), Mapping)]
        return [_pruned(item, items, root) for item in value]
    if not isinstance(value, dict):
        return value
    required = {name for part in parts for name in part.get("required", ())}
    kept = {}
    for name, item in value.items():
        known = [part["properties"][name] for part in parts if name in part.get("properties", {})]
        if item is None and known and name not in required and not any(_takes_null(part, root) for part in known):
            continue
        kept[name] = _pruned(item, known, root)
    return kept


def alternatives(schema: Any, root: Mapping[str, Any], seen: frozenset[str] = frozenset()) -> list[Mapping[str, Any]]:
    """
    Return *schema* with what it refers to and what it combines, flattened.
    """
    if not isinstance(schema, Mapping):
        return []
    found = [schema]
    reference = schema.get("$ref")
    if isinstance(reference, str) and reference not in seen:
        found += alternatives(resolve(reference, root), root, seen | {reference})
    for name in ("anyOf", "oneOf", "allOf"):
        found += [part for variant in schema.get(name, ()) for part in alternatives(variant, root, seen)]
    return found


def resolve(reference: str, root: Mapping[str, Any]) -> Any:
    """
    Return what a local *reference* (`#/$defs/…`) points at; an empty schema when there is nothing.
    """
    found: Any = root
    for name in reference.removeprefix("#").strip("/").split("/") if reference != "#" else ():
        step = name.replace("~1", "/").replace("~0", "~")
        found = found.get(step, {}) if isinstance(found, Mapping) else {}
    return found


def _takes_null(schema: Any, root: Mapping[str, Any]) -> bool:
    for part in alternatives(schema, root):
        kinds = part.get("type")
        if kinds == "null" or (isinstance(kinds, list) and "null" in kinds) or None in part.get("enum", ()):
            return True
        if "const" in part and part["const"] is None:
            return True
    return False


def ask_hash(*, template: str, schema: Mapping[str, Any], models: list[str], sections: Any) -> str:
    """
    Identify what was configured for an ask: a stored answer to another question is not reused.

    *template* is its text, *models* are labels, *sections* any JSON data that declares the context.
    """
    return fingerprint({"template": template, "schema": schema, "models": models, "sections": sections})
