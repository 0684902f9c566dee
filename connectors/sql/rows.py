"""
From a database's values to JSON data, bounded.
"""

from __future__ import annotations

import datetime as dt
import decimal
import math
from collections.abc import Mapping
from typing import Any

import orjson

from penstock.errors import Unavailable

LONGEST = 20_000  # characters of one text that leaves the database
CUT = " […]"  # behind a text that was cut


def record(fields: Mapping[str, str], row: Mapping[str, Any]) -> dict[str, Any]:
    """
    Return the declared *fields* of a row, each as what it is declared to be.

    Raises `Unavailable` when a column is missing or holds something else: the table changed, not the event.
    """
    found: dict[str, Any] = {}
    for name, kind in fields.items():
        if name not in row:
            raise Unavailable(f"the database gives no column {name!r}; it gives {', '.join(map(repr, row))}")
        found[name] = _typed(name, kind, plain(row[name]))
    return found


def plain(value: Any) -> Any:
    """
    Return a database's value as JSON data.
    """
    match value:
        case None | bool() | int():
            return value
        case str():
            return value if len(value) <= LONGEST else value[:LONGEST] + CUT
        case float() | decimal.Decimal():
            return _number(value)
        case dt.datetime() | dt.date() | dt.time():
            return value.isoformat()
        case dt.timedelta():
            return value.total_seconds()
        case bytes() | bytearray() | memoryview():
            return f"({len(bytes(value))} bytes)"
        case list() | tuple():
            return [plain(item) for item in value]
        case dict():
            return {str(name): plain(item) for name, item in value.items()}
    return str(value)[:LONGEST]


def _number(value: float | decimal.Decimal) -> int | float | None:
    if not math.isfinite(value):
        return None
    if isinstance(value, float):
        return value
    return int(value) if value == value.to_integral_value() and abs(value) < 1 << 53 else float(value)


def _typed(name: str, kind: str, value: Any) -> Any:
    if value is None:
        return None
    if kind == "string":
        return value if isinstance(value, str) else _text(value)
    if kind in ("object", "list") and isinstance(value, str):
        value = _parsed(value)
    if kind == "boolean" and value in (0, 1):
        return bool(value)
    if kind == "integer" and isinstance(value, float) and value.is_integer():
        return int(value)
    kinds: Mapping[str, tuple[type, ...]] = {
        "integer": (int,),
        "number": (int, float),
        "boolean": (bool,),
        "object": (dict,),
        "list": (list,),
    }
    if not isinstance(value, kinds[kind]) or (isinstance(value, bool) and kind != "boolean"):
        raise Unavailable(f"the column {name!r} is declared {kind!r} and holds {type(value).__name__!r}")
    return value


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    text = str(value) if isinstance(value, int | float) else orjson.dumps(value).decode()
    return text if len(text) <= LONGEST else text[:LONGEST] + CUT


def _parsed(text: str) -> Any:
    try:
        return orjson.loads(text)
    except ValueError:
        return text
