"""
The part of the book that knows of paces; `ledger.pacing.Pacing`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

from ledger import paces
from ledger.connection import Connection
from ledger.locks import Locks
from ledger.pacing import Need, Pace, Permits, Quota
from ledger.store import Store
from penstock.clock import Clock

T = TypeVar("T")


class PacingBook:
    """
    Keeps the paces.
    """

    store: Store
    clock: Clock

    async def permits(self, pace: str, needs: Sequence[Need], *, back: Need, horizon: float) -> Permits:
        wanted = tuple(needs)
        return await self._alone(
            pace,
            lambda connection: paces.permits(
                connection, pace, wanted, back=back, horizon=horizon, now=self.clock.now_ms()
            ),
        )

    async def set_pace(self, pace: str, quota: Quota, *, told: bool, declared: bool = False) -> Pace:
        now = self.clock.now_ms()
        return await self._alone(
            pace,
            lambda connection: paces.set_pace(connection, pace, quota, told=told, declared=declared, now=now),
        )

    async def forget_pace(self, pace: str) -> None:
        await self._alone(pace, lambda connection: paces.forget_pace(connection, pace))

    async def slow_down(self, pace: str, *, until: int, guess: Quota | None = None) -> Pace:
        now = self.clock.now_ms()
        return await self._alone(
            pace, lambda connection: paces.slow_down(connection, pace, until=until, guess=guess, now=now)
        )

    async def paces(self) -> list[Pace]:
        now = self.clock.now_ms()
        return await self.store.read(lambda connection: paces.all_of(connection, now))

    async def _alone(self, pace: str, work: Callable[[Connection], T]) -> T:
        """
        Do *work* while nobody else changes *pace*.
        """
        return await self.store.write(work, Locks(sums=(("pace", pace),)))
