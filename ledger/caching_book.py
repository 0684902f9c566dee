"""
The part of the book that knows of the cache; `ledger.caching.Caching`.
"""

from __future__ import annotations

from dataclasses import replace

from ledger import cache, locks
from ledger.caching import Asking, Cached, Question
from ledger.offer import Claim
from ledger.store import Store
from penstock.clock import Clock


class CachingBook:
    """
    Keeps who asks what.
    """

    store: Store
    clock: Clock

    async def cached(self, question: Question, claim: Claim) -> Cached | Asking | None:
        now = self.clock.now_ms()
        return await self.store.look(lambda connection: cache.find(connection, question, claim, now))

    async def ask_for(self, question: Question, claim: Claim, *, anew: bool = False) -> bool:
        now = self.clock.now_ms()
        return await self.store.write(
            lambda connection: cache.ask_for(connection, question, claim, anew=anew, now=now),
            replace(locks.of(claim), sums=(("cache", question.key),)),
        )

    async def clear_cache(self, pipeline: str | None = None) -> int:
        return await self.store.write(lambda connection: cache.clear(connection, pipeline), locks.ALONE)
