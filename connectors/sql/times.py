"""
The times that columns hold: with a zone and without, dates, numbers and text, each of which stays of its kind.
"""

from __future__ import annotations

import datetime as dt
import decimal
from collections.abc import Callable, Mapping
from typing import Any

from penstock.errors import Unavailable

NEWEST_SECONDS = 100_000_000_000  # a larger number is milliseconds since 1970


def instant(time: Any) -> dt.datetime:
    """
    Return a column's time as one with a zone; without one it is UTC, a number is seconds or ms since 1970.

    Raises `Unavailable` for what is no time: the table is not what it was declared to be.
    """
    try:
        if isinstance(time, dt.datetime):
            return time if time.tzinfo else time.replace(tzinfo=dt.UTC)
        if isinstance(time, dt.date):
            return dt.datetime(time.year, time.month, time.day, tzinfo=dt.UTC)
        if isinstance(time, int | float | decimal.Decimal) and not isinstance(time, bool):
            return dt.datetime.fromtimestamp(float(time) / (1000 if _in_ms(time) else 1), dt.UTC)
        return instant(dt.datetime.fromisoformat(time))
    except (TypeError, ValueError, OverflowError):
        raise Unavailable(f"the time column holds {str(time)[:40]!r}, which is no time") from None


def is_time(time: Any) -> bool:
    """
    Tell whether a column's value is one.
    """
    try:
        instant(time)
    except Unavailable:
        return False
    return True


def before(time: Any, seconds: float) -> Any:
    """
    Return the value that lies *seconds* before *time*, of the kind the column has.
    """
    if isinstance(time, int | float | decimal.Decimal):
        earlier: Any = type(time)(seconds * (1000 if _in_ms(time) else 1))
        return time - earlier
    return _like(time, instant(time) - dt.timedelta(seconds=seconds))


def before_now(time: Any, now: dt.datetime) -> Any:
    """
    Return *time*, or *now* as a value of its kind when it lies after that.
    """
    return time if time is None or instant(time) <= now else _like(time, now.replace(microsecond=0))


def later(one: Any, other: Any) -> Any:
    """
    Return the later of two times of a column; None is before all.
    """
    return other if one is None or instant(other) > instant(one) else one


def _like(time: Any, moment: dt.datetime) -> Any:
    if isinstance(time, dt.datetime):
        return moment.astimezone(time.tzinfo) if time.tzinfo else moment.astimezone(dt.UTC).replace(tzinfo=None)
    if isinstance(time, dt.date):
        return moment.date()
    if isinstance(time, str):
        zone = dt.datetime.fromisoformat(time).tzinfo
        moment = moment.astimezone(zone) if zone else moment.astimezone(dt.UTC).replace(tzinfo=None)
        text = moment.isoformat(sep="T" if "T" in time else " ")
        return text if len(time) > len("2026-01-05") else text[: len("2026-01-05")]
    return type(time)(moment.timestamp() * (1000 if _in_ms(time) else 1))


def _in_ms(time: Any) -> bool:
    return bool(abs(time) > NEWEST_SECONDS)


def written(time: Any) -> list[Any]:
    """
    Return a time as JSON data that `read` takes.
    """
    if isinstance(time, dt.datetime):
        return ["datetime", time.isoformat()]
    if isinstance(time, dt.date):
        return ["date", time.isoformat()]
    return ["decimal", str(time)] if isinstance(time, decimal.Decimal) else ["plain", time]


def read(kept: list[Any]) -> Any:
    """
    Return the time that *kept* was.
    """
    kinds: Mapping[str, Callable[[Any], Any]] = {
        "datetime": dt.datetime.fromisoformat,
        "date": dt.date.fromisoformat,
        "decimal": decimal.Decimal,
        "plain": lambda time: time,
    }
    return kinds[kept[0]](kept[1])
