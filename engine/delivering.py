"""
The writes of a run: each a step of the ledger, safe to meet again after a crash.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from typing import Any

from connectors import open_call
from connectors.contract import Action, Call, Connector, Written
from engine.echoes import value_hash
from engine.gates import Gates
from engine.lookups import Lookups, through
from engine.patience import ours
from ledger.contract import Claim, Ledger, Step, WriteIntent
from penstock.clock import Clock
from penstock.errors import UnknownOutcome
from penstock.http import Http
from pipelines.plan import DeliveryPlan, Plan
from schemas.entries import Answer, Verdict
from schemas.events import Event

Outcome = dict[str, Any]
"""`{"outcome": "delivered" | "unchanged" | "skipped", "why"?, "remote_id"?, "url"?, "already"?}`."""


class Parked(UnknownOutcome):
    """
    Nobody can tell whether a blind write took effect; a person decides.
    """


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
        fail: Callable[[str], None],
    ) -> None:
        self._plan = plan
        self._connectors = connectors
        self._lookups = lookups
        self._ledger = ledger
        self._http = http
        self._clock = clock
        self._gates = gates
        self._fail = fail

    async def all(
        self, claim: Claim, event: Event, answer: Answer, *, probing: str | None
    ) -> tuple[Verdict, str | None]:
        """
        Carry every delivery out in written order; return the run's verdict and why.
        """
        done = await self._done(claim)
        outcomes = [
            done[delivery.step] if delivery.step in done else await self._one(claim, delivery, event, answer, probing)
            for delivery in self._plan.deliveries
        ]
        for verdict in ("delivered", "unchanged"):
            if any(outcome["outcome"] == verdict for outcome in outcomes):
                return verdict, None
        return "skipped", "; ".join(outcome.get("why", "") for outcome in outcomes) or None

    async def _done(self, claim: Claim) -> dict[str, Outcome]:
        """
        Return what deliveries of an earlier try ended with: the record may say otherwise by now.
        """
        kept = await self._ledger.answer(claim.run, "ask", claim.generation)
        if kept is None or not kept[1]:
            return {}
        detail = await self._ledger.detail(claim.run)
        steps = detail.steps if detail is not None else ()
        mine = [step for step in steps if step.kind == "write" and step.generation == claim.generation]
        return {step.step: step.result for step in mine if step.state == "done"}

    async def _one(
        self, claim: Claim, delivery: DeliveryPlan, event: Event, answer: Answer, probing: str | None
    ) -> Outcome:
        scope = self._plan.scope(event, answer)
        record = delivery.record_of(scope)
        if not delivery.wanted(scope):
            return {"outcome": "skipped", "why": f"{delivery.step}: `when` was not true"}
        connector = self._connectors[delivery.connection]
        action = connector.actions[delivery.action]
        if delivery.needs_record and action.reads:
            target = f"{delivery.connection}.{action.reads}"
            found = await self._lookups.read(target, record, 1, run=claim.run, probing=probing, fresh=True)
            scope["record"] = found[0]
        if delivery.unwanted(scope):
            return {"outcome": "skipped", "why": f"{delivery.step}: `unless` was true for the record as it is now"}
        args = delivery.render(scope)
        if args is None:
            return {"outcome": "skipped", "why": f"{delivery.step}: no field was left to set"}
        self._gates.check(f"connection:{delivery.connection}", probing=probing)
        return await self._step(claim, delivery, action, record, args)

    async def _step(
        self, claim: Claim, delivery: DeliveryPlan, action: Action, record: str, args: Mapping[str, Any]
    ) -> Outcome:
        digest = value_hash(args)
        intent = WriteIntent(
            connection=delivery.connection, record=record, fields=_fields(action, args), value_hash=digest
        )
        last = await self._ledger.last_write(claim.pipeline, delivery.connection, record, delivery.step)
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
                result: Outcome = step.result
                return result
            if last is not None and last.value_hash == digest and step.found == "fresh":
                outcome: Outcome = {"outcome": "unchanged", "why": f"{delivery.step}: the record has this already"}
                await step.done(outcome, receipt=args, version=last.version)
                return outcome
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
            await step.done(outcome, receipt=args, version=written.remote_id or written.version)
            return outcome

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

        slot = f"{claim.tenant}\x00{claim.pipeline}\x00{delivery.step}\x00{record}"
        return open_call(
            self._connectors[delivery.connection],
            self._http,
            key=step.key,
            slot=hashlib.sha256(slot.encode()).hexdigest()[:32],
            timeout=action.timeout,
            fence=fence,
            clock=self._clock,
        )


def _fields(action: Action, args: Mapping[str, Any]) -> dict[str, str]:
    """
    Return which fields the echo will report as changed, with the hash of the value written.
    """
    written = {name: value_hash(value) for name, value in args.get("fields", {}).items()}
    return written | {name: value_hash(args.get("text")) for name in action.touches if name not in written}
