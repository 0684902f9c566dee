"""
Values that can be turned off.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, TypeAdapter, WithJsonSchema

from penstock.units import Duration, Rate, duration

_RATE, _SPAN = (TypeAdapter(unit).json_schema() for unit in (Rate, Duration))


def _fuse(value: Any) -> Any:
    if value == "off" or isinstance(value, Rate):
        return value
    try:
        return Rate.parse(value)
    except ValueError:
        raise ValueError(f"{value!r} is no fuse: write a rate such as '20/hour', or 'off'") from None


def _silence(value: Any) -> Any:
    if value in ("usual", "off"):
        return value
    try:
        return duration(value)
    except ValueError as error:
        raise ValueError(f"{error}; or 'usual', or 'off'") from None


Fuse = Annotated[Rate | Literal["off"], BeforeValidator(_fuse), WithJsonSchema({"anyOf": [_RATE, {"const": "off"}]})]
Silence = Annotated[
    float | Literal["usual", "off"],
    BeforeValidator(_silence),
    WithJsonSchema({"anyOf": [{"enum": ["usual", "off"]}, _SPAN]}),
]
