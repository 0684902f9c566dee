"""
Progress: a placeholder where the answer will stand, while it is being made. Best effort: nothing depends on it.
"""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Iterator, Mapping

from connectors import open_call
from connectors.contract import Connector, Progress
from engine.gates import AtGate, Gates
from ledger.contract import Claim
from ledger.steps import key as step_key
from penstock.clock import Clock
from penstock.errors import PenstockError
from penstock.http import Http
from pipelines.deliveries import DeliveryPlan
from pipelines.plan import Plan
from pipelines.views import with_burst
from schemas.events import Event

log = logging.getLogger(__name__)

WITHIN = 5.0  # seconds a placeholder may take
KNOWN = 10_000  # runs whose placeholders are remembered


class Progressing:
    """
    Shows and clears placeholders of one pipeline.
    """

    def __init__(
        self, plan: Plan, *, connectors: Mapping[str, Connector], http: Http, clock: Clock, gates: Gates
    ) -> None:
        self._plan = plan
        self._connectors = connectors
        self._http = http
        self._clock = clock
        self._gates = gates
        self._wanted = [delivery for delivery in plan.deliveries if delivery.show_progress]
        self._shown: OrderedDict[tuple[str, int], frozenset[str]] = OrderedDict()
        """By run and generation: of which deliveries no placeholder stands there any more."""

    async def show(self, claim: Claim, event: Event) -> None:
        """
        Leave a placeholder for every delivery that wants one, once.
        """
        mark = (claim.run, claim.generation)
        if not self._wanted or mark in self._shown or self._plan.batch is not None:
            return
        self._shown[mark] = frozenset()
        while len(self._shown) > KNOWN:
            self._shown.popitem(last=False)
        for delivery, progress, record in self._each(claim, event):
            await self._do(claim, delivery, progress, record, show=True)

    def wrote(self, claim: Claim, steps: frozenset[str]) -> None:
        """
        Take note of what *claim*'s run wrote.
        """
        if self._wanted:
            mark = (claim.run, claim.generation)
            self._shown[mark] = self._shown.get(mark, frozenset()) | steps

    async def leave(self, claim: Claim, event: Event, step: str) -> None:
        """
        Take away the placeholder of one delivery that will not write, while its run goes on.
        """
        if claim.new and (claim.run, claim.generation) not in self._shown:
            return
        for delivery, progress, record in self._each(claim, event):
            if delivery.step == step:
                await self._do(claim, delivery, progress, record, show=False)
                self.wrote(claim, frozenset({step}))

    async def clear(self, claim: Claim, event: Event) -> None:
        """
        Take away the placeholders of a run that ended, of deliveries that did not write.
        """
        wrote = self._shown.pop((claim.run, claim.generation), None)
        if not self._wanted or (wrote is None and claim.new):
            return
        for delivery, progress, record in self._each(claim, event):
            if delivery.step not in (wrote or ()):
                await self._do(claim, delivery, progress, record, show=False)

    def _each(self, claim: Claim, event: Event) -> Iterator[tuple[DeliveryPlan, Progress, str]]:
        scope = {"event": with_burst(event, claim.burst)}
        for delivery in self._wanted:
            progress = self._connectors[delivery.connection].actions[delivery.action].progress
            try:
                if progress is not None and delivery.possible(scope):
                    yield delivery, progress, delivery.record_of(scope)
            except PenstockError:
                continue  # the delivery itself will say so

    async def _do(self, claim: Claim, delivery: DeliveryPlan, progress: Progress, record: str, *, show: bool) -> None:
        try:
            self._gates.check(f"connection:{delivery.connection}", probing=None)
        except AtGate:
            return  # one call at a time finds out whether the system is there again, and it is not this one
        connector = self._connectors[delivery.connection]
        key = step_key(claim, delivery.step)
        call = open_call(connector, self._http, key=key, slot="", timeout=WITHIN, clock=self._clock)
        try:
            await (progress.show if show else progress.clear)(record, call)
        except (PenstockError, TimeoutError, OSError) as error:
            log.info("%s: no progress was shown or cleared: %s", delivery.step, error)
        except Exception:
            log.exception("%s: showing or clearing progress failed unforeseen", delivery.step)
