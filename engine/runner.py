"""
One event through one pipeline: judged, given a context, asked about once, written back.

`judge` costs nothing and needs nothing but the event. `handle` works under a claim and ends in
exactly one transition of the ledger: final, waiting or aside.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from ai import AI, AIError
from bus.contract import Message
from connectors.contract import Connector
from engine.delivering import Delivering, Parked
from engine.echoes import EchoPending, echo_of
from engine.gates import AtGate, Gates
from engine.lookups import Lookups
from engine.patience import LedgerDown, firmly
from ledger.contract import Claim, Ledger, NewRun
from penstock.clock import Clock
from penstock.errors import (
    AuthFailed,
    Conflict,
    EdgeError,
    Fenced,
    OverBudget,
    PenstockError,
    Refused,
    Unavailable,
    UnknownOutcome,
)
from penstock.http import Http
from pipelines.plan import Plan
from schemas.entries import Answer, Prompt, Receipt, Verdict
from schemas.events import Event

log = logging.getLogger(__name__)

HELD_AGAIN = 2_000  # ms until a run looks again for money that others have reserved
LEDGER_AGAIN = 2_000  # ms until a run goes on that our own ledger stopped


class Runner:
    """
    Runs one pipeline's events.
    """

    def __init__(
        self,
        plan: Plan,
        *,
        connectors: Mapping[str, Connector],
        ai: AI,
        ledger: Ledger,
        http: Http,
        clock: Clock,
        gates: Gates,
        fail: Callable[[str], None] = lambda _name: None,
    ) -> None:
        self.plan = plan
        self._connectors = connectors
        self._ai = ai
        self._ledger = ledger
        self._clock = clock
        self._gates = gates
        self._fail = fail
        self._lookups = Lookups(connectors, http=http, clock=clock, gates=gates)
        self._delivering = Delivering(
            plan,
            connectors=connectors,
            lookups=self._lookups,
            ledger=ledger,
            http=http,
            clock=clock,
            gates=gates,
            fail=fail,
        )

    # ---- before anything may cost -----------------------------------------------------------

    def offer(self, event: Event, message: Message | None = None) -> NewRun:
        """
        Return *event* as the run it would be; *message* is where the bus had it.
        """
        try:
            tenant = self.plan.tenant(event)
        except PenstockError:
            tenant = ""  # `judge` gives such an event its verdict
        return NewRun(
            tenant=tenant,
            pipeline=self.plan.name,
            lane=event.key,
            source=event.source,
            event_id=event.id,
            subject=event.subject,
            config_hash=self.plan.config_hash,
            **_place(message, event.to_json()),
        )

    def unreadable(self, message: Message) -> NewRun:
        """
        Return a message that is no event as a run, named after its place on the bus.
        """
        place = f"bus:{message.topic}/{message.partition}/{message.offset}"
        return NewRun(
            pipeline=self.plan.name,
            lane=f"event:{place}",
            source="penstock:bus",
            event_id=place,
            subject=place,
            config_hash=self.plan.config_hash,
            **_place(message, message.value),
        )

    def judge(self, event: Event) -> tuple[Verdict, str] | None:
        """
        Return the verdict and reason of an event this pipeline does not want; None when it does.
        """
        try:
            return self._unwanted(event)
        except PenstockError as error:
            return "dead", f"event {event.id}: {error}"
        except Exception as error:  # one event that breaks us must not stop the others
            log.exception("event %s failed unforeseen", event.id)
            return "dead", f"event {event.id}: unforeseen {type(error).__name__}: {error}"

    def _unwanted(self, event: Event) -> tuple[Verdict, str] | None:
        if own := self._own(event):
            return "own-write", own
        if event.type not in self.plan.events:
            return "filtered", f"{event.type} is not one of trigger.events"
        self.plan.tenant(event)
        return self.plan.unwanted(event)

    def _own(self, event: Event) -> str | None:
        return event.ownwrite or self._connectors[self.plan.connection].own(event)

    # ---- under a claim ----------------------------------------------------------------------

    async def handle(self, claim: Claim, event: Event, body: bytes, *, probing: str | None = None) -> None:
        """
        Take the run to its next state. Raises `Fenced` when the lane was lost; nothing else.
        """
        try:
            verdict, why = await self._attempt(claim, event, probing)
            end: _End = (self._ledger.finish, (claim, verdict), {"why": why, "body": body})
        except Fenced:
            raise
        except Exception as error:  # noqa: BLE001 - the outermost loop of a run: every error becomes a state
            end = await self._state_after(error, claim, body)
        transition, args, keywords = end
        await firmly(self._clock, lambda: transition(*args, **keywords))

    async def _attempt(self, claim: Claim, event: Event, probing: str | None) -> tuple[Verdict, str | None]:
        answer = await self._ai.recall(claim, output=self.plan.output, ask_hash=self.plan.ask_hash)
        if answer is None:  # else it was judged before it was asked about; our write since then is no reason
            own = self._own(event)  # once more: by now we may know who we are
            echo = own or await echo_of(event, self.plan.connection, ledger=self._ledger, clock=self._clock)
            if echo is not None:
                return "own-write", echo
            answer = await self._answer(claim, event, probing)
        self._fail("run:answered")
        return await self._delivering.all(claim, event, answer, probing=probing)

    async def _answer(self, claim: Claim, event: Event, probing: str | None) -> Answer:
        plan = self.plan
        gate = f"model:{plan.model}"
        self._gates.check(gate, probing=probing)
        prompt, receipt, evidence = await self._assemble(event, claim.run, probing)
        try:
            answer = await self._ai.ask(
                claim,
                prompt,
                model=plan.model,
                output=plan.output,
                max_output=plan.max_output,
                timeout=plan.timeout,
                caps=plan.caps(self._clock.now_ms()),
                per_event=plan.per_event,
                ask_hash=plan.ask_hash,
                evidence=evidence,
                receipt={
                    "receipt": receipt.model_dump(mode="json"),
                    "prompt": {"system": prompt.system, "user": prompt.user},
                },
            )
        except AIError as error:
            if error.advice == "gate":
                await self._gates.shut(
                    gate, str(error), retry_after=error.retry_after, auth=error.error_class in ("auth", "quota")
                )
                raise AtGate(gate, str(error)) from error
            if error.billed == "yes":
                await self._gates.worked(gate)  # a useless answer is an answer
            raise
        await self._gates.worked(gate)
        return answer

    async def _assemble(self, event: Event, run: str, probing: str | None) -> tuple[Prompt, Receipt, str]:
        fetch = self._lookups.fetcher(run, probing=probing)
        return await self.plan.prompt_for(
            event, fetch=fetch, many=self._lookups.many, secret=self._ledger.secret, run=run
        )

    async def prompt(self, event: Event, run: str) -> tuple[Prompt, Receipt]:
        """
        Return exactly what would be sent to the model for *event*: nothing is asked or written.
        """
        prompt, receipt, _ = await self._assemble(event, run, None)
        return prompt, receipt

    # ---- what an error means ----------------------------------------------------------------

    async def _state_after(self, error: Exception, claim: Claim, body: bytes) -> _End:
        """
        Return the transition that *error* asks for.
        """
        ledger = self._ledger
        why = str(error).encode(errors="replace").decode()  # half a character could not be kept
        if waiting := await self._wait_after(error, claim, body, why):
            return waiting
        match error:
            case OverBudget():
                return ledger.finish, (claim, "over-budget"), {"why": why, "body": body}
            case Refused():
                return ledger.finish, (claim, "refused"), {"why": why, "body": body}
            case AIError() if error.advice == "refused":
                return ledger.finish, (claim, "refused"), {"why": why, "body": body}
            case Parked():
                return ledger.aside, (claim, "parked", body), {"why": why}
            case AIError(advice="retry") | Conflict() | AuthFailed():
                return self._again(claim, body, why)
            case UnknownOutcome():
                return self._again(claim, body, why, last=(ledger.aside, (claim, "parked", body), {"why": why}))
            case AIError() | EdgeError() | PenstockError():
                return ledger.finish, (claim, "dead"), {"why": why, "body": body}
            case _:
                log.error("run %s failed unforeseen", claim.run, exc_info=error, extra={"penstock.run": claim.run})
                return self._again(claim, body, f"unforeseen {type(error).__name__}: {why}")

    async def _wait_after(self, error: Exception, claim: Claim, body: bytes, why: str) -> _End | None:
        """
        Return how a run waits for what is not its event's fault; None when it is.
        """
        wait, now = self._ledger.wait, self._clock.now_ms()
        match error:
            case AtGate():
                return wait, (claim, "outage", body), {"why": why, "gate": error.gate}
            case EchoPending():
                return wait, (claim, "behind", body), {"why": why, "due_at": error.due_at}
            case LedgerDown() | Unavailable():  # of our ledger: what systems and models do is `AtGate`
                return wait, (claim, "retry", body), {"why": why, "due_at": now + LEDGER_AGAIN}
            case OverBudget() if await self._only_reserved(error, claim):
                return wait, (claim, "hold", body), {"why": why, "due_at": now + HELD_AGAIN}
        return None

    async def _only_reserved(self, error: OverBudget, claim: Claim) -> bool:
        """
        Return whether calls under way hold the money: what they do not need comes back.

        A run that has paid already does not wait for it: it would pay the same again.
        """
        scope, _, period = error.scope.rpartition("/")
        if error.forever or not scope:
            return False
        _, reserved = await firmly(self._clock, lambda: self._ledger.spent(scope, period))
        detail = await firmly(self._clock, lambda: self._ledger.detail(claim.run))
        return reserved > 0 and detail is not None and detail.run.cost == 0

    def _again(self, claim: Claim, body: bytes, why: str, *, last: _End | None = None) -> _End:
        """
        Wait for the next attempt, or end as *last* (by default dead) when there is none left.
        """
        pause = self.plan.backoff.decide(claim.attempts + 1)
        if pause is None:
            tried = f"{why} (tried {claim.attempts + 1} times)"
            return last or (self._ledger.finish, (claim, "dead"), {"why": tried, "body": body})
        due = self._clock.now_ms() + int(pause * 1000)
        return self._ledger.wait, (claim, "retry", body), {"why": why, "due_at": due, "attempt": True}


def _place(message: Message | None, body: bytes) -> dict[str, Any]:
    found: dict[str, Any] = {"body_hash": hashlib.sha256(body).hexdigest()[:32]}
    if message is None:
        return found | {"topic": "", "partition": 0, "offset": 0, "bus_time": 0}
    return found | {
        "topic": message.topic,
        "partition": message.partition,
        "offset": message.offset,
        "bus_time": message.timestamp_ms,
    }


_End = tuple[Callable[..., Awaitable[None]], tuple[Any, ...], dict[str, Any]]
