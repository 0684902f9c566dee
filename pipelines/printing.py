"""
A section's data as text: one unit per record, as `key: value` lines or through its template.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from penstock.expressions import Template
from penstock.visible import lines


def units(data: Any, fields: Sequence[str] | None = None, template: Template | None = None) -> list[str]:
    """
    Return the printed units of *data*: one per list item, one for anything else, none for nothing.
    """
    items = data if isinstance(data, list) else [data]
    printed = [_unit(item, fields, template) for item in items if not _empty(item)]
    return [unit for unit in printed if unit.strip()]


def _unit(item: Any, fields: Sequence[str] | None, template: Template | None) -> str:
    if fields is not None and isinstance(item, Mapping):
        item = {name: value for name in fields if not _empty(value := _reach(item, name))}
    if template is not None:
        return template.render({"item": item})
    return _block(item) if isinstance(item, Mapping) else _value(item)


def _reach(item: Any, name: str) -> Any:
    if name in item:
        return item[name]
    for part in name.split("."):
        item = item.get(part) if isinstance(item, Mapping) else None
    return item


def _block(record: Mapping[str, Any]) -> str:
    return "\n".join(
        f"{' '.join(key.split())}: {_indented(_value(value))}" for key, value in record.items() if not _empty(value)
    )


def _indented(value: str) -> str:
    """
    Set continuation lines in, so that no value can pretend to be the next key.
    """
    return lines(value).strip("\n").replace("\n", "\n  ")


def _value(value: Any) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, list) and all(isinstance(item, str | int | float) for item in value):
        return ", ".join(map(_value, value))
    return orjson.dumps(value).decode()


def _empty(value: Any) -> bool:
    return value is None or value in ("", [], {})
