"""
The part of the book that knows of fuses; `ledger.fuses.Fuses`.
"""

from __future__ import annotations

import hashlib

import orjson

from ledger import lanes, locks, outbox
from ledger.connection import Connection
from ledger.fuses import FUSE, Fuse
from ledger.offer import Claim
from ledger.queries import queries
from ledger.store import Store
from penstock.clock import Clock


class FusesBook:
    """
    Keeps fuses.
    """

    store: Store
    clock: Clock

    async def delivered_lately(self, claim: Claim, count: int) -> int | None:
        named = lanes.values(claim) | {"skip": count - 1}
        row = await self.store.look(lambda c: c.execute(queries["delivered_lately"], named).fetchone())
        return None if row is None else int(row["finished_at"])

    async def blow(self, claim: Claim, *, until: int, limit: str) -> None:
        now = self.clock.now_ms()
        await self.store.write(
            lambda connection: _blow(connection, claim, until=until, limit=limit, now=now), locks.of(claim)
        )

    async def fuses(self) -> list[Fuse]:
        named = {"now": self.clock.now_ms()}
        rows = await self.store.read(lambda connection: connection.execute(queries["fuses"], named).fetchall())
        names = ("tenant", "pipeline", "lane", "since", "until", "stopped")
        return [Fuse(**{name: row[name] for name in names}) for row in rows]


def _blow(connection: Connection, claim: Claim, *, until: int, limit: str, now: int) -> None:
    lanes.hold(connection, claim)
    named = lanes.values(claim) | {"until": until, "now": now}
    row = connection.execute(queries["blow_fuse"], named).fetchone()
    if row["stopped"] != 1:
        return
    what = "\x00".join((FUSE, claim.tenant, claim.pipeline, claim.lane, str(row["since"])))
    told = {"pipeline": claim.pipeline, "lane": claim.lane, "limit": limit, "until": until, "at": now}
    parcel = hashlib.sha256(what.encode()).hexdigest()[:32]
    outbox.put(connection, parcel=parcel, kind=FUSE, body=orjson.dumps(told), now=now)
