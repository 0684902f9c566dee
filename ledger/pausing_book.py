"""
The part of the book that knows of pauses; `ledger.pausing.Pausing`.
"""

from __future__ import annotations

from ledger import locks, pauses
from ledger.pausing import Pause
from ledger.store import Store
from penstock.clock import Clock
from penstock.redaction import LIVE


class PausingBook:
    """
    Pauses and resumes pipelines.
    """

    store: Store
    clock: Clock

    async def pause(self, pipeline: str, *, reason: str, until: int | None = None) -> None:
        now, told = self.clock.now_ms(), LIVE.hide(reason)
        await self.store.write(lambda c: pauses.begin(c, pipeline, told, until=until, now=now), locks.ALONE)

    async def resume(self, pipeline: str) -> bool:
        now = self.clock.now_ms()
        return await self.store.write(lambda connection: pauses.end(connection, pipeline, now), locks.ALONE)

    async def pauses(self) -> list[Pause]:
        now = self.clock.now_ms()
        return await self.store.read(lambda connection: pauses.present(connection, now))
