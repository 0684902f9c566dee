"""
One event through one pipeline: judged, given a context, asked about once, written back.

`judge` costs nothing and needs nothing but the event. `handle` works under a claim and ends in
exactly one transition of the ledger: final, waiting or aside.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence

from ai import AI, Ladder, Pacer
from bus.contract import Message
from connectors.contract import Connector
from engine import offering
from engine.asking import Asked, Asking
from engine.consequences import Consequences, End
from engine.delivering import Delivering
from engine.gates import Gates
from engine.holds import Holds
from engine.judging import Judging
from engine.lookups import Lookups
from engine.patience import firmly
from engine.progressing import Progressing
from engine.rates import TooMany, count
from engine.shadowing import Shadowing
from engine.stations import ASK, CONTEXT, TRIGGER, station
from engine.watch import Watch
from ledger.batching import Item
from ledger.bursts import Burst
from ledger.contract import Cap, Claim, Ledger, NewRun
from ledger.limits import Allowed
from ledger.returning import Newer
from penstock.clock import Clock
from penstock.errors import (
    Fenced,
)
from penstock.http import Http
from penstock.metrics import Instruments
from penstock.tracing import Span
from pipelines.plan import Plan
from schemas.entries import Answer, Prompt, Receipt, Verdict
from schemas.events import Event

log = logging.getLogger(__name__)


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
        self._consequences = Consequences(plan, ledger=ledger, clock=clock, holds=self._holds)
        self._watch = watch or Watch(Instruments(), clock)
        self._asking = Asking(plan, ai=ai, gates=gates, clock=clock)
        self._shadowing = Shadowing(plan, ai=ai, ledger=ledger, gates=gates)
        self._fail = fail
        self._lookups = Lookups(connectors, http=http, clock=clock, gates=gates)
        self._progressing = Progressing(plan, connectors=connectors, http=http, clock=clock, gates=gates)
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
                end = await self._consequences.after(error, claim, body)
            if leaving is not None:
                leaving()
            last = await self._take(claim, end, span)
            if end[0] in (self._ledger.finish, self._ledger.rerun):
                await self._progressing.clear(claim, event)
            return last

    async def _take(self, claim: Claim, end: End, span: Span | None = None) -> bool:
        transition, args, keywords = end
        last = await firmly(self._clock, lambda: transition(*args, **keywords))
        if transition == self._ledger.finish:
            self._watch.ended(claim, args[1], span)
            return bool(last)
        reason = "changed" if transition == self._ledger.rerun else args[1] if isinstance(args[1], str) else "hold"
        self._watch.put_off(claim, reason, span)
        return False

    async def _attempt(self, claim: Claim, event: Event, body: bytes, probing: str | None) -> End:
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

        async def asks() -> Prompt:
            return (await self._assemble(event, claim.run, probing, claim.burst, fresh=True))[0]

        delivered = await self._delivering.all(
            claim, event, answer, probing=probing, asks=asks, newer=newer, goes_on=compared is not None
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
    ) -> End | None:
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
        failed = self._consequences.failure(TRIGGER) if verdict == "dead" else None
        return finish, (claim, verdict), {"why": why, "body": body, "failed": failed}

    async def _recalled(self, claim: Claim) -> Answer | None:
        """
        Return the answer of an earlier try; of a new run there can be none.

        One that people were shown counts whatever was deployed since: nothing is asked beside what they decide.
        """
        if claim.new:
            return None
        found = await self._ai.recall(claim, output=self.plan.output, ask_hash=self.plan.ask_hash)
        return found if found is not None else await self._delivering.drafted(claim)

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
            seen = await self._delivering.changes.seen(claim, event, probing)  # first: what is read later is newer
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
            seen=seen,
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
        self, event: Event, run: str, probing: str | None, burst: Burst | None = None, *, fresh: bool = False
    ) -> tuple[Prompt, Receipt, str]:
        fetch, secret = self._lookups.fetcher(run, probing=probing, fresh=fresh), self._ledger.secret
        return await self.plan.prompt_for(
            event, fetch=fetch, many=self._lookups.many, secret=secret, run=run, burst=burst
        )

    async def prompt(self, event: Event, run: str) -> tuple[Prompt, Receipt]:
        """
        Return exactly what would be sent to the model for *event*: nothing is asked or written.
        """
        prompt, receipt, _ = await self._assemble(event, run, None)
        return prompt, receipt

    async def give_up(self, claim: Claim, body: bytes, gate: str) -> None:
        """
        End a run that waited at a gate longer than `give_up_after`. Raises `Fenced`.
        """
        await self._take(claim, self._consequences.given_up(claim, body, f"{gate} is still shut"))
        await self._progressing.clear(claim, Event.from_json(body))
