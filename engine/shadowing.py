"""
Shadows: a second model is asked what the first one answered, to learn how often they agree.

It happens inside the run, after its last delivery has taken effect and is kept, and before the run ends. There it has
everything a call must have, and nothing of it is new: the lane's fence, a step that tells later attempts that it was
begun, a reservation under the run's own caps, and somebody who sweeps it when this process dies. A call of its own
beside the run would need all of that a second time, for a share of a few percent. The price: the next event of the
same record waits for it, `ask.timeout` at most. The event's own delivery waits for nothing.

It gives way to everything. What has no money, no turn, no open gate, or is paused, is not compared: no error of it
reaches the run, and it is not tried again. Nor is it made up for when the delivery had to wait: the attempt that asked
has the prompt, and no other.
"""

from __future__ import annotations

import logging
from dataclasses import replace

from ai import AI, Comparison
from engine.asking import Asked
from engine.gates import Gates
from ledger.contract import Claim, Ledger
from ledger.limits import gate_of
from penstock.errors import PenstockError
from pipelines.plan import Plan
from schemas.entries import Answer

log = logging.getLogger(__name__)


class Shadowing:
    """
    The comparisons of one pipeline.
    """

    def __init__(self, plan: Plan, *, ai: AI, ledger: Ledger, gates: Gates) -> None:
        self._plan = plan
        self._ai = ai
        self._ledger = ledger
        self._gates = gates
        shadow = plan.ladder.shadow
        compared = shadow is not None and Comparison(output=plan.output, scores=shadow.scores).fields
        self._shadow = shadow if compared else None

    def wants(self, claim: Claim, answer: Answer, asked: Asked | None) -> Asked | None:
        """
        Return what was *asked* when its *answer* is to be compared: the route's first model was paid for it in this
        attempt. An event that is asked anew is not compared again.
        """
        if self._shadow is None or claim.generation:
            return None
        fresh = not answer.stored and not answer.cached and answer.model == self._plan.ladder.models[0]
        return asked if fresh and self._shadow.picks(claim.run) else None

    async def compare(self, claim: Claim, answer: Answer, asked: Asked) -> None:
        """
        Ask the second model, unless anything speaks against it. Raises nothing.
        """
        try:
            if (why := await self._unwelcome(asked)) is None:
                agree = await self._ask(claim, answer, asked)
                log.debug("run %s: the second model agrees: %s", claim.run, agree)
                return
        except PenstockError as error:
            why = str(error)
        except Exception:
            log.exception("run %s could not be compared", claim.run, extra={"penstock.run": claim.run})
            return
        log.info("run %s is not compared: %s", claim.run, why, extra={"penstock.run": claim.run})

    async def _ask(self, claim: Claim, answer: Answer, asked: Asked) -> bool | None:
        plan = self._plan

        def may_ask(model: str) -> None:
            self._gates.check(f"model:{model}", probing=None)

        return await self._ai.shadow(
            claim,
            asked.prompt,
            answer,
            model=replace(plan.ladder, may_ask=may_ask),
            output=plan.output,
            max_output=plan.max_output,
            timeout=plan.timeout,
            caps=asked.caps,
            per_event=plan.per_event,
            ask_hash=plan.ask_hash,
            evidence=asked.evidence,
        )

    async def _unwelcome(self, asked: Asked) -> str | None:
        """
        Return why nothing may be asked now that no event needs.

        A run that has paid may overtake those that wait for the same money; what only compares must not.
        """
        if any(pause.pipeline == self._plan.name for pause in await self._ledger.pauses()):
            return "the pipeline is paused"
        waited = {hold.gate for hold in await self._ledger.holds()}
        if any(gate_of(cap.scope) in waited for cap in asked.caps()):
            return "runs wait for the same money"
        return None
