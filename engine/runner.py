"""
One event through one pipeline: judged, given a context, asked about once, written back.

`judge` costs nothing and needs nothing but the event. `handle` works under a claim and ends in
exactly one transition of the ledger: final, waiting or aside.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from ai import AI, AIError, Awaited, Batched, Ladder, Paced, Pacer
from bus.contract import Message
from connectors.contract import Connector
from engine import offering
from engine.approving import Undecided
from engine.asking import Asked, Asking
from engine.delivering import Delivering, Parked
from engine.echoes import EchoPending
from engine.gates import AtGate, Gates
from engine.holds import Holds, Queued
from engine.judging import Judging
from engine.lookups import Lookups
from engine.patience import LedgerDown, firmly
from engine.progressing import Progressing
from engine.rates import TooMany, count
from engine.shadowing import Shadowing
from engine.stations import ASK, CONTEXT, TRIGGER, station, station_of
from engine.watch import Watch
from ledger.batching import Item
from ledger.bursts import Burst
from ledger.contract import Cap, Claim, Ledger, NewRun
from ledger.limits import Allowed, CapReached
from ledger.returning import Failure, Newer
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
from penstock.metrics import Instruments
from penstock.tracing import Span
from penstock.units import span as spelled
from pipelines.plan import Plan
from schemas.entries import Answer, Prompt, Receipt, Verdict
from schemas.events import Event

log = logging.getLogger(__name__)

OURS_AGAIN = 2_000  # ms until a run goes on that our own ledger or our own limit stopped


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
        holds: Holds | None = None,
        watch: Watch | None = None,
        fail: Callable[[str], None] = lambda _name: None,
    ) -> None:
        self.plan = plan
        self._judging = Judging(plan, connectors=connectors, ledger=ledger, clock=clock)
        self._ai = ai
        self._ledger = ledger
        self._clock = clock
        self._gates = gates
        self._holds = holds or Holds(ledger, clock)
        self._watch = watch or Watch(Instruments(), clock)
        self._asking = Asking(plan, ai=ai, gates=gates, clock=clock)
        self._shadowing = Shadowing(plan, ai=ai, ledger=ledger, gates=gates)
        self._fail = fail
        self._lookups = Lookups(connectors, http=http, clock=clock, gates=gates)
        self._progressing = Progressing(plan, connectors=connectors, http=http, clock=clock)
        self._delivering = Delivering(
            plan,
            connectors=connectors,
            lookups=self._lookups,
            ledger=ledger,
            http=http,
            clock=clock,
            gates=gates,
            watch=self._watch,
            progressing=self._progressing,
            fail=fail,
        )

    # ---- before anything may cost -----------------------------------------------------------

    def offer(self, event: Event, message: Message | None = None) -> NewRun:
        """
        Return *event* as the run it would be; *message* is where the bus had it.
        """
        return offering.offer(self.plan, event, message)

    def unreadable(self, message: Message) -> NewRun:
        """
        Return a message that is no event as a run, named after its place on the bus.
        """
        return offering.unreadable(self.plan, message)

    def judge(self, event: Event) -> tuple[Verdict, str] | None:
        """
        Return the verdict and reason of an event this pipeline does not want; None when it does.
        """
        return self._judging.on_arrival(event)

    async def echo(self, event: Event) -> str | None:
        """
        Return why *event* is our own doing; None when it is not. Raises `EchoPending`.
        """
        return await self._judging.echo(event)

    # ---- under a claim ----------------------------------------------------------------------

    def opened(self, gate: str) -> None:
        """
        Take note that the ledger let a run pass *gate*.
        """
        self._gates.opened(gate)

    def pacer(self) -> Pacer | None:
        """
        Return the pacer of the model that is asked first; None when it has no pace, or is asked in batches.
        """
        return None if self.plan.batch is not None else self._ai.paces.of(self.plan.ladder.models[0])

    async def handle(
        self,
        claim: Claim,
        event: Event,
        body: bytes,
        *,
        probing: str | None = None,
        leaving: Callable[[], None] | None = None,
    ) -> bool:
        """
        Take the run to its next state; return whether nothing waits in the ledger because of it.

        *leaving* is called when nobody but the ledger is needed any more. Raises `Fenced` when the lane was
        lost; nothing else.
        """
        with self._watch.run(claim, event) as span:
            try:
                end = await self._attempt(claim, event, body, probing)
            except Fenced:
                raise
            except Exception as error:  # noqa: BLE001 - the outermost loop of a run: every error becomes a state
                end = await self._state_after(error, claim, body)
            if leaving is not None:
                leaving()
            last = await self._take(claim, end, span)
            if end[0] == self._ledger.finish:
                await self._progressing.clear(claim, event)
            return last

    async def _take(self, claim: Claim, end: _End, span: Span | None = None) -> bool:
        transition, args, keywords = end
        last = await firmly(self._clock, lambda: transition(*args, **keywords))
        if transition == self._ledger.finish:
            self._watch.ended(claim, args[1], span)
            return bool(last)
        self._watch.put_off(claim, args[1] if isinstance(args[1], str) else "hold", span)
        return False

    async def _attempt(self, claim: Claim, event: Event, body: bytes, probing: str | None) -> _End:
        newer = await self._ledger.newer(claim) if claim.overtakable else None
        answer, asked = await self._recalled(claim), None
        if answer is None:
            item = await self._asking.batched(claim)
            if (end := await self._ended_before_asking(claim, event, body, newer, item)) is not None:
                return end
            answer, asked = await self._answer(claim, event, probing, item)
        else:
            self._watch.recalled(self.plan.name)
        self._fail("run:answered")
        compared = self._shadowing.wants(claim, answer, asked)
        delivered = await self._delivering.all(
            claim, event, answer, probing=probing, newer=newer, goes_on=compared is not None
        )
        self._progressing.wrote(claim, delivered.wrote)
        if compared is not None:
            await self._shadowing.compare(claim, answer, compared)
        told = {"why": delivered.why, "body": body, "ending": delivered.ending}
        end = self._ledger.finish, (claim, delivered.verdict), told
        if newer is not None and delivered.verdict == "superseded":
            end[2]["superseded_by"] = newer.run
        return end

    async def _ended_before_asking(
        self, claim: Claim, event: Event, body: bytes, newer: Newer | None, item: Item | None
    ) -> _End | None:
        """
        Return how a run ends that need not be asked about; once it was, it is judged no more.
        """
        finish = self._ledger.finish
        if newer is not None:
            why = f"run {newer.run[:8]} of the same lane is newer, and was delivered before this one came back"
            return finish, (claim, "superseded"), {"why": why, "body": body, "superseded_by": newer.run}
        if item is not None and item.state == "answered":
            return None
        if (judged := await self._judging.before_asking(claim, event)) is None:
            return None
        verdict, why = judged
        failed = self._failure(TRIGGER) if verdict == "dead" else None
        return finish, (claim, verdict), {"why": why, "body": body, "failed": failed}

    def _failure(self, step: str | None) -> Failure:
        return Failure(step=step, config_hash=self.plan.config_hash)

    async def _recalled(self, claim: Claim) -> Answer | None:
        """
        Return the answer of an earlier try; of a new run there can be none.
        """
        if claim.new:
            return None
        return await self._ai.recall(claim, output=self.plan.output, ask_hash=self.plan.ask_hash)

    async def _answer(
        self, claim: Claim, event: Event, probing: str | None, item: Item | None
    ) -> tuple[Answer, Asked | None]:
        plan = self.plan
        whose = plan.whose(event, claim.lane)

        def caps() -> list[Cap]:
            return plan.spending.caps(self._clock.now_ms(), whose)

        ladders = await self._ladders(claim, plan.spending.rates(whose))

        def may_ask() -> None:
            self._holds.check(claim, caps)
            self._asking.check(ladders[0], probing=probing)

        if (kept := self._asking.kept(claim, item, caps)) is not None:
            with station(ASK), self._watch.step(plan.name, ASK):
                return await self._asking.answer(claim, kept, ladders, probing=probing), kept
        if plan.cache is None:
            may_ask()  # before a context is made in vain
            await self._progressing.show(claim, event)
        with station(CONTEXT), self._watch.step(plan.name, CONTEXT):
            prompt, receipt, evidence = await self._assemble(event, claim.run, probing, claim.burst)
        patient = self._asking.patient(claim, event.time, self._clock.now_ms())
        question = None if plan.cache is None else plan.cache.question(prompt, claim.tenant)
        asked = Asked(
            prompt=prompt,
            receipt=receipt,
            evidence=evidence,
            caps=caps,
            patient=patient,
            by_itself=item is not None,
            question=question,
        )
        with station(ASK), self._watch.step(plan.name, ASK):
            if question is not None and (answer := await self._asking.cached(claim, asked, may_ask)) is not None:
                return answer, asked
            await self._progressing.show(claim, event)
            answer = await self._asking.answer(claim, asked, ladders, probing=probing)
        return answer, asked if ladders[0] is plan.ladder else None  # another route has no shadow

    async def _ladders(self, claim: Claim, rates: Sequence[Allowed]) -> Sequence[Ladder]:
        """
        Return who may be asked about a counted event: the other route only when it is over a rate.
        """
        wait = self.plan.pipeline.limits.at_limit == "hold"
        try:
            await count(claim, rates, ledger=self._ledger, clock=self._clock, wait=wait)
        except TooMany:
            if not self.plan.instead:
                raise
            return self.plan.instead
        return (self.plan.ladder, *self.plan.instead)

    async def _assemble(
        self, event: Event, run: str, probing: str | None, burst: Burst | None = None
    ) -> tuple[Prompt, Receipt, str]:
        fetch, secret = self._lookups.fetcher(run, probing=probing), self._ledger.secret
        return await self.plan.prompt_for(
            event, fetch=fetch, many=self._lookups.many, secret=secret, run=run, burst=burst
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
        if isinstance(error, AtGate | Paced):
            return self._given_up(claim, body, why)
        match error:
            case OverBudget():
                return ledger.finish, (claim, "over-budget"), {"why": why, "body": body}
            case Refused():
                return ledger.finish, (claim, "refused"), {"why": why, "body": body}
            case AIError() if error.advice == "refused":
                return ledger.finish, (claim, "refused"), {"why": why, "body": body}
            case Parked() | Undecided():
                return ledger.aside, (claim, error.aside, body), {"why": why}
            case AIError(advice="retry") | Conflict() | AuthFailed():
                return self._again(claim, body, why, at=station_of(error))
            case UnknownOutcome():
                return self._again(claim, body, why, last=(ledger.aside, (claim, "parked", body), {"why": why}))
            case AIError() | EdgeError() | PenstockError():
                return self._dead(claim, body, why, station_of(error))
            case _:
                log.error("run %s failed unforeseen", claim.run, exc_info=error, extra={"penstock.run": claim.run})
                return self._again(claim, body, f"unforeseen {type(error).__name__}: {why}", at=station_of(error))

    def _dead(self, claim: Claim, body: bytes, why: str, step: str | None) -> _End:
        return self._ledger.finish, (claim, "dead"), {"why": why, "body": body, "failed": self._failure(step)}

    async def _wait_after(self, error: Exception, claim: Claim, body: bytes, why: str) -> _End | None:
        """
        Return how a run waits for what is not its event's fault; None when it is.
        """
        wait, now = self._ledger.wait, self._clock.now_ms()
        match error:
            case AtGate():
                late = self._too_late(claim, now)
                return None if late else (wait, (claim, "outage", body), {"why": why, "gate": error.gate})
            case Paced():
                late = self._too_late(claim, now)
                return None if late else (wait, (claim, "pace", body), {"why": why, "due_at": error.due_at})
            case Batched():
                return wait, (claim, "batch", body), {"why": why, "due_at": error.due_at}
            case EchoPending() | Awaited():
                return wait, (claim, "behind", body), {"why": why, "due_at": error.due_at}
            case LedgerDown() | Unavailable():  # of our ledger or our own limit: what systems and models do is `AtGate`
                pause = getattr(error, "retry_after", None) or 0.0
                return wait, (claim, "retry", body), {"why": why, "due_at": now + max(int(pause * 1000), OURS_AGAIN)}
            case TooMany() if self.plan.pipeline.limits.at_limit == "hold":
                return wait, (claim, "hold", body), {"why": why, "due_at": error.due_at}
            case CapReached() | Queued() if await self._holds.waits(error, claim):
                return self._holds.wait, (error, claim, body), {"why": why}
        return None

    def _too_late(self, claim: Claim, at: int) -> bool:
        """
        Say whether a try at UTC ms *at* would be longer after the first than `give_up_after`.
        """
        return claim.began_at is not None and at - claim.began_at > self.plan.give_up_after * 1000

    def _given_up(self, claim: Claim, body: bytes, why: str, at: str | None = None) -> _End:
        told = f"{why} (given up {spelled(self.plan.give_up_after)} after the first try)"
        return self._dead(claim, body, told, at)

    async def give_up(self, claim: Claim, body: bytes, gate: str) -> None:
        """
        End a run that waited at a gate longer than `give_up_after`. Raises `Fenced`.
        """
        await self._take(claim, self._given_up(claim, body, f"{gate} is still shut"))

    def _again(self, claim: Claim, body: bytes, why: str, *, last: _End | None = None, at: str | None = None) -> _End:
        """
        Wait for the next attempt, or end as *last* (by default dead) when there is none left.
        """
        pause = self.plan.backoff.decide(claim.attempts + 1)
        if pause is None:
            tried = f"{why} (tried {claim.attempts + 1} times)"
            return last or self._dead(claim, body, tried, at)
        due = self._clock.now_ms() + int(pause * 1000)
        if self._too_late(claim, due):
            return last or self._given_up(claim, body, why, at)
        return self._ledger.wait, (claim, "retry", body), {"why": why, "due_at": due, "attempt": True}


_End = tuple[Callable[..., Awaitable[object]], tuple[Any, ...], dict[str, Any]]
