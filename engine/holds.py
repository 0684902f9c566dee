"""
Holds: what happens to a run that does not fit under a cap, and which pipelines stand still meanwhile.

The ledger decides who passes a budget's gate; this process only remembers where runs wait, so that it
makes no context in vain, and reads no more events of a pipeline whose every run would wait.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence

from engine.patience import firmly
from ledger.contract import Cap, Claim, Ledger
from ledger.limits import CapReached, gate_of
from penstock.clock import Clock
from penstock.errors import OverBudget
from pipelines.plan import Plan

log = logging.getLogger(__name__)


class Queued(OverBudget):
    """
    Runs that came before wait for the money of one of this run's caps.
    """

    def __init__(self, cap: Cap) -> None:
        super().__init__(f"runs that came before wait for money of {cap.scope!r}", scope=f"{cap.scope}/{cap.period}")
        self.cap = cap


class Holds:
    """
    This process' view of the budget gates; the ledger's word is final.
    """

    def __init__(self, ledger: Ledger, clock: Clock, plans: Mapping[str, Plan] | None = None) -> None:
        self._ledger = ledger
        self._clock = clock
        self._plans = dict(plans or {})
        self._wide = {
            name: [gate_of(scope) for scope in plan.spending.wide_scopes]
            for name, plan in self._plans.items()
            if plan.cache is None  # what is answered from the cache needs no money
        }
        self._shut: frozenset[str] = frozenset()

    async def load(self) -> None:
        """
        Hold the gates an earlier process left to the limits of today's configuration.
        """
        limits = {each.scope: each.spend.amount for plan in self._plans.values() for each in plan.spending.ceilings}
        found = await self._ledger.holds(list(self._plans))
        await self._ledger.limit({hold.gate: limits.get(hold.scope.partition("/")[0]) for hold in found})
        await self._refresh()

    @property
    def any(self) -> bool:
        """
        Whether runs wait for money, as far as is known here.
        """
        return bool(self._shut)

    def paused(self, pipeline: str) -> bool:
        """
        Return whether every run of *pipeline* would wait now.
        """
        return any(gate in self._shut for gate in self._wide.get(pipeline, ()))

    def check(self, claim: Claim, caps: Callable[[], Sequence[Cap]]) -> None:
        """
        Raise `Queued` when *claim* would overtake runs that wait for the same money.
        """
        if self._shut and claim.reason != "hold":
            for cap in caps():
                if gate_of(cap.scope) in self._shut:
                    raise Queued(cap)

    async def look(self) -> bool:
        """
        Look whether runs still wait where they did; return whether a gate is free again.
        """
        before = self._shut
        if before:
            await self._refresh()
        return bool(before - self._shut)

    async def waits(self, error: CapReached | Queued, claim: Claim) -> bool:
        """
        Return whether a run that does not fit waits for money, and tell people when there is no more.

        Where events are dropped, one waits as long as only calls under way hold the money, unless it
        has paid already: it would pay the same again.
        """
        if isinstance(error, Queued):
            return True
        if error.forever:
            return False
        if not error.passing:
            await firmly(self._clock, lambda: self._ledger.reached(error.cap))
        return error.cap.at_limit == "hold" or (error.passing and await self._paid(claim) == 0)

    async def wait(self, error: CapReached | Queued, claim: Claim, body: bytes, *, why: str) -> None:
        """
        Let a run wait for money. Raises `Fenced`.
        """
        need = None
        if isinstance(error, CapReached):  # what it has paid it may have to pay again
            need = min(error.amount + await self._paid(claim), error.cap.limit)
        await self._ledger.hold(claim, body, error.cap, need=need, why=why)
        gate = gate_of(error.cap.scope)
        if gate not in self._shut:
            self._shut |= {gate}
            log.warning("runs wait at gate %s: %s", gate, why, extra={"penstock.gate": gate})

    async def _paid(self, claim: Claim) -> int:
        detail = await firmly(self._clock, lambda: self._ledger.detail(claim.run))
        return 0 if detail is None else detail.run.cost

    async def _refresh(self) -> None:
        self._shut = frozenset(hold.gate for hold in await self._ledger.holds())
