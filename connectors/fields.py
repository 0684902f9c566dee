"""
Declared fields: their schemas, and how they are taken from a system's data.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from connectors.contract import JsonSchema
from connectors.formulas import Formula, Scope, value
from connectors.part import Part
from penstock.errors import Rejected

FieldType = Literal["string", "integer", "number", "boolean", "object", "strings", "objects"]

_KINDS: dict[str, tuple[type, ...]] = {
    "string": (str,),
    "integer": (int,),
    "number": (int, float),
    "boolean": (bool,),
    "object": (dict,),
    "strings": (list,),
    "objects": (list,),
}


class Field(Part):
    """
    One field that leaves the connector.
    """

    description: str
    value: Formula
    """Sees `body`, and `item` inside lists; a missing path gives null."""
    each: Formula | None = None
    """A list; `value` is then evaluated for each `item` of it."""
    type: FieldType = "string"
    optional: bool = False
    """True when it may be null; an empty text is null then."""

    @property
    def json_schema(self) -> JsonSchema:
        """
        Return its JSON Schema.
        """
        if self.type in ("strings", "objects"):
            item = {"type": self.type.removesuffix("s")}
            return {"type": "array", "items": item, "description": self.description}
        kind = [self.type, "null"] if self.optional else self.type
        return {"type": kind, "description": self.description}

    def take(self, name: str, scope: Scope) -> Any:
        """
        Return the field's value; raises `Rejected` when it does not fit its type.
        """
        found = value(self.value, scope) if self.each is None else self._listed(scope)
        if found is None or (found == "" and self.optional):
            if self.type in ("strings", "objects"):
                return []
            if self.optional:
                return None
            raise Rejected(f"The field {name!r} is not there: {self.value.text!r} gives nothing")
        if self.type in ("strings", "objects") and isinstance(found, list):
            kind = str if self.type == "strings" else dict
            if not all(isinstance(item, kind) for item in found):
                raise Rejected(f"The field {name!r} is not a list of {self.type!r}.")
        wrong_bool = isinstance(found, bool) and self.type != "boolean"
        if wrong_bool or not isinstance(found, _KINDS[self.type]):
            raise Rejected(f"The field {name!r} is not {self.type!r}: {self.value.text!r} is {type(found).__name__!r}")
        return found

    def _listed(self, scope: Scope) -> list[Any] | None:
        assert self.each is not None
        items = value(self.each, scope)
        if not isinstance(items, list):
            return None
        return [value(self.value, {**scope, "item": item}) for item in items]


def schema_of(fields: Mapping[str, Field]) -> JsonSchema:
    """
    Return the closed JSON Schema of a record with *fields*.
    """
    return {
        "type": "object",
        "additionalProperties": False,
        "required": [name for name, field in fields.items() if not field.optional],
        "properties": {name: field.json_schema for name, field in fields.items()},
    }


def take_all(fields: Mapping[str, Field], scope: Scope) -> dict[str, Any]:
    """
    Return the declared fields and nothing else; raises `Rejected`.
    """
    return {name: field.take(name, scope) for name, field in fields.items()}
