"""
The shapes of what a connection to a database declares, and what no shape can say.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from connectors.contract import JsonSchema
from connectors.settings import SettingError

KINDS: Mapping[str, Any] = {
    "string": {"type": ["string", "null"]},
    "integer": {"type": ["integer", "null"]},
    "number": {"type": ["number", "null"]},
    "boolean": {"type": ["boolean", "null"]},
    "object": {"type": ["object", "null"]},
    "list": {"type": ["array", "null"]},
}
"""What a field may be; every column may be null."""

_NAME = {"type": "string", "pattern": "^[A-Za-z_][A-Za-z0-9_]{0,62}$"}
_TABLE = {"type": "string", "pattern": "^[A-Za-z_][A-Za-z0-9_$]{0,62}(\\.[A-Za-z_][A-Za-z0-9_$]{0,62})?$"}
_EVENT = {"type": "string", "pattern": "^[a-z][a-z0-9_]*\\.[a-z][a-z0-9_-]*$"}
_FIELDS = {
    "type": "object",
    "minProperties": 1,
    "propertyNames": {"pattern": "^[a-z][a-z0-9_]{0,62}$"},
    "additionalProperties": {"enum": [*KINDS]},
}

LOOKUPS: JsonSchema = {
    "type": "object",
    "propertyNames": {"pattern": "^[a-z][a-z0-9_]{0,62}$"},
    "additionalProperties": {
        "type": "object",
        "additionalProperties": False,
        "required": ["query", "fields"],
        "properties": {
            "query": {
                "type": "string",
                "minLength": 1,
                "description": "One SELECT; `:by` and `:most` stand for values.",
            },
            "fields": {**_FIELDS, "description": "Columns that leave the database, and what they are."},
            "many": {"type": "boolean", "description": "Whether it gives several records, newest first."},
            "description": {"type": "string"},
            "ttl": {"type": "number", "minimum": 0, "description": "Seconds a result may be used again."},
            "timeout": {
                "type": "number",
                "exclusiveMinimum": 0,
                "maximum": 60,
                "description": "Seconds it may take; 5.",
            },
        },
    },
}

SOURCES: JsonSchema = {
    "type": "object",
    "propertyNames": {"pattern": "^[a-z][a-z0-9_]{0,62}$"},
    "additionalProperties": {
        "type": "object",
        "additionalProperties": False,
        "required": ["table", "id", "time", "fields"],
        "properties": {
            "table": {**_TABLE, "description": "A table or view."},
            "id": {**_NAME, "description": "The column that tells rows apart."},
            "time": {**_NAME, "description": "The column that says when a row was written; it only grows."},
            "event": {**_EVENT, "description": "What every row is."},
            "type": {**_NAME, "description": "The column that says what a row is, in place of `event`."},
            "events": {"type": "array", "minItems": 1, "items": _EVENT, "description": "What it may say."},
            "subject": {**_NAME, "description": "The column with the id of the record; that of the row by default."},
            "fields": {**_FIELDS, "description": "Columns that become `event.data`, and what they are."},
            "changes": {
                "type": "boolean",
                "description": "true: a row is an event each time its `time` changes; false: once (an outbox).",
            },
            "every": {"type": "number", "minimum": 1, "maximum": 86400, "description": "Seconds between looks; 30."},
            "overlap": {
                "type": "number",
                "minimum": 0,
                "maximum": 86400,
                "description": "Seconds a transaction may take to commit; 120.",
            },
            "listen": {**_NAME, "description": "PostgreSQL only: the channel of NOTIFY that says there is something."},
        },
        "oneOf": [{"required": ["event"]}, {"required": ["type", "events"]}],
    },
}

_WORDS = re.compile(r"'(?:[^']|'')*'|\"(?:[^\"]|\"\")*\"|--[^\n]*|/\*.*?\*/", re.DOTALL)
_BOUND = re.compile(r"(?<![:\w]):([A-Za-z_]\w*)")


def misshapen(lookups: Mapping[str, Any]) -> None:
    """
    Raise `SettingError` for a query that is no single reading one.
    """
    for name, rule in lookups.items():
        keys = ("lookups", name, "query")
        bare = _WORDS.sub(" ", rule["query"]).strip().rstrip(";")
        if not re.match(r"(?i)(select|with|values|table)\b", bare):
            raise SettingError("a lookup only reads: its query begins with SELECT or WITH", keys)
        if ";" in bare:
            raise SettingError("a lookup is one query", keys)
        if unknown := sorted(set(_BOUND.findall(bare)) - {"by", "most"}):
            hint = "`:by` is what a section asks for, `:most` how many records at most"
            raise SettingError(f"nothing is known of `:{unknown[0]}`", keys, hint)


def event_types(rule: Mapping[str, Any]) -> tuple[str, ...]:
    """
    Return the event types that a source can give.
    """
    return (rule["event"],) if "event" in rule else tuple(rule.get("events", ()))


def fields_schema(fields: Mapping[str, str]) -> JsonSchema:
    """
    Return the closed JSON Schema of a record with *fields*.
    """
    return {
        "type": "object",
        "additionalProperties": False,
        "required": [*fields],
        "properties": {name: {**KINDS[kind], "description": f"The column `{name}`."} for name, kind in fields.items()},
    }
