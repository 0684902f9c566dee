"""
The part of the ledger that minds limits; `ledger.limits.Limits` documents every method.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ledger import alerts, holds, locks, rates
from ledger.connection import Connection
from ledger.contract import Cap, Claim
from ledger.limits import Allowed, Hold, Purse
from ledger.queries import queries
from ledger.store import Store
from penstock.clock import Clock
from penstock.redaction import LIVE


class Limiting:
    """
    Holds, alerts and rates over a store.
    """

    store: Store
    clock: Clock

    async def hold(self, claim: Claim, body: bytes, cap: Cap, *, need: int | None, why: str) -> None:
        now, told = self.clock.now_ms(), LIVE.hide(why)
        await self.store.write(
            lambda connection: holds.put(connection, claim, body, cap, need=need, why=told, now=now),
            locks.of(claim, [cap]),
        )

    async def holds(self, pipelines: Sequence[str] | None = None) -> list[Hold]:
        return await self.store.read(lambda connection: holds.waited_at(connection, pipelines))

    async def limit(self, limits: Mapping[str, int | None]) -> None:
        await self.store.write(lambda connection: holds.limit(connection, limits), locks.ALONE)

    async def reached(self, cap: Cap) -> None:
        now = self.clock.now_ms()

        def report(connection: Connection) -> None:
            row = connection.execute(queries["budget"], {"scope": cap.scope, "period": cap.period}).fetchone()
            if row is not None:
                alerts.reached(connection, cap, row, now)

        await self.store.write(report, locks.Locks(sums=((cap.scope, cap.period),)))

    async def alerts(self, since: int) -> set[tuple[str, str, str]]:
        text, named = queries["given_alerts"], {"since": since}
        rows = await self.store.read(lambda connection: connection.execute(text, named).fetchall())
        return {(row["scope"], row["period"], row["threshold"]) for row in rows}

    async def purses(self, periods: tuple[str, str]) -> list[Purse]:
        named = dict(zip(("day", "month"), periods, strict=True))
        rows = await self.store.read(lambda connection: connection.execute(queries["list_budgets"], named).fetchall())
        return [
            Purse(
                scope=row["scope"],
                period=row["period"],
                spent=row["spent"],
                reserved=row["reserved"],
                limit=row["cap"],
            )
            for row in rows
        ]

    async def count(self, claim: Claim, rates_: Sequence[Allowed], *, wait: bool) -> int:
        now, wanted = self.clock.now_ms(), tuple(rates_)
        sums = tuple((rate.scope, "rate") for rate in wanted)
        return await self.store.write(
            lambda connection: rates.count(connection, claim, wanted, wait=wait, now=now),
            locks.Locks(places=(locks.lane(claim),), sums=sums),
        )
