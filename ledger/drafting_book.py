"""
The part of the book that knows of drafts; `ledger.drafting.Drafting`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from ledger import drafts, locks
from ledger.drafting import Draft, Taken
from ledger.locks import Locks
from ledger.offer import Claim
from ledger.returns import Word
from ledger.store import Store
from penstock.clock import Clock


class DraftingBook:
    """
    Keeps drafts.
    """

    store: Store
    clock: Clock

    async def put_draft(
        self, claim: Claim, step: str, key: str, *, record: str, args: Mapping[str, Any], expires_at: int
    ) -> None:
        times: dict[str, Any] = {"now": self.clock.now_ms(), "expires_at": expires_at}
        await self.store.write(lambda c: drafts.put(c, claim, step, key, record, args, times), locks.NONE)

    async def shown_draft(self, key: str, expires_at: int) -> None:
        await self.store.write(lambda c: drafts.shown(c, key, expires_at), locks.NONE)

    async def draft(self, key: str) -> Draft | None:
        return await self.store.look(lambda connection: drafts.find(connection, key))

    async def drafts(self, run: str) -> list[Draft]:
        return await self.store.look(lambda connection: drafts.of(connection, run))

    async def decide_draft(
        self, key: str, choice: Literal["approve", "discard"], *, person: str, text: str | None = None
    ) -> Taken:
        found = await self.draft(key)
        if found is None:
            return "unknown"
        word = Word(what=drafts.WORDS[choice], person=person, now=self.clock.now_ms())
        return await self.store.write(
            lambda connection: drafts.decide(connection, key, choice, word, text), Locks(runs=(found.run,))
        )

    async def expire_drafts(self) -> int:
        now = self.clock.now_ms()
        late = await self.store.read(lambda connection: drafts.late(connection, now))
        if not late:
            return 0
        runs = tuple(dict.fromkeys(late.values()))  # their lanes: one may be on its way aside
        return await self.store.write(lambda connection: drafts.expire(connection, late, now), Locks(runs=runs))
