"""
`schemas/pipelines.schema.json`: the declaration as JSON Schema, for editors, with every connector's settings.

    python -m pipelines.schema > schemas/pipelines.schema.json
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

import orjson

from connectors import catalog as all_connectors
from pipelines.declaration import Declaration
from pipelines.survey import Catalog

_TITLE = "Penstock declaration"
_DESCRIPTION = "pipelines.yaml: connections, models and pipelines of one hub."
_DIALECT = "http://json-schema.org/draft-07/schema#"  # what editors' YAML servers know best


def generate(catalog: Catalog = all_connectors) -> str:
    """
    Return the schema as JSON text, the same for the same models and catalog.
    """
    found = _tidy(Declaration.model_json_schema(by_alias=True))
    found["definitions"] = found.pop("$defs")
    silence = found["definitions"]["Connection"]["properties"]["silence"]
    found["definitions"]["Connection"] = _connection(catalog, {"silence": silence})
    found["definitions"]["Ask"] |= {"oneOf": [{"required": ["model"]}, {"required": ["route"]}]}
    found["definitions"]["Section"] |= {
        "oneOf": [{"required": ["from"]}, {"required": ["fetch", "by"]}],
        "not": {"required": ["newest", "first"]},
    }
    ordered = {"$schema": _DIALECT, **found, "title": _TITLE, "description": _DESCRIPTION}
    text: bytes = orjson.dumps(ordered, option=orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS | orjson.OPT_APPEND_NEWLINE)
    return text.decode().replace("#/$defs/", "#/definitions/")


def _tidy(part: Any) -> Any:
    """
    Return *part* without titles, nulls and defaults in inner units: none of them can be written.
    """
    if isinstance(part, list):
        return [_tidy(item) for item in part]
    if not isinstance(part, dict):
        return part
    names = {"properties", "$defs"} & part.keys()
    kept: dict[str, Any] = {
        key: {name: _tidy(below) for name, below in value.items()} if key in names else _tidy(value)
        for key, value in part.items()
        if key not in ("title", "default")
    }
    if isinstance(kept.get("description"), str):
        kept["description"] = " ".join(kept["description"].split())
    if "patternProperties" in kept:
        kept["additionalProperties"] = False
    return _without_null(kept)


def _without_null(part: dict[str, Any]) -> dict[str, Any]:
    several = [each for each in part.get("anyOf", ()) if each != {"type": "null"}]
    if "anyOf" not in part or len(several) == len(part["anyOf"]):
        return part
    rest = {key: value for key, value in part.items() if key != "anyOf"}
    return {**rest, **several[0]} if len(several) == 1 else {**rest, "anyOf": several}


def _connection(catalog: Catalog, ours: Mapping[str, Any]) -> dict[str, Any]:
    specs = [catalog.spec(name) for name in catalog.names()]
    words = {spec.name: f"{spec.name}: {spec.description}" for spec in specs}
    return {
        "type": "object",
        "description": "One configured instance of a connector; its settings are the connector's own.",
        "required": ["connector"],
        "properties": {
            "connector": {"enum": sorted(words), "description": " ".join(words[name] for name in sorted(words))},
            **ours,
        },
        "allOf": [_branch(spec.name, spec.settings, ours) for spec in specs],
    }


def _branch(name: str, settings: Mapping[str, Any], ours: Mapping[str, Any]) -> dict[str, Any]:
    fields = {"connector": {"const": name}, **dict.fromkeys(ours, True), **settings.get("properties", {})}
    return {
        "if": {"required": ["connector"], "properties": {"connector": {"const": name}}},
        "then": {**settings, "properties": fields},
    }


if __name__ == "__main__":
    sys.stdout.write(generate())
