"""
When two answers to one question agree: field by field, as far as fields can be compared.

Compared are enums, constants, booleans and numbers exactly, and short texts (a `maxLength` of at most 64, a `format`
or a `pattern`) in any letter case and spacing; objects by their fields, arrays by what can be compared of their items,
in any order. Free text is not compared: two good summaries never are the same. Neither are the numbers by which an
answer says how sure it is, for two models never are exactly as sure.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import orjson

from ai.output import OutputSchema, alternatives

Path = tuple[str, ...]
"""Names of fields from the answer down: `("confidence",)`."""

SHORT = 64  # characters of a text that says something by its letters rather than by its sense
_DEEPEST = 4  # levels of an answer that are compared; a schema may contain itself many times
_TEXT = "text"
_EXACT = "exact"

_Shape = str | dict[str, Any] | list[Any]
"""How a value is compared: exactly, as text, by its fields, by its items in any order."""


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """
    What can be compared of the answers to one schema.
    """

    output: OutputSchema
    scores: Collection[Path] = ()
    """Fields by which an answer says how sure it is; those that are numbers are not compared."""

    @cached_property
    def fields(self) -> tuple[str, ...]:
        """
        The fields that are compared, dotted; empty when none can be.
        """
        return tuple(_named(self._shape)) if isinstance(self._shape, dict) else ()

    def agree(self, one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
        """
        Say whether both answers have the same in every field that is compared; left out in both is the same.
        """
        return bool(_plain(one, self._shape) == _plain(other, self._shape))

    def scores_of(self, answer: Mapping[str, Any]) -> dict[str, float]:
        """
        Return the numbers by which *answer* says how sure it is, by path: `{"output.confidence": 0.8}`.
        """
        found = {".".join(("output", *path)): _at(answer, path) for path in sorted(self.scores)}
        return {name: value for name, value in found.items() if _is_number(value)}

    @cached_property
    def _shape(self) -> _Shape:
        return _shape([self.output.schema], self.output.schema, frozenset(self.scores), ()) or {}


def _shape(
    parts: Sequence[Any], root: Mapping[str, Any], scores: frozenset[Path], path: Path, depth: int = 0
) -> _Shape | None:
    """
    Return how values that keep one of *parts* are compared; None when they cannot be.
    """
    if depth > _DEEPEST:
        return None
    known = [each for part in parts for each in alternatives(part, root)]
    kinds = {kind for part in known for kind in _kinds(part)} - {"null"}
    if path in scores and kinds <= {"number", "integer"}:
        return None
    if kinds == {"object"}:
        names = {name: None for part in known for name in _properties(part)}
        below = {
            name: _shape([_properties(part).get(name) for part in known], root, scores, (*path, name), depth + 1)
            for name in names
        }
        return {name: shape for name, shape in below.items() if shape is not None} or None
    if kinds == {"array"}:
        items = _shape([part.get("items") for part in known], root, scores, (*path, "[]"), depth + 1)
        return None if items is None else [items]
    if "string" in kinds and any("string" in _kinds(part) and not _says_by_letters(part) for part in known):
        return None
    return None if not kinds or kinds & {"object", "array"} else _TEXT if "string" in kinds else _EXACT


def _kinds(part: Mapping[str, Any]) -> frozenset[str]:
    """
    Return which types *part* itself allows; empty when it does not say.
    """
    if "enum" in part or "const" in part:
        return frozenset(
            _kind(value) for value in (*part.get("enum", ()), *([part["const"]] if "const" in part else ()))
        )
    written = part.get("type", ())
    return frozenset([written] if isinstance(written, str) else written)


def _kind(value: Any) -> str:
    for kind, types in (("null", type(None)), ("boolean", bool), ("number", (int, float)), ("string", str)):
        if isinstance(value, types):
            return kind
    return "object" if isinstance(value, dict) else "array"


def _says_by_letters(part: Mapping[str, Any]) -> bool:
    if "enum" in part or "const" in part or "format" in part or "pattern" in part:
        return True
    longest = part.get("maxLength")
    return isinstance(longest, int) and longest <= SHORT


def _properties(part: Mapping[str, Any]) -> Mapping[str, Any]:
    found = part.get("properties")
    return found if isinstance(found, Mapping) else {}


def _named(shape: dict[str, Any], above: str = "") -> Iterator[str]:
    for name, below in shape.items():
        dotted = f"{above}{name}"
        if isinstance(below, dict):
            yield from _named(below, f"{dotted}.")
        else:
            yield dotted


def _plain(value: Any, shape: _Shape) -> Any:
    """
    Return what is compared of *value*: equal for values that agree.
    """
    if isinstance(shape, dict):
        return {name: _plain(value.get(name), below) for name, below in shape.items()} if _is_object(value) else value
    if isinstance(shape, list):
        return sorted(_sortable(_plain(item, shape[0])) for item in value) if isinstance(value, list) else value
    if isinstance(value, str):
        return " ".join(unicodedata.normalize("NFC", value).casefold().split()) if shape == _TEXT else value
    return (type(value) is bool, value)  # true is not 1


def _sortable(value: Any) -> str:
    return orjson.dumps(value, option=orjson.OPT_SORT_KEYS).decode()


def _is_object(value: Any) -> bool:
    return isinstance(value, Mapping)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _at(value: Any, path: Path) -> Any:
    for name in path:
        value = value.get(name) if isinstance(value, Mapping) else None
    return value
