"""
One provider call between reserve and settle.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

from ledger import asks, batches, locks, money, steps
from ledger.batching import NewItem
from ledger.connection import Connection
from ledger.contract import Cap, Claim
from ledger.ids import Ids
from ledger.lease import Lease
from ledger.steps import Plan
from ledger.store import Store
from penstock.clock import Clock
from penstock.errors import Unavailable
from schemas.entries import ModelCall

Intend = Callable[[Connection, bool], None]
"""
Stores the intent of a step; told whether its lane is known to be held in this transaction.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Means:
    """
    What a step needs of its ledger.
    """

    store: Store
    lease: Lease
    clock: Clock
    fail: Callable[[str], None]
    ids: Ids


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """
    What a call may cost, and who is asked.
    """

    amount: int
    """Micro-USD."""
    caps: tuple[Cap, ...]
    model: str
    priced: bool
    item: NewItem | None = None
    """Of a call that is left to a batch: its question."""


class Slot:
    """
    One provider call under a reservation; `ledger.contract.CallSlot`.
    """

    def __init__(
        self,
        means: Means,
        claim: Claim,
        plan: Plan,
        terms: Terms,
        *,
        owe: Callable[[Slot], None],
        doubted: bool = False,
    ) -> None:
        """
        Prepare a call of a step; when it is *doubted*, an earlier one may be answered yet.
        """
        self.call = means.ids.new().hex()
        self._means = means
        self._claim = claim
        self._plan = plan
        self._terms = terms
        self.asks = partial(asks.call, claim, self.call, terms.caps)
        self._locks = locks.of(claim, terms.caps, asks=self.asks)
        self._owe = owe
        self._doubted = doubted and plan.kind == "ask"
        self._owed: ModelCall | None = None
        self._ended = False

    async def reserve(self, per_event: int | None, intend: Intend | None) -> None:
        """
        Hold the money, or raise `OverBudget`; *intend* to ask in the same transaction.
        """
        now = self._means.clock.now_ms()

        def reserve(connection: Connection) -> None:
            if self._doubted and steps.answered_late(connection, self._claim, self._plan):
                raise Unavailable("the answer of an earlier try came late: it is taken with the next one")
            held = money.reserve(
                connection,
                self._claim,
                self._plan.name,
                self.call,
                amount=self._terms.amount,
                caps=self._terms.caps,
                per_event=per_event,
                now=now,
                model=self._terms.model,
                priced=self._terms.priced,
                outlives=self._terms.item is not None,
            )
            if self._terms.item is not None:
                batches.put(connection, self._claim, self._plan.name, self.call, self._terms.item, now)
            if intend is not None:
                intend(connection, held)

        def asked() -> tuple[locks.Ask, ...]:
            return self.asks() + (asks.step(self._plan.named(self._claim)) if intend else ())

        await self._means.store.write(reserve, replace(self._locks, asks=asked))
        if intend is not None:
            self._means.fail("begin")
        self._means.fail("reserve")

    async def settle(self, entry: ModelCall, *, with_step: bool = False) -> None:
        """
        Book what the call really cost.
        """
        if with_step:
            self._owed = self._mine(entry)
            self._owe(self)
            return
        await self._end(entry, "settled")
        self._means.fail("settle")

    def book(self, connection: Connection) -> None:
        """
        Book what it cost, in the transaction of its step's end.
        """
        if self._owed is not None:
            money.end(connection, self._owed, "settled")

    async def release(self, entry: ModelCall) -> None:
        """
        Give the reservation back.
        """
        await self._end(entry, "released")

    async def lose(self) -> None:
        """
        Book the whole amount of a call nobody told us the end of.
        """
        if self._ended:
            return
        now = self._means.clock.now_ms()
        entry = money.unanswered(
            call=self.call,
            run=self._claim.run,
            step=self._plan.name,
            cost=self._terms.amount,
            outcome="lost",
            now=now,
            model=self._terms.model,
            priced=self._terms.priced,
        )
        await self._end(entry, "settled")

    async def _end(self, entry: ModelCall, ending: money.Ending) -> None:
        mine = self._mine(entry)
        await self._means.store.write(lambda connection: money.end(connection, mine, ending), self._locks)

    def _mine(self, entry: ModelCall) -> ModelCall:
        self._ended = True
        return entry.model_copy(update={"call": self.call, "run": self._claim.run, "step": self._plan.name})
