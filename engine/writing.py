"""
One write: a step of the ledger, looked for before it is repeated.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from typing import Any

from connectors import open_call
from connectors.contract import Action, Call, Connector, Written
from engine.echoes import value_hash
from engine.gates import Gates
from engine.lookups import through
from engine.patience import ours
from ledger.contract import Claim, Ending, Ledger, Step, WriteIntent
from penstock.clock import Clock
from penstock.errors import Rejected, UnknownOutcome
from penstock.http import Http
from pipelines.deliveries import DeliveryPlan
from pipelines.plan import Plan
from schemas.entries import AsideReason

Outcome = dict[str, Any]
"""`{"outcome": "delivered" | "unchanged" | "skipped" | "superseded" | "discarded", "why"?, "remote_id"?, "url"?, "already"?}`."""


class NotWritten(Rejected):
    """
    Nothing was written, and nothing is to be.
    """


class Parked(UnknownOutcome):
    """
    Nobody can tell whether a blind write took effect; a person decides.
    """

    aside: AsideReason = "parked"


class Writing:
    """
    Writes for one pipeline.
    """

    def __init__(
        self,
        plan: Plan,
        *,
        connectors: Mapping[str, Connector],
        ledger: Ledger,
        http: Http,
        clock: Clock,
        gates: Gates,
        fail: Callable[[str], None],
    ) -> None:
        self._plan = plan
        self._connectors = connectors
        self._ledger = ledger
        self._http = http
        self._clock = clock
        self._gates = gates
        self._fail = fail

    async def step(
        self,
        claim: Claim,
        delivery: DeliveryPlan,
        action: Action,
        record: str,
        args: Mapping[str, Any],
        *,
        ends: bool,
        again: bool,
        only_look: bool,
    ) -> tuple[Outcome, Ending | None]:
        """
        Carry a delivery out, or find out that it was; *ends* its run, *again* because somebody wants it whatever
        stands there, *only_look* when it is not wanted any more. Raises `Parked`, and `NotWritten` after only a look.
        """
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
            writing = self.write(step, claim, delivery, action, record, args, only_look)
            keyed = action.idempotency == "keyed"
            written = await through(self._gates, delivery.connection, writing, keyed=keyed)
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

    async def write(
        self,
        step: Step,
        claim: Claim,
        delivery: DeliveryPlan,
        action: Action,
        record: str,
        args: Mapping[str, Any],
        only_look: bool = False,
    ) -> Written:
        """
        Write, unless an earlier try did: then return what it left behind.
        """
        call = self.call(step, claim, delivery, action, record)
        if step.found == "unknown":
            found = await self._look(step, delivery, action, record, call)
            if found is not None:
                return found
        if only_look:
            raise NotWritten("what an earlier try began did not take effect, and it is not wanted any more")
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

    def call(self, step: Step, claim: Claim, delivery: DeliveryPlan, action: Action, record: str) -> Call:
        """
        Return the permission to write once, for *step*.
        """

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


def _fields(action: Action, args: Mapping[str, Any]) -> dict[str, str]:
    """
    Return which fields the echo will report as changed, with the hash of the value written.
    """
    written = {name: value_hash(value) for name, value in args.get("fields", {}).items()}
    return written | {name: value_hash(args.get("text")) for name in action.touches if name not in written}
