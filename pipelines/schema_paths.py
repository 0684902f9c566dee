"""
Which fields a JSON Schema knows: as much of it as can be told for certain.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

_SEVERAL = ("anyOf", "oneOf", "allOf", "if", "not", "dependentSchemas", "patternProperties")


@dataclass(frozen=True, slots=True)
class Unknown:
    """
    A path that leads out of a closed schema.
    """

    index: int
    """Which part of the path is not known."""
    known: tuple[str, ...]
    """What there is in its place; empty where there are no fields at all."""


def unknown_part(
    schema: Mapping[str, Any], path: Sequence[str], root: Mapping[str, Any] | None = None
) -> Unknown | None:
    """
    Return the first part of *path* that *schema* certainly does not have; None when it may have all.
    """
    root = schema if root is None else root
    part: Any = schema
    for index, name in enumerate(path):
        part = _followed(part, root)
        if part is None or any(word in part for word in _SEVERAL):
            return None
        fields = part.get("properties")
        if fields is None:
            return Unknown(index, ()) if _is_plain(part) else None
        if name not in fields:
            closed = part.get("additionalProperties") is False
            return Unknown(index, tuple(fields)) if closed else None
        part = fields[name]
    return None


def part_at(schema: Mapping[str, Any], path: Iterable[str]) -> Mapping[str, Any] | None:
    """
    Return the schema of the field at *path*; None where nothing is said about it.
    """
    part = _followed(schema, schema)
    for name in path:
        part = _followed((part or {}).get("properties", {}).get(name), schema)
    return part


def kinds(part: Mapping[str, Any] | None) -> frozenset[str]:
    """
    Return the JSON types *part* allows; empty where it does not say.
    """
    found = (part or {}).get("type", ())
    return frozenset([found] if isinstance(found, str) else found) - {"null"}


def is_listed(schema: Mapping[str, Any] | None, path: Iterable[str]) -> bool:
    """
    Say whether *schema* lists every text the field at *path* may have, or the field may have none.
    """
    schema = schema or {}
    return _lists(part_at(schema, path), schema, 8)


def _lists(part: Any, root: Mapping[str, Any], deep: int) -> bool:
    part = _followed(part, root)
    if part is None or deep == 0:
        return False
    if "enum" in part or "const" in part:
        return True
    if several := part.get("anyOf") or part.get("oneOf"):
        return all(_lists(each, root, deep - 1) for each in several)
    found = kinds(part)
    if found == {"array"}:
        return _lists(part.get("items"), root, deep - 1)
    return "type" in part and found <= {"number", "integer", "boolean"}


def _is_plain(part: Mapping[str, Any]) -> bool:
    return bool(kinds(part)) and "object" not in kinds(part)


def _followed(part: Any, root: Mapping[str, Any]) -> Mapping[str, Any] | None:
    for _ in range(8):  # references that lead to references
        if not isinstance(part, Mapping):
            return None
        reference = part.get("$ref")
        if not isinstance(reference, str):
            return part
        part = _target(reference, root)
    return None


def _target(reference: str, root: Mapping[str, Any]) -> Any:
    if not reference.startswith("#/"):
        return None
    part: Any = root
    for name in reference[2:].split("/"):
        part = part.get(name) if isinstance(part, Mapping) else None
    return part
