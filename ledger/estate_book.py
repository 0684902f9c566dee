"""
The part of the book that hands estates over; `ledger.estate.Estates`.
"""

from __future__ import annotations

from functools import partial
from typing import Protocol

from ledger import estates, locks
from ledger.claims import Claimant
from ledger.locks import Locks
from ledger.returns import Word
from ledger.store import Store
from penstock.clock import Clock


class _Claiming(Protocol):
    store: Store
    clock: Clock

    def _claimant(self, what: str) -> Claimant: ...


class EstateBook:
    """
    Adopts and retires.
    """

    async def adopt(self: _Claiming, old: str, new: str) -> int:
        return await self.store.write(lambda connection: estates.adopt(connection, old, new), locks.ALONE)

    async def retire(self: _Claiming, pipeline: str, *, person: str) -> int:
        ended, why = 0, f"its pipeline was retired by {person}"
        word = Word(what="discarded", person=person, now=self.clock.now_ms())
        while True:
            by = self._claimant(f"the estate of {pipeline}")
            needs = Locks(worker=by.worker, alone=True)
            some = await self.store.write(partial(estates.discard_lanes, pipeline=pipeline, by=by, why=why), needs)
            some += await self.store.write(lambda c: estates.discard_aside(c, pipeline, word), locks.ALONE)
            if not some:
                return ended
            ended += some
