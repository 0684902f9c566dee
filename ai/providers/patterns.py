"""
Short texts that a regular expression of a JSON Schema accepts.
"""

from __future__ import annotations

import re
from re import _parser  # type: ignore[attr-defined]
from typing import Any

_LETTERS = "aA0_ -.:/@#xX1zZ9é"


def example(pattern: str, extra: int = 0) -> str | None:
    """
    Return a text in which *pattern* is found; None when this module cannot make one.

    What may repeat does so *extra* times more than it must.
    """
    try:
        text = "".join(_make(token, extra) for token in _parser.parse(pattern))
        return text if re.search(pattern, text) else None
    except (re.error, RecursionError, LookupError, StopIteration):
        return None


def _make(token: tuple[Any, Any], extra: int) -> str:
    kind, value = str(token[0]), token[1]
    if kind == "LITERAL":
        return chr(value)
    if kind in ("ANY", "NOT_LITERAL"):
        return next(char for char in _LETTERS if ord(char) != value)
    if kind == "IN":
        return _one_of(value)
    if kind in ("MAX_REPEAT", "MIN_REPEAT", "POSSESSIVE_REPEAT"):
        least, most, inner = value
        return "".join(_make(part, extra) for _ in range(min(least + extra, int(most))) for part in inner)
    if kind == "SUBPATTERN":
        return "".join(_make(part, extra) for part in value[-1])
    if kind == "BRANCH":
        return min(("".join(_make(part, extra) for part in branch) for branch in value[1]), key=len)
    if kind in ("AT", "ASSERT", "ASSERT_NOT"):
        return ""
    raise LookupError(kind)


def _one_of(parts: list[tuple[Any, Any]]) -> str:
    negated = str(parts[0][0]) == "NEGATE"
    if not negated:
        kind, value = str(parts[0][0]), parts[0][1]
        if kind == "LITERAL":
            return chr(value)
        if kind == "RANGE":
            return chr(value[0])
    inside = [part for part in parts if str(part[0]) != "NEGATE"]
    return next(char for char in _LETTERS if any(_holds(part, char) for part in inside) is not negated)


def _holds(part: tuple[Any, Any], char: str) -> bool:
    kind, value = str(part[0]), part[1]
    if kind == "LITERAL":
        return bool(ord(char) == value)
    if kind == "RANGE":
        return bool(value[0] <= ord(char) <= value[1])
    category: str = str(value).removeprefix("CATEGORY_")
    truth: dict[str, bool] = {"DIGIT": char.isdigit(), "SPACE": char.isspace(), "WORD": char.isalnum() or char == "_"}
    name = category.removeprefix("NOT_").removeprefix("UNI_")
    return truth[name] != category.startswith("NOT_")
