"""
The filters and tests ops may use in expressions and templates. Each is bounded and takes JSON only.
"""

from __future__ import annotations

import html
import math
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from jinja2 import Undefined

from penstock.sandbox import MAX_TEXT, EvaluationError, Sandbox, text, tojson

_MAX_INDENT = 40  # columns
_MAX_PLACES = 15  # decimal places
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def _default(value: Any, other: Any = "", boolean: bool = False) -> Any:  # Jinja's own order
    absent = isinstance(value, Undefined) or value is None
    return other if absent or (boolean and not value) else value


def _text(value: Any, what: str) -> str:
    if isinstance(value, dict | list):
        raise EvaluationError(f"{what!r} needs text, not a list or a mapping")
    return text(value)


def _items(value: Any, what: str, attribute: str | None = None) -> list[Any]:
    if not isinstance(value, list | dict):
        raise EvaluationError(f"{what!r} needs a list")
    return [_field(item, attribute, what) for item in value] if attribute else list(value)


def _field(item: Any, attribute: str, what: str) -> Any:
    for part in str(attribute).split("."):
        if not isinstance(item, dict) or part not in item:
            raise EvaluationError(f"{what!r} found an item without the field {attribute!r}")
        item = item[part]
    return item


def _join(value: Any, separator: str = "", attribute: str | None = None) -> str:
    parts = [text(item) for item in _items(value, "join", attribute)]
    _room(sum(map(len, parts)) + len(separator) * len(parts))
    return separator.join(parts)


def _room(size: int) -> None:
    if size > MAX_TEXT:
        raise EvaluationError(f"it makes a value of more than {MAX_TEXT} characters or items")


def _replaced(value: Any, old: str, new: str) -> str:
    source, old, new = (
        _text(value, "replace"),
        _text(old, "replace"),
        _text(new, "replace"),
    )
    if not old:
        raise EvaluationError("'replace' needs something to look for")
    _room(len(source) + source.count(old) * max(0, len(new) - len(old)))
    return source.replace(old, new)


def _truncate(value: Any, length: int = 255, end: str = "…") -> str:
    source, length = _text(value, "truncate"), _whole(length)
    return source if len(source) <= length else source[: max(0, length - len(end))].rstrip() + end


def _indent(value: Any, width: int = 4, first: bool = False) -> str:  # Jinja's own order
    source, pad = _text(value, "indent"), " " * max(0, min(_whole(width), _MAX_INDENT))
    _room(len(source) + source.count("\n") * len(pad))
    return (pad if first else "") + source.replace("\n", "\n" + pad)


def _length(value: Any) -> int:
    if not isinstance(value, str | list | dict):
        raise EvaluationError("'length' needs text, a list or a mapping")
    return len(value)


def _end(value: Any, index: int, what: str) -> Any:
    items = value if isinstance(value, str) else _items(value, what)
    return items[index] if items else None


def _whole(value: Any, default: int = 0) -> int:
    try:
        return int(value) if not isinstance(value, str) else int(float(value) if "." in value else value)
    except (TypeError, ValueError, OverflowError):
        return default


def _float(value: Any, default: float = 0.0) -> float:
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        return default
    return number if math.isfinite(number) else default


def _round(value: Any, places: int = 0) -> float | int:
    if type(value) not in (int, float):
        raise EvaluationError("'round' needs a number")
    rounded = round(value, max(-_MAX_PLACES, min(_whole(places), _MAX_PLACES)))
    return rounded if places else int(rounded)


def _compared(pick: Callable[[list[Any]], Any], what: str) -> Callable[..., Any]:
    def run(value: Any, attribute: str | None = None) -> Any:
        items = _items(value, what, attribute)
        try:
            return pick(items) if items else None
        except TypeError:
            raise EvaluationError(f"{what!r} needs items of one kind") from None

    return run


def _sort(value: Any, reverse: bool = False, attribute: str | None = None) -> list[Any]:
    keys = _items(value, "sort", attribute)
    try:
        order = sorted(range(len(keys)), key=keys.__getitem__, reverse=reverse)
    except TypeError:
        raise EvaluationError("'sort' needs items of one kind") from None
    items = list(value)
    return [items[place] for place in order]


def _unique(value: Any, attribute: str | None = None) -> list[Any]:
    seen: dict[str, Any] = {}
    for item, key in zip(_items(value, "unique"), _items(value, "unique", attribute), strict=True):
        seen.setdefault(tojson(key), item)
    return list(seen.values())


def _date(value: Any) -> str:
    try:
        return datetime.fromisoformat(_text(value, "date")).date().isoformat()
    except ValueError:
        raise EvaluationError(f"'date' needs an ISO 8601 time, not {_truncate(value, 40)!r}") from None


def _unix_ms(value: Any) -> int:
    try:
        moment = datetime.fromisoformat(_text(value, "unix_ms"))
    except ValueError:
        raise EvaluationError(f"'unix_ms' needs an ISO 8601 time, not {_truncate(value, 40)!r}") from None
    aware = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return (aware - _EPOCH) // timedelta(milliseconds=1)


def _lines(value: Any) -> list[str]:
    return _text(value, "lines").replace("\r\n", "\n").replace("\r", "\n").split("\n")


def _pairs(value: Any) -> list[Any]:
    if not isinstance(value, dict):
        raise EvaluationError("'items' needs a mapping")
    return [[key, item] for key, item in value.items()]


def _quoted(value: Any) -> str:
    source = _text(value, "quote")
    _room(len(source) + 2 * source.count("\n"))
    return "> " + source.replace("\n", "\n> ")


FILTERS: Mapping[str, Callable[..., Any]] = {
    "date": _date,
    "default": _default,
    "e": lambda value: html.escape(_text(value, "e")),
    "first": lambda value: _end(value, 0, "first"),
    "float": _float,
    "indent": _indent,
    "int": _whole,
    "items": _pairs,
    "join": _join,
    "last": lambda value: _end(value, -1, "last"),
    "length": _length,
    "lines": _lines,
    "list": lambda value: _items(value, "list"),
    "lower": lambda value: _text(value, "lower").lower(),
    "max": _compared(max, "max"),
    "min": _compared(min, "min"),
    "quote": _quoted,
    "replace": _replaced,
    "round": _round,
    "sort": _sort,
    "string": text,
    "sum": _compared(sum, "sum"),
    "title": lambda value: _text(value, "title").title(),
    "tojson": tojson,
    "trim": lambda value: _text(value, "trim").strip(),
    "truncate": _truncate,
    "unique": _unique,
    "unix_ms": _unix_ms,
    "upper": lambda value: _text(value, "upper").upper(),
}
"""`date` prints an ISO time as `YYYY-MM-DD`, `unix_ms` gives its milliseconds since 1970; `quote` puts `> ` before each line; `default` also replaces null."""

TESTS: Mapping[str, Callable[..., Any]] = {
    "boolean": lambda value: isinstance(value, bool),
    "defined": lambda value: not isinstance(value, Undefined),
    "even": lambda value: _whole(value) % 2 == 0,
    "mapping": lambda value: isinstance(value, dict),
    "none": lambda value: value is None,
    "number": lambda value: type(value) in (int, float),
    "odd": lambda value: _whole(value) % 2 == 1,
    "sequence": lambda value: isinstance(value, list),
    "string": lambda value: isinstance(value, str),
    "undefined": lambda value: isinstance(value, Undefined),
}

SANDBOX = Sandbox(FILTERS, TESTS, lenient=frozenset({"default"}))
"""The environment everything is compiled in; stateless, shared by all threads."""
