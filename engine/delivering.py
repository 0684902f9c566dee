"""
The writes of a run: each a step of the ledger, safe to meet again after a crash.
"""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from connectors import open_call
from connectors.contract import Action, Call, Connector, Written
from engine.approving import APPROVED, ASKED, Approving
from engine.changes import CHANGED, Before, Changes
from engine.doubts import still_ours, with_fields
from engine.echoes import value_hash
from engine.gates import Gates
from engine.lookups import Lookups, through
from engine.patience import ours
from engine.progressing import Progressing
from engine.stations import station
from engine.watch import Watch
from ledger.contract import Claim, Ending, Ledger, Step, WriteIntent
from ledger.returning import Newer
from penstock.clock import Clock
from penstock.errors import Rejected, UnknownOutcome
from penstock.http import Http
from pipelines.deliveries import DeliveryPlan
from pipelines.plan import Plan
from schemas.entries import Answer, AsideReason, Prompt, RunDetail, Verdict
from schemas.events import Event

Outcome = dict[str, Any]
"""`{"outcome": "delivered" | "unchanged" | "skipped" | "superseded" | "discarded", "why"?, "remote_id"?, "url"?, "already"?}`."""


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


class Parked(UnknownOutcome):
    """
    Nobody can tell whether a blind write took effect; a person decides.
    """

    aside: AsideReason = "parked"


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
        self._approving = Approving(
            connectors=connectors,
            ledger=ledger,
            http=http,
            clock=clock,
            gates=gates,
            fail=fail,
            call=self._call,
            write=self._write,
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
        if not delivery.wanted(scope):
            return _skipped(delivery, "`when` was not true")
        if delivery.needs_record and action.reads:
            target = f"{delivery.connection}.{action.reads}"
            found = await self._lookups.read(target, record, 1, run=claim.run, probing=probing, fresh=True)
            scope["record"] = found[0]
        lost = still_ours(detail, claim.generation, delivery.step, scope.get("record")) if delivery.fields else {}
        unwanted = delivery.unwanted(scope)
        if unwanted and not lost:
            return _skipped(delivery, "`unless` was true for the record as it is now")
        args = with_fields(None if unwanted else delivery.render(scope), lost)
        if args is None:
            return _skipped(delivery, "no field was left to set")
        self._gates.check(f"connection:{delivery.connection}", probing=probing)
        if action.approval is not None:
            return await self._approving.put(claim, delivery, action, record, args), None
        return await self._step(claim, delivery, action, record, args, ends=ends, again=again)

    async def _step(
        self,
        claim: Claim,
        delivery: DeliveryPlan,
        action: Action,
        record: str,
        args: Mapping[str, Any],
        *,
        ends: bool,
        again: bool,
    ) -> tuple[Outcome, Ending | None]:
        digest = value_hash(args)
        intent = WriteIntent(
            connection=delivery.connection, record=record, fields=_fields(action, args), value_hash=digest
        )
        begun = self._ledger.step(
            claim,
            delivery.step,
            kind="write",
            action_class=action.idempotency,
            timeout=action.timeout,
            input_hash=digest,
            write=intent,
        )
        async with begun as step:
            if step.found == "done":
                return step.result, None
            last = step.last
            if last is not None and last.value_hash == digest and step.found == "fresh" and not again:
                outcome: Outcome = {"outcome": "unchanged", "why": f"{delivery.step}: the record has this already"}
                return outcome, await self._end(step, outcome, args, last.version, ends=ends)
            written = await through(
                self._gates, delivery.connection, self._write(step, claim, delivery, action, record, args)
            )
            self._fail("write:after-send")
            outcome = {
                "outcome": "delivered",
                "remote_id": written.remote_id,
                "url": written.url,
                "already": written.already,
            }
            return outcome, await self._end(step, outcome, args, written.remote_id or written.version, ends=ends)

    async def _end(
        self, step: Step, outcome: Outcome, args: Mapping[str, Any], version: str | None, *, ends: bool
    ) -> Ending | None:
        """
        End a step; one that *ends* its run does so in the run's own transaction.
        """
        if ends:
            return step.ending(outcome, receipt=args, version=version)
        await step.done(outcome, receipt=args, version=version)
        return None

    async def _write(
        self,
        step: Step,
        claim: Claim,
        delivery: DeliveryPlan,
        action: Action,
        record: str,
        args: Mapping[str, Any],
    ) -> Written:
        call = self._call(step, claim, delivery, action, record)
        if step.found == "unknown":
            found = await self._look(step, delivery, action, record, call)
            if found is not None:
                return found
        if delivery.show_progress and not claim.new and step.found == "fresh" and action.find is not None:
            found = await action.find(record, delivery.mode, call)  # finds the placeholder of an earlier try as well
            if found is not None:
                return found
        if action.idempotency != "keyed":
            with ours():
                await step.fence()
        self._fail("write:before-send")
        return await action.write(record, args, delivery.mode, call)

    async def _look(
        self, step: Step, delivery: DeliveryPlan, action: Action, record: str, call: Call
    ) -> Written | None:
        """
        Find out what an earlier try left behind; None when it is safe to write.
        """
        remembered = action.key_lifetime is None or self._age(step, action) < action.key_lifetime / 2
        if action.idempotency == "keyed" and remembered:
            return None
        if action.find is not None:
            await self._clock.sleep(max(0.0, (step.quiet_at - self._clock.now_ms()) / 1000))
            return await action.find(record, delivery.mode, call)
        if delivery.on_unknown == "park":
            raise Parked(f"{delivery.step}: a write was begun and nobody can tell whether it took effect")
        return None

    def _age(self, step: Step, action: Action) -> float:
        """
        Return seconds since the earlier request was begun.
        """
        return (self._clock.now_ms() - step.quiet_at) / 1000 + action.timeout

    def _call(self, step: Step, claim: Claim, delivery: DeliveryPlan, action: Action, record: str) -> Call:
        def fence() -> None:
            with ours():
                step.local_fence()

        slot = f"{claim.tenant}\x00{self._plan.identity}\x00{delivery.step}\x00{record}"
        return open_call(
            self._connectors[delivery.connection],
            self._http,
            key=step.key,
            slot=hashlib.sha256(slot.encode()).hexdigest()[:32],
            timeout=action.timeout,
            fence=fence,
            clock=self._clock,
        )


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


def _fields(action: Action, args: Mapping[str, Any]) -> dict[str, str]:
    """
    Return which fields the echo will report as changed, with the hash of the value written.
    """
    written = {name: value_hash(value) for name, value in args.get("fields", {}).items()}
    return written | {name: value_hash(args.get("text")) for name in action.touches if name not in written}
