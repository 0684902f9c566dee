"""
Rows that become events: read by (time, id), with an overlap for transactions that commit late.

A row may carry an older time than one that was read before, because its transaction took longer. So each reading
begins *overlap* seconds before the newest time it knows, and the cursor holds which rows of that span it has seen.
No time counts as known that lies after the moment its reading began: what commits while a long reading goes on is
met by the next one, and a row of the future hides nothing. Pages go by (time, id), so that rows of one time may lie
on both sides of a page's edge.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

import orjson
import sqlalchemy as sa

from connectors.contract import Page
from connectors.odd import reason
from connectors.sql import times
from connectors.sql.client import Database, Row
from connectors.sql.rows import plain, record
from connectors.sql.shapes import event_types
from penstock.clock import Clock, utc
from penstock.errors import EdgeError
from schemas.events import Event

OVERLAP = 120.0  # seconds
LASTING = 0.25  # of the overlap, that a reading may take until it begins at the overlap again
PAGE = 200  # rows
SEEN = 50_000  # rows of the overlap that a cursor remembers; what it forgets comes twice, and is recognised
WITHIN = 20.0  # seconds one page may take
_ENDLESS = ("infinity", "-infinity")
LONG = 200  # characters of an id that stays as it is


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
        self._when: list[sa.ColumnElement[bool]] = [self._time.is_not(None)]
        if database.url.get_backend_name() == "postgresql":  # whose `infinity` is no time to its driver, nor to us
            self._when.append(sa.cast(self._time, sa.Text).not_in(_ENDLESS))

    async def read(self, cursor: bytes | None) -> AsyncIterator[Page]:
        """
        Yield what is new since *cursor*; without one, only where to begin.
        """
        if cursor is None:
            yield Page(cursor=await self._now())
            return
        newest, seen = _held(cursor)
        furthest, more = newest, True
        while more:
            more, began, known = False, self._clock.monotonic(), utc(self._clock.now_ms())
            newest = times.before_now(newest, known)
            since, place = None if newest is None else times.before(newest, self._overlap), None
            while rows := await self._page(since, place):
                place = rows[-1][self._time.name], rows[-1][self._id.name]
                fresh = [row for row in rows if self._mark(row) not in seen]
                seen |= {self._mark(row): row[self._time.name] for row in rows}
                last = next(
                    (row[self._time.name] for row in reversed(rows) if times.is_time(row[self._time.name])), since
                )
                newest = times.later(newest, times.before_now(last, known))
                if fresh:
                    seen = self._lately(newest, seen)
                    yield self._as_page(fresh, _cursor(newest, seen))
                if len(rows) < PAGE:
                    break
                further = times.later(furthest, last) != furthest  # so that each round comes further than the last
                if further and self._clock.monotonic() - began > self._overlap * LASTING:
                    furthest, more = last, True
                    break  # who writes without a pause hides nobody who commits late: on from the overlap

    async def _now(self) -> bytes:
        """
        Return the cursor of a table as it is now: everything in it is seen.
        """
        known = utc(self._clock.now_ms())
        last = sa.select(sa.func.max(self._time).label(self._time.name)).select_from(self._table).where(*self._when)
        newest = times.before_now((await self._rows(last, 1))[0][self._time.name], known)
        seen: dict[str, Any] = {}
        place: tuple[Any, Any] | None = None
        rows: Sequence[Row] = ()
        while newest is not None and (place is None or len(rows) == PAGE):
            rows = await self._page(times.before(newest, self._overlap), place)
            place = (rows[-1][self._time.name], rows[-1][self._id.name]) if rows else (newest, None)
            seen |= {self._mark(row): row[self._time.name] for row in rows}
        return _cursor(newest, self._lately(newest, seen))

    def _lately(self, newest: Any, seen: Mapping[str, Any]) -> dict[str, Any]:
        """
        Return what of *seen* the next reading meets again.
        """
        if newest is None:
            return {}
        since = times.instant(times.before(newest, self._overlap))
        met = [(mark, time) for mark, time in seen.items() if not times.is_time(time) or times.instant(time) >= since]
        return dict(met[-SEEN:])

    async def _page(self, since: Any, after: tuple[Any, Any] | None) -> Sequence[Row]:
        wanted = sa.select(*self._columns).select_from(self._table).where(*self._when)
        if after is not None:
            time, number = after
            wanted = wanted.where(sa.or_(self._time > time, sa.and_(self._time == time, self._id > number)))
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
        number = self._number(row)
        return f"{number}/{plain(row[self._time.name])}/{_digest(row)}" if self._rule.get("changes") else number

    def _as_page(self, rows: Sequence[Row], cursor: bytes) -> Page:
        """
        Return rows as events; one that cannot be the event it is declared to be holds up none of the others.
        """
        events: list[Event] = []
        refused: list[tuple[Event, str]] = []
        for row in rows:
            kind = self._rule.get("event") or str(row[self._rule["type"]])
            if kind not in event_types(self._rule):
                continue
            try:
                events.append(self._event(kind, row))
            except (EdgeError, ValueError) as error:
                refused.append((self._nothing(kind, row), f"the row {self._number(row)!r}: {reason(error)}"))
        return Page(events=tuple(events), refused=tuple(refused), cursor=cursor)

    def _number(self, row: Row) -> str:
        return str(plain(row[self._id.name]))

    def _event(self, kind: str, row: Row) -> Event:
        subject = self._rule.get("subject")
        return Event(
            id=f"{self.name}/{_short(self._mark(row))}",
            source=self._database.place,
            type=kind,
            subject=self._number(row) if subject is None else str(plain(row[subject])),
            time=times.instant(row[self._time.name]),
            data=record(self._rule["fields"], row),
        )

    def _nothing(self, kind: str, row: Row) -> Event:
        """
        Return the event that a row would be, without anything of it that may be odd.
        """
        time = row[self._time.name]
        return Event(
            id=f"{self.name}/{_short(self._mark(row))}",
            source=self._database.place,
            type=kind,
            subject=_short(self._number(row)) or "?",
            time=times.instant(time) if times.is_time(time) else utc(self._clock.now_ms()),
            data={},
        )


def _digest(row: Row) -> str:
    values = {name: plain(value) for name, value in row.items()}
    return hashlib.sha256(json.dumps(values, sort_keys=True, default=str).encode()).hexdigest()[:12]


def _short(mark: str) -> str:
    """
    Return *mark*, or the hash of a long one: an id has its limit.
    """
    return mark if len(mark) <= LONG else hashlib.sha256(mark.encode()).hexdigest()


def _cursor(newest: Any, seen: Mapping[str, Any]) -> bytes:
    written = {mark: times.written(time) for mark, time in seen.items()}
    return orjson.dumps({"time": None if newest is None else times.written(newest), "seen": written})


def _held(cursor: bytes) -> tuple[Any, dict[str, Any]]:
    held = orjson.loads(cursor)
    newest = None if held["time"] is None else times.read(held["time"])
    return newest, {mark: times.read(time) for mark, time in held["seen"].items()}
