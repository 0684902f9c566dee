"""
Rows that become events: read by (time, id), with an overlap for transactions that commit late.

A row may carry an older time than one that was read before, because its transaction took longer. So each reading
begins *overlap* seconds before the newest time it knows, and the cursor holds which rows of that span it has seen.
Pages go by (time, id), so that rows of one time may lie on both sides of a page's edge.
"""

from __future__ import annotations

import datetime as dt
import decimal
import hashlib
import json
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import Any

import orjson
import sqlalchemy as sa

from connectors.contract import Page
from connectors.sql.client import Database, Row
from connectors.sql.rows import plain, record
from connectors.sql.shapes import event_types
from penstock.clock import Clock
from penstock.errors import Unavailable
from schemas.events import Event

OVERLAP = 120.0  # seconds
PAGE = 200  # rows
SEEN = 50_000  # rows of the overlap that a cursor remembers; what it forgets comes twice, and is recognised
WITHIN = 20.0  # seconds one page may take
LONG = 200  # characters of an id that stays as it is
NEWEST_SECONDS = 100_000_000_000  # a larger number is milliseconds since 1970


class Table:
    """
    A table whose rows become events.
    """

    def __init__(self, name: str, rule: Mapping[str, Any], database: Database, clock: Clock) -> None:
        self.name = name
        self._rule = rule
        self._database = database
        self._clock = clock
        self._overlap = float(rule.get("overlap", OVERLAP))
        schema, _, table = str(rule["table"]).rpartition(".")
        self._id: sa.ColumnClause[Any] = sa.column(rule["id"])
        self._time: sa.ColumnClause[Any] = sa.column(rule["time"])
        chosen = [rule["id"], rule["time"], rule.get("type"), rule.get("subject"), *rule["fields"]]
        columns: list[sa.ColumnClause[Any]] = [sa.column(column) for column in dict.fromkeys(chosen) if column]
        self._table = sa.table(table, *columns, schema=schema or None)
        self._columns = columns

    async def read(self, cursor: bytes | None) -> AsyncIterator[Page]:
        """
        Yield what is new since *cursor*; without one, only where to begin.
        """
        if cursor is None:
            yield Page(cursor=await self._now())
            return
        newest, seen = _held(cursor)
        place: tuple[Any, Any] | None = None
        since = None if newest is None else before(newest, self._overlap)
        while rows := await self._page(since, place):
            place = rows[-1][self._time.name], rows[-1][self._id.name]
            fresh = [row for row in rows if self._mark(row) not in seen]
            seen |= {self._mark(row): row[self._time.name] for row in rows}
            newest = place[0] if newest is None or _known(place[0]) > _known(newest) else newest
            if fresh:
                events = tuple(event for row in fresh if (event := self._event(row)) is not None)
                yield Page(events=events, cursor=_cursor(newest, self._lately(newest, seen)))

    async def _now(self) -> bytes:
        """
        Return the cursor of a table as it is now: everything in it is seen.
        """
        last = sa.select(sa.func.max(self._time).label(self._time.name)).select_from(self._table)
        newest = (await self._rows(last, 1))[0][self._time.name]
        seen: dict[str, Any] = {}
        place: tuple[Any, Any] | None = None
        while newest is not None and (rows := await self._page(before(newest, self._overlap), place)):
            place = rows[-1][self._time.name], rows[-1][self._id.name]
            seen |= {self._mark(row): row[self._time.name] for row in rows}
        return _cursor(newest, self._lately(newest, seen))

    def _lately(self, newest: Any, seen: Mapping[str, Any]) -> dict[str, Any]:
        """
        Return what of *seen* the next reading meets again.
        """
        if newest is None:
            return {}
        since = _known(before(newest, self._overlap))
        return dict([(mark, time) for mark, time in seen.items() if _known(time) >= since][-SEEN:])

    async def _page(self, since: Any, after: tuple[Any, Any] | None) -> Sequence[Row]:
        wanted = sa.select(*self._columns).select_from(self._table)
        if after is not None:
            time, number = after
            later = sa.or_(self._time > time, sa.and_(self._time == time, self._id > number))
            wanted = wanted.where(later)
        elif since is not None:
            wanted = wanted.where(self._time >= since)
        return await self._rows(wanted.order_by(self._time, self._id).limit(PAGE), PAGE)

    async def _rows(self, wanted: sa.Select[Any], most: int) -> list[Row]:
        return await self._database.rows(wanted, {}, most=most, deadline=self._clock.monotonic() + WITHIN)

    def _mark(self, row: Row) -> str:
        """
        Return what tells one event of this table from another.

        A row that changes is told by its fields, too: its time may be too coarse to tell two changes apart.
        """
        number = str(plain(row[self._id.name]))
        return f"{number}/{plain(row[self._time.name])}/{_digest(row)}" if self._rule.get("changes") else number

    def _event(self, row: Row) -> Event | None:
        """
        Return the event a row is; None for one of a type that is not among `events`.
        """
        number = str(plain(row[self._id.name]))
        kind = self._rule.get("event") or str(row[self._rule["type"]])
        if kind not in event_types(self._rule):
            return None
        subject = self._rule.get("subject")
        return Event(
            id=f"{self.name}/{_short(self._mark(row))}",
            source=self._database.place,
            type=kind,
            subject=number if subject is None else str(plain(row[subject])),
            time=instant(row[self._time.name]),
            data=record(self._rule["fields"], row),
        )


