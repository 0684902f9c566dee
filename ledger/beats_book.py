"""
The part of the book that knows of beats; `ledger.beats.Beats`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import orjson

from ledger import outbox
from ledger.beats import HOUR, SILENT, Beat, Pulse
from ledger.connection import Connection
from ledger.locks import Locks
from ledger.queries import queries
from ledger.store import Store
from penstock.clock import Clock

_NEEDS = Locks(sums=(("beats", "all"),))  # one at a time: each touches the rows of all


class BeatsBook:
    """
    Keeps beats.
    """

    store: Store
    clock: Clock

    async def beat(self, beats: Sequence[Beat], *, watched: Collection[tuple[str, str]], gap: float) -> None:
        named, now = [asdict(one) for one in beats], self.clock.now_ms()
        times = {"now": now, "before": now - int(gap * 1000)}
        watches = [{"connection": connection, "source": source} | times for connection, source in sorted(watched)]
        await self.store.write(lambda connection: _beat(connection, named, watches, now), _NEEDS)

    async def pulses(self) -> list[Pulse]:
        rows = await self.store.read(lambda connection: connection.execute(queries["pulses"]).fetchall())
        return [Pulse(**{name: row[name] for name in Pulse.__slots__}) for row in rows]

    async def beats(self, connection: str, source: str, since: int) -> dict[int, int]:
        named = {"connection": connection, "source": source, "since": since}
        rows = await self.store.read(lambda c: c.execute(queries["beats_of"], named).fetchall())
        return {row["hour"]: row["events"] for row in rows}

    async def fall_silent(self, pulse: Pulse, told: Mapping[str, Any]) -> bool:
        now = self.clock.now_ms()
        return await self.store.write(lambda connection: _fall_silent(connection, pulse, told, now), _NEEDS)


def _beat(connection: Connection, beats: Sequence[dict[str, Any]], watches: Sequence[dict[str, Any]], now: int) -> None:
    for one in beats:
        connection.execute(queries["know_pulse"], one | {"now": now})
        if one["events"]:
            connection.execute(queries["count_beats"], one | {"hour": one["at"] // HOUR})
    for watch in watches:
        connection.execute(queries["watch_pulse"], watch)
    for one in beats:
        if one["events"]:
            connection.execute(queries["beat_pulse"], one)


def _fall_silent(connection: Connection, pulse: Pulse, told: Mapping[str, Any], now: int) -> bool:
    named = {"connection": pulse.connection, "source": pulse.source, "quiet_from": pulse.quiet_from, "now": now}
    if connection.execute(queries["silence_pulse"], named).fetchone() is None:
        return False
    what = "\x00".join((SILENT, pulse.connection, pulse.source, str(pulse.quiet_from)))
    parcel = hashlib.sha256(what.encode()).hexdigest()[:32]
    body = orjson.dumps({**told, "connection": pulse.connection, "source": pulse.source, "at": now})
    outbox.put(connection, parcel=parcel, kind=SILENT, body=body, now=now)
    return True
