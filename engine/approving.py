"""
Approvals: a draft is put before people, its run stands aside, and what they said is carried out.

The draft is written down before anybody sees it. What was put before people is what is written, or what they made of
it: nothing is rendered again, whatever became of the record, the answer or the templates meanwhile.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from connectors import open_call
from connectors.contract import Action, Approval, Call, Connector, Decision, Written
from engine.echoes import value_hash
from engine.gates import Gates
from engine.lookups import through
from engine.patience import ours
from ledger.contract import Claim, Ledger, Step, WriteIntent
from ledger.drafting import Draft
from ledger.steps import key as step_key
from penstock.clock import Clock, utc
from penstock.errors import PenstockError
from penstock.http import Http
from pipelines.deliveries import DeliveryPlan
from schemas.entries import AsideReason

log = logging.getLogger(__name__)

EXPIRES = 72 * 3600.0  # seconds a person has, unless `expires` says otherwise
UNSEEN = 24 * 3600.0  # seconds it may take until a draft is shown; its time begins then
CLOSE = 10.0  # seconds to let a draft say what became of it
ASKED = "asked"
"""The outcome of a step that put a draft before people: not the end of its delivery."""

APPROVED = "/approved"
"""What follows the name of a delivery in that of the step that sends its approved draft."""

Made = Callable[[Step, Claim, DeliveryPlan, Action, str], Call]
Write = Callable[[Step, Claim, DeliveryPlan, Action, str, Mapping[str, Any]], Awaitable[Written]]


class Undecided(PenstockError):
    """
    A draft waits for a person.
    """

    aside: AsideReason = "approval"


class Approving:
    """
    Carries deliveries out that a person has to approve.
    """

    def __init__(
        self,
        *,
        connectors: Mapping[str, Connector],
        ledger: Ledger,
        http: Http,
        clock: Clock,
        gates: Gates,
        fail: Callable[[str], None],
        call: Made,
        write: Write,
    ) -> None:
        self._connectors = connectors
        self._ledger = ledger
        self._http = http
        self._clock = clock
        self._gates = gates
        self._fail = fail
        self._call = call
        self._write = write

    async def known(self, claim: Claim, delivery: DeliveryPlan) -> Draft | None:
        """
        Return the draft that an earlier try put before people, or was about to.
        """
        if claim.new:
            return None
        return await self._ledger.draft(step_key(claim, delivery.step))

    async def put(
        self, claim: Claim, delivery: DeliveryPlan, action: Action, record: str, args: Mapping[str, Any]
    ) -> dict[str, Any]:
        """
        Put *args* before people; raises `Undecided`, as nobody was that quick.
        """
        key = step_key(claim, delivery.step)
        # Nobody can see it before it is shown, and it cannot be shown while its system is away.
        expires_at = self._clock.now_ms() + int((_lasts(delivery) + UNSEEN) * 1000)
        with ours():
            await self._ledger.put_draft(claim, delivery.step, key, record=record, args=args, expires_at=expires_at)
        self._fail("draft:kept")
        draft = await self._ledger.draft(key)
        assert draft is not None
        return await self.go_on(claim, delivery, action, draft)

    async def go_on(self, claim: Claim, delivery: DeliveryPlan, action: Action, draft: Draft) -> dict[str, Any]:
        """
        Return how the delivery of *draft* ended; raises `Undecided` while it waits.
        """
        assert action.approval is not None
        if draft.choice != "expired":  # what is over is not shown any more
            await self._show(claim, delivery, action, draft)
        draft = await self._ledger.draft(draft.key) or draft
        if draft.choice is None:
            until = utc(draft.expires_at).isoformat(timespec="minutes")
            raise Undecided(f"{delivery.step}: a draft waits for approval until {until}")
        decision = _decision(draft)
        if draft.choice == "approve":
            assert decision is not None
            outcome = await self._publish(claim, delivery, action, draft, decision)
        else:
            outcome = {"outcome": "discarded", "why": f"{delivery.step}: {_why(draft)}"}
        await self._close(delivery, action.approval, draft, decision)
        return outcome

    async def _show(self, claim: Claim, delivery: DeliveryPlan, action: Action, draft: Draft) -> None:
        digest = value_hash(dict(draft.args))
        intent = WriteIntent(connection=delivery.connection, record=draft.record, fields={}, value_hash=digest)
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
                return
            writing = self._write(step, claim, delivery, action, draft.record, draft.args)
            keyed = action.idempotency == "keyed"
            written = await through(self._gates, delivery.connection, writing, keyed=keyed)
            self._fail("write:after-send")
            outcome = {"outcome": ASKED, "remote_id": written.remote_id, "url": written.url}
            await step.done(outcome, receipt=dict(draft.args), version=written.version)
        with ours():
            await self._ledger.shown_draft(draft.key, self._clock.now_ms() + int(_lasts(delivery) * 1000))

    async def _publish(
        self, claim: Claim, delivery: DeliveryPlan, action: Action, draft: Draft, decision: Decision
    ) -> dict[str, Any]:
        approval = action.approval
        assert approval is not None
        args = dict(draft.args) | ({"text": draft.text} if draft.text is not None else {})
        digest = value_hash(args)
        fields = {name: value_hash(args.get("text")) for name in action.touches}
        intent = WriteIntent(connection=delivery.connection, record=draft.record, fields=fields, value_hash=digest)
        begun = self._ledger.step(
            claim,
            f"{delivery.step}{APPROVED}",
            kind="write",
            action_class="keyed" if approval.find is None else "read-back",
            timeout=action.timeout,
            input_hash=digest,
            write=intent,
        )
        async with begun as step:
            if step.found == "done":
                return dict(step.result)
            sending = self._send(step, claim, delivery, action, draft, args, decision)
            written = await through(self._gates, delivery.connection, sending, keyed=approval.find is None)
            self._fail("write:after-send")
            outcome = {
                "outcome": "delivered",
                "why": f"{delivery.step}: {_why(draft)}",
                "remote_id": written.remote_id,
                "url": written.url,
                "already": written.already,
            }
            await step.done(outcome, receipt=args, version=written.remote_id or written.version)
            return outcome

    async def _send(
        self,
        step: Step,
        claim: Claim,
        delivery: DeliveryPlan,
        action: Action,
        draft: Draft,
        args: Mapping[str, Any],
        decision: Decision,
    ) -> Written:
        approval = action.approval
        assert approval is not None
        call = self._call(step, claim, delivery, action, draft.record)
        if step.found == "unknown" and approval.find is not None:
            await self._clock.sleep(max(0.0, (step.quiet_at - self._clock.now_ms()) / 1000))
            found = await approval.find(draft.record, call)
            if found is not None:
                return found
        if approval.find is not None:
            with ours():
                await step.fence()
        self._fail("write:before-send")
        return await approval.publish(draft.record, args, decision, call)

    async def _close(self, delivery: DeliveryPlan, approval: Approval, draft: Draft, decision: Decision | None) -> None:
        """
        Let the draft say what became of it; when that fails, only a label is missing.
        """
        connector = self._connectors[delivery.connection]
        call = open_call(connector, self._http, key=draft.key, slot="", timeout=CLOSE, clock=self._clock)
        try:
            await approval.close(draft.record, decision, call)
        except (PenstockError, TimeoutError, OSError) as error:
            log.warning("the draft of %s could not say what became of it: %s", delivery.step, error)


def _lasts(delivery: DeliveryPlan) -> float:
    return delivery.expires or EXPIRES


def _decision(draft: Draft) -> Decision | None:
    if draft.choice not in ("approve", "discard"):
        return None
    return Decision(key=draft.key, choice=draft.choice, text=draft.text, by=draft.person or "")


def _why(draft: Draft) -> str:
    if draft.choice == "expired":
        return "nobody approved it in time"
    changed = " with changes" if draft.text is not None else ""
    return f"{'approved' if draft.choice == 'approve' else 'discarded'} by {draft.person}{changed}"
