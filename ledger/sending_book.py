"""
The part of the book that gives parcels out; `ledger.sending.Sending`.
"""

from __future__ import annotations

from collections.abc import Sequence

from ledger import locks, outbox
from ledger.parcels import Parcel
from ledger.store import Store
from penstock.clock import Clock

_SECOND = 1000  # ms


class SendingBook:
    """
    Gives parcels out, and notes what became of them.
    """

    store: Store
    clock: Clock

    async def take_parcels(self, kinds: Sequence[str], most: int, *, hold: float) -> list[Parcel]:
        now, names = self.clock.now_ms(), tuple(kinds)
        until = now + int(hold * _SECOND)
        return await self.store.write(lambda c: outbox.take(c, names, most=most, now=now, until=until), locks.ALONE)

    async def parcel_sent(self, parcel: str) -> None:
        now = self.clock.now_ms()
        await self.store.write(lambda c: outbox.sent(c, parcel, now), locks.ALONE)

    async def put_parcel_off(self, parcel: str, until: int) -> None:
        await self.store.write(lambda c: outbox.put_off(c, parcel, until), locks.ALONE)
