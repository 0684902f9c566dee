"""
The number nearest to a wish that a JSON Schema allows.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal
from typing import Any

_SMALL = Decimal("0.001")
_BOUNDS = ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum")


def nearest(wish: float, part: Mapping[str, Any], *, whole: bool) -> int | float | None:
    """
    Return the number nearest to *wish* within the bounds of *part*; None when there is none.
    """
    step = _step(part, whole=whole)
    low, high = _bound(part, "minimum", "exclusiveMinimum", max), _bound(part, "maximum", "exclusiveMaximum", min)
    value = Decimal(str(wish))
    if low is not None:
        value = max(value, low)
    if high is not None:
        value = min(value, high)
    for candidate in _around(value, step, low, high):
        if _allowed(candidate, part):
            return int(candidate) if whole or candidate == candidate.to_integral() else float(candidate)
    return None


def _step(part: Mapping[str, Any], *, whole: bool) -> Decimal | None:
    if "multipleOf" in part:
        step = Decimal(str(part["multipleOf"]))
        return step * step.as_integer_ratio()[1] if whole else step
    return Decimal(1) if whole else None


def _bound(part: Mapping[str, Any], plain: str, exclusive: str, pick: Any) -> Decimal | None:
    bounds = [Decimal(str(part[name])) for name in (plain, exclusive) if name in part]
    return pick(bounds) if bounds else None


def _around(value: Decimal, step: Decimal | None, low: Decimal | None, high: Decimal | None) -> list[Decimal]:
    if step is not None:
        below = (value / step).to_integral_value(ROUND_FLOOR) * step
        above = (value / step).to_integral_value(ROUND_CEILING) * step
        return [below, above, below - step, above + step]
    inner = [(low + high) / 2] if low is not None and high is not None else []
    return [value, value + _SMALL, value - _SMALL, *inner, value + 1, value - 1]


def _allowed(value: Decimal, part: Mapping[str, Any]) -> bool:
    bounds = {name: Decimal(str(part[name])) for name in _BOUNDS if name in part}
    return not (
        ("minimum" in bounds and value < bounds["minimum"])
        or ("maximum" in bounds and value > bounds["maximum"])
        or ("exclusiveMinimum" in bounds and value <= bounds["exclusiveMinimum"])
        or ("exclusiveMaximum" in bounds and value >= bounds["exclusiveMaximum"])
    )