def _digest(row: Row) -> str:
    values = {name: plain(value) for name, value in row.items()}
    return hashlib.sha256(json.dumps(values, sort_keys=True, default=str).encode()).hexdigest()[:12]


def _short(mark: str) -> str:
    """
    Return *mark*, or the hash of a long one: an id has its limit.
    """
    return mark if len(mark) <= LONG else hashlib.sha256(mark.encode()).hexdigest()


# ---- times -----------------------------------------------------------------------------------------


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


_known = instant


def before(time: Any, seconds: float) -> Any:
    """
    Return the value that lies *seconds* before *time*, of the kind the column has.
    """
    earlier = instant(time) - dt.timedelta(seconds=seconds)
    if isinstance(time, dt.datetime):
        return earlier if time.tzinfo else earlier.replace(tzinfo=None)
    if isinstance(time, dt.date):
        return earlier.date()
    if isinstance(time, str):
        text = (earlier if dt.datetime.fromisoformat(time).tzinfo else earlier.replace(tzinfo=None)).isoformat(
            sep="T" if "T" in time else " "
        )
        return text if len(time) > len("2026-01-05") else text[: len("2026-01-05")]
    return time - type(time)(seconds * (1000 if _in_ms(time) else 1))


def _in_ms(time: Any) -> bool:
    return bool(abs(time) > NEWEST_SECONDS)


def _cursor(newest: Any, seen: Mapping[str, Any]) -> bytes:
    written = {mark: _written(time) for mark, time in seen.items()}
    return orjson.dumps({"time": None if newest is None else _written(newest), "seen": written})


def _held(cursor: bytes) -> tuple[Any, dict[str, Any]]:
    held = orjson.loads(cursor)
    newest = None if held["time"] is None else _read(held["time"])
    return newest, {mark: _read(time) for mark, time in held["seen"].items()}


def _written(time: Any) -> list[Any]:
    if isinstance(time, dt.datetime):
        return ["datetime", time.isoformat()]
    if isinstance(time, dt.date):
        return ["date", time.isoformat()]
    return ["decimal", str(time)] if isinstance(time, decimal.Decimal) else ["plain", time]


def _read(written: list[Any]) -> Any:
    kinds: Mapping[str, Callable[[Any], Any]] = {
        "datetime": dt.datetime.fromisoformat,
        "date": dt.date.fromisoformat,
        "decimal": decimal.Decimal,
        "plain": lambda time: time,
    }
    return kinds[written[0]](written[1])
