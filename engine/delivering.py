"""
The writes of a run: each a step of the ledger, safe to meet again after a crash.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from connectors.contract import Connector
from engine.approving import APPROVED, ASKED, Approving
from engine.changes import CHANGED, Before, Changes
from engine.doubts import in_doubt, still_ours, with_fields
from engine.gates import Gates
from engine.lookups import Lookups
from engine.progressing import Progressing
from engine.stations import station
from engine.watch import Watch
from engine.writing import NotWritten, Outcome, Writing
from ledger.contract import Claim, Ending, Ledger
from ledger.returning import Newer
from penstock.clock import Clock
from penstock.errors import Rejected
from penstock.http import Http
from pipelines.deliveries import DeliveryPlan
from pipelines.plan import Plan
from schemas.entries import Answer, Prompt, RunDetail, Verdict
from schemas.events import Event

WHEN = "`when` was not true"
UNLESS = "`unless` was true for the record as it is now"


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivered:
    """
    What became of the deliveries of a run.
    """

    verdict: Verdict
    why: str | None
    ending: Ending | None
    """How the last one ended: to be kept together with the verdict."""
    wrote: frozenset[str] = frozenset()
    """The steps of those that stand in their systems now."""


class Delivering:
    """
    Carries a pipeline's deliveries out.
    """

    def __init__(
        self,
        plan: Plan,
        *,
        connectors: Mapping[str, Connector],
        lookups: Lookups,
        ledger: Ledger,
        http: Http,
        clock: Clock,
        gates: Gates,
        watch: Watch,
        progressing: Progressing,
        fail: Callable[[str], None],
    ) -> None:
        self._plan = plan
        self._progressing = progressing
        self._connectors = connectors
        self._lookups = lookups
        self._ledger = ledger
        self._http = http
        self._clock = clock
        self._gates = gates
        self._watch = watch
        self._fail = fail
        self.changes = Changes(plan, connectors=connectors, lookups=lookups)
        self._writing = Writing(
            plan, connectors=connectors, ledger=ledger, http=http, clock=clock, gates=gates, fail=fail
        )
        self._approving = Approving(
            connectors=connectors,
            ledger=ledger,
            http=http,
            clock=clock,
            gates=gates,
            fail=fail,
            call=self._writing.call,
            write=self._writing.write,
        )

    async def all(
        self,
        claim: Claim,
        event: Event,
        answer: Answer,
        *,
        probing: str | None,
        asks: Callable[[], Awaitable[Prompt]],
        newer: Newer | None = None,
        goes_on: bool = False,
    ) -> Delivered:
        """
        Carry every delivery out in written order, except to what *newer* runs wrote to.

        *asks* makes the question as it would be asked now. Raises `RecordChanged` before anything is written.

        *goes_on* keeps the last one's end at once: the run does not end with it.
        """
        detail = await self._detail(claim)
        done = _done(detail, claim)
        self._must_have(detail, claim, done)
        before = Before.of(detail, claim.generation)
        changed = await self.changes.check(claim, event, answer, before, probing=probing, asks=asks)
        outcomes: list[Outcome] = []
        ending: Ending | None = None
        for delivery in self._plan.deliveries:
            ends = delivery is self._plan.deliveries[-1] and not goes_on
            with station(delivery.step):
                if (kept := done.get(delivery.step)) is None:
                    with self._watch.step(self._plan.name, delivery.step):
                        kept, ending = await self._one(
                            claim,
                            delivery,
                            event,
                            answer,
                            probing,
                            newer,
                            detail,
                            ends=ends,
                            changed=changed,
                            again=before.again,
                        )
                if delivery.show_progress and kept["outcome"] in ("skipped", "superseded"):
                    await self._progressing.leave(claim, event, delivery.step)
                outcomes.append(kept)
        verdict, why = _verdict(outcomes)
        ended = zip(self._plan.deliveries, outcomes, strict=True)
        wrote = frozenset(one.step for one, outcome in ended if outcome["outcome"] in ("delivered", "unchanged"))
        return Delivered(verdict=verdict, why=why, ending=ending, wrote=wrote)

    async def _detail(self, claim: Claim) -> RunDetail | None:
        """
        Return what the run did before, when anybody needs to know.
        """
        if self.changes.watched or claim.generation:
            return await self._ledger.detail(claim.run)
        if claim.new:
            return None
        kept = await self._ledger.answer(claim.run, "ask", claim.generation)
        return await self._ledger.detail(claim.run) if kept is not None and kept[1] else None

    def _must_have(self, detail: RunDetail | None, claim: Claim, done: Mapping[str, Outcome]) -> None:
        """
        Raise `Rejected` when people approved the draft of a delivery that the pipeline has no more.
        """
        names = {delivery.step for delivery in self._plan.deliveries}
        for draft in detail.drafts if detail is not None else ():
            mine = draft.generation == claim.generation and draft.choice == "approve"
            if mine and draft.step not in names and f"{draft.step}{APPROVED}" not in done:
                message = f"{draft.step}: the draft was approved, and the pipeline has no such delivery any more"
                raise Rejected(f"{message}; give it its name back and replay the run")

    async def drafted(self, claim: Claim) -> Answer | None:
        """
        Return the answer that people were shown a draft of, whether or not it fits what is configured now.
        """
        if not any(draft.generation == claim.generation for draft in await self._ledger.drafts(claim.run)):
            return None
        kept = await self._ledger.answer(claim.run, "ask", claim.generation)
        return None if kept is None else Answer.model_validate(kept[0]).model_copy(update={"stored": True})

    async def _one(
        self,
        claim: Claim,
        delivery: DeliveryPlan,
        event: Event,
        answer: Answer,
        probing: str | None,
        newer: Newer | None,
        detail: RunDetail | None,
        *,
        ends: bool,
        changed: Collection[str],
        again: bool,
    ) -> tuple[Outcome, Ending | None]:
        scope = self._plan.scope(event, answer, claim.burst)
        record = delivery.record_of(scope)
        connector = self._connectors[delivery.connection]
        action = connector.actions[delivery.action]
        if action.approval is not None and (draft := await self._approving.known(claim, delivery)) is not None:
            self._gates.check(f"connection:{delivery.connection}", probing=probing)
            return await self._approving.go_on(claim, delivery, action, draft), None
        if newer is not None and (delivery.connection, record) in newer.targets:
            why = f"{delivery.step}: run {newer.run[:8]} of the same lane is newer, and wrote to it before"
            return {"outcome": "superseded", "why": why}, None
        if delivery.step in changed:
            return _skipped(delivery, CHANGED)
        if not await self._wanted(claim, delivery, record, scope, probing):
            return _skipped(delivery, WHEN)
        lost = still_ours(detail, claim.generation, delivery.step, scope.get("record")) if delivery.fields else {}
        unwanted = delivery.unwanted(scope)
        only_look = unwanted and not lost  # what an earlier try may have left behind is found, and nothing else written
        if only_look and (action.approval or not in_doubt(detail, claim.generation, delivery.step)):
            return _skipped(delivery, UNLESS)
        args = with_fields(None if lost and unwanted else delivery.render(scope), lost)
        if args is None:
            return _skipped(delivery, "no field was left to set")
        self._gates.check(f"connection:{delivery.connection}", probing=probing)
        if action.approval is not None:
            return await self._approving.put(claim, delivery, action, record, args), None
        try:
            return await self._writing.step(
                claim, delivery, action, record, args, ends=ends, again=again, only_look=only_look
            )
        except NotWritten:
            return _skipped(delivery, UNLESS)

    async def _wanted(
        self, claim: Claim, delivery: DeliveryPlan, record: str, scope: dict[str, Any], probing: str | None
    ) -> bool:
        """
        Say whether `when` is true; puts the record as it is now into *scope*, where somebody wants to see it.
        """
        first = delivery.needs_record_first
        if not first and not delivery.wanted(scope):
            return False
        action = self._connectors[delivery.connection].actions[delivery.action]
        if delivery.needs_record and action.reads:
            target = f"{delivery.connection}.{action.reads}"
            found = await self._lookups.read(target, record, 1, run=claim.run, probing=probing, fresh=True)
            scope["record"] = found[0]
        return not first or delivery.wanted(scope)


def _done(detail: RunDetail | None, claim: Claim) -> dict[str, Outcome]:
    """
    Return what deliveries of an earlier try ended with: the record may say otherwise by now.
    """
    steps = detail.steps if detail is not None else ()
    mine = [step for step in steps if step.kind == "write" and step.generation == claim.generation]
    done = {step.step: step.result for step in mine if step.state == "done"}
    return {step: result for step, result in done.items() if result.get("outcome") != ASKED}


def _skipped(delivery: DeliveryPlan, why: str) -> tuple[Outcome, None]:
    return {"outcome": "skipped", "why": f"{delivery.step}: {why}"}, None


def _verdict(outcomes: Sequence[Outcome]) -> tuple[Verdict, str | None]:
    """
    Return the verdict of a run whose deliveries ended so, and why.
    """
    verdict: Verdict
    for verdict in ("superseded", "delivered", "unchanged", "discarded"):
        if found := [outcome for outcome in outcomes if outcome["outcome"] == verdict]:
            told = next((outcome["why"] for outcome in found if outcome.get("why")), None)
            return verdict, None if verdict == "unchanged" else told
    return "skipped", "; ".join(outcome.get("why", "") for outcome in outcomes) or None
