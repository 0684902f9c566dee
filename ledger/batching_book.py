"""
The part of the book that knows of batches; `ledger.batching.Batching`.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from ledger import batches, locks
from ledger.batches import MOST
from ledger.batching import Batch, BatchState, Entry, Item, ItemEnd, Limits
from ledger.ids import Ids
from ledger.lease import Lease
from ledger.locks import Locks
from ledger.offer import Claim
from ledger.queries import queries
from ledger.store import Store
from penstock.clock import Clock

_SECOND = 1000  # ms


class BatchingBook:
    """
    Keeps items and batches.
    """

    store: Store
    clock: Clock
    lease: Lease
    _ids: Ids

    async def item(self, claim: Claim, step: str) -> Item | None:
        return await self.store.look(lambda connection: batches.item_of(connection, claim, step))

    async def spend_item(self, call: str, why: str) -> None:
        named = {"call": bytes.fromhex(call), "why": why}
        await self.store.write(lambda connection: connection.execute(queries["spend_item"], named), locks.NONE)

    async def lead(self, what: str, *, lasts: float) -> bool:
        now, worker = self.clock.now_ms(), self.lease.worker
        until = now + int(lasts * _SECOND)
        return await self.store.write(
            lambda connection: batches.lead(connection, what, worker, until=until, now=now),
            Locks(sums=(("lead", what),)),
        )

    async def has_batches(self) -> bool:
        return await self.store.read(
            lambda connection: connection.execute(queries["has_batches"]).fetchone() is not None
        )

    async def withdraw(self) -> int:
        now = self.clock.now_ms()
        return await self.store.write(lambda connection: batches.withdraw(connection, now), locks.ALONE)

    async def seal(self, limits: Limits) -> int:
        now = self.clock.now_ms()
        return await self.store.write(lambda connection: batches.seal(connection, limits, self._ids, now), locks.ALONE)

    async def due_batches(self) -> list[Batch]:
        now = self.clock.now_ms()
        return await self.store.look(lambda connection: batches.due(connection, now))

    async def entries(self, batch: str) -> list[Entry]:
        return await self.store.look(lambda connection: batches.entries(connection, batch))

    async def known_handle(self, handle: str) -> bool:
        named = {"handle": handle}
        return await self.store.look(
            lambda connection: connection.execute(queries["known_handle"], named).fetchone() is not None
        )

    async def move_batch(
        self,
        batch: Batch,
        state: BatchState,
        *,
        look_at: int,
        looks: int = 0,
        handle: str | None = None,
        sent_at: int | None = None,
        why: str | None = None,
    ) -> bool:
        to = {"state": state, "look_at": look_at, "looks": looks, "handle": handle, "sent_at": sent_at, "why": why}
        return await self.store.write(lambda connection: batches.move(connection, batch, **to), locks.ALONE)

    async def end_items(self, ends: Sequence[ItemEnd]) -> int:
        now, ended = self.clock.now_ms(), 0
        for start in range(0, len(ends), MOST):
            some = tuple(ends[start : start + MOST])
            ended += await self.store.write(partial(batches.end, ends=some, now=now), locks.ALONE)
        return ended
