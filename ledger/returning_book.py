"""
The part of the book by which runs come back; `ledger.returning.Returning`.
"""

from __future__ import annotations

from collections.abc import Sequence

from ledger import returns
from ledger.connection import Connection
from ledger.contract import Claim
from ledger.locks import Locks
from ledger.returning import Decided, Newer, Prospect, Return
from ledger.returns import Word
from ledger.store import Store
from penstock.clock import Clock

MOST = 100  # runs that come back in one transaction
APART = 20  # ms between the due times of runs that come back together, so that others get their turn


class ReturningBook:
    """
    Takes decisions about runs.
    """

    store: Store
    clock: Clock

    async def replay(self, runs: Sequence[Return], *, person: str, again: bool = False) -> list[str]:
        now = self.clock.now_ms()
        word = Word(what="again" if again else "replay", person=person, now=now)
        back: list[str] = []
        for start in range(0, len(runs), MOST):
            some = list(enumerate(runs[start : start + MOST], start))

            def put(connection: Connection, some: Sequence[tuple[int, Return]] = some) -> list[str]:
                due = {one.run: now + number * APART for number, one in some}
                return [one.run for _, one in some if returns.replay(connection, one, word, due_at=due[one.run])]

            back += await self.store.write(put, Locks(runs=tuple(one.run for _, one in some)))
        return back

    async def decide(self, run: Return, what: Decided, *, person: str) -> bool:
        word = Word(what=what, person=person, now=self.clock.now_ms())
        return await self.store.write(lambda c: returns.decide(c, run, what, word), Locks(runs=(run.run,)))

    async def newer(self, claim: Claim) -> Newer | None:
        return await self.store.read(lambda connection: returns.newer(connection, claim))

    async def prospects(self, runs: Sequence[str]) -> list[Prospect]:
        names = tuple(runs)
        return await self.store.read(lambda connection: returns.prospects(connection, names))
