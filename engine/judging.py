"""
Judging: whether a pipeline wants an event, before anything may cost.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping

from connectors.contract import Connector
from engine.echoes import echo_of
from engine.fuses import Fuses
from engine.lineage import Lineage
from ledger.contract import Claim, Ledger
from penstock.clock import Clock
from penstock.errors import PenstockError
from penstock.units import span
from pipelines.plan import Plan
from schemas.entries import Verdict
from schemas.events import Event

log = logging.getLogger(__name__)


class Judging:
    """
    Judges one pipeline's events.
    """

    def __init__(self, plan: Plan, *, connectors: Mapping[str, Connector], ledger: Ledger, clock: Clock) -> None:
        self._plan = plan
        self._connectors = connectors
        self._ledger = ledger
        self._clock = clock
        self._lineage = Lineage(plan, connector=connectors[plan.connection], ledger=ledger, clock=clock)
        self._fuses = Fuses(plan, ledger=ledger, clock=clock)

    def on_arrival(
        self, event: Event, *, of_any_age: bool = False, of_anybody: bool = False
    ) -> tuple[Verdict, str] | None:
        """
        Return the verdict and reason of an event this pipeline does not want; None when it does.
        """
        try:
            own = None if of_anybody else self._own_write(event)
            return own or self._unwanted(event) or (None if of_any_age else self._stale(event))
        except PenstockError as error:
            return "dead", f"event {event.id}: {error}"
        except Exception as error:  # one event that breaks us must not stop the others
            log.exception("event %s failed unforeseen", event.id)
            return "dead", f"event {event.id}: unforeseen {type(error).__name__}: {error}"

    async def before_asking(self, claim: Claim, event: Event) -> tuple[Verdict, str] | None:
        """
        Judge once more what was not asked about yet, by what is known now. Raises `EchoPending`.

        What a person sent on its way again is judged anew, however old it is; and one that is to begin anew
        runs whoever wrote it, for what its own earlier generation wrote is no echo either.
        """
        if claim.came_back:
            unwanted = self.on_arrival(event, of_any_age=True, of_anybody=claim.generation > 0)
            if unwanted is not None:
                return unwanted
        alone = claim.burst is None or claim.burst.count == 1
        if (
            alone and not claim.generation and (echo := await self.echo(event))
        ):  # else the newest may be ours, and the burst is not
            return "own-write", echo
        if (blown := await self._fuses.blown(claim)) is not None:
            return "dead", blown
        if claim.came_back or (old := self._stale(event)) is None:
            return None
        detail = await self._ledger.detail(claim.run)
        return None if detail is not None and detail.steps else old

    async def echo(self, event: Event) -> str | None:
        """
        Return why *event* is our own doing; None when it is not. Raises `EchoPending`.
        """
        own = self._own(event)  # also of an event judged before: by now we may know who we are
        own = own or await echo_of(event, self._plan.connection, ledger=self._ledger, clock=self._clock)
        return await self._lineage.stopped(event, own)

    def _own_write(self, event: Event) -> tuple[Verdict, str] | None:
        if (own := self._own(event)) and not self._plan.chain.follows:  # else only the ledger knows who wrote
            return "own-write", own
        return None

    def _unwanted(self, event: Event) -> tuple[Verdict, str] | None:
        if event.type not in self._plan.events:
            return "filtered", f"{event.type} is not one of trigger.events"
        self._plan.whose(event, event.key)
        if (unwanted := self._plan.unwanted(event)) is not None:
            return unwanted
        self._plan.key(event)
        return None

    def _own(self, event: Event) -> str | None:
        return event.ownwrite or self._connectors[self._plan.connection].own(event)

    def _stale(self, event: Event) -> tuple[Verdict, str] | None:
        most = self._plan.max_age
        if most is None or self._clock.now_ms() - event.time.timestamp() * 1000 <= most * 1000:
            return None
        return "stale", f"its change is more than {span(most)} ago (trigger.max_age)"
