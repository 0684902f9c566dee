"""
Answers that are used again: a question that was answered is not paid for a second time, and one that is being asked is
not asked twice at once.

The ledger knows who asks what, over all workers. An answer of another run is taken only if it fits this event too: it
keeps the schema, and everything in it that must be copied stands in this event's context.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from ai.evidence import unsupported
from ai.sameness import out_of_time
from ledger.caching import Asking, Cached, Hit, Question
from penstock.errors import PenstockError
from schemas.entries import Answer

if TYPE_CHECKING:
    from ai.meters import Meters
    from ai.output import OutputSchema
    from ledger.contract import Claim, Ledger
    from penstock.clock import Clock
    from penstock.tracing import Tracing

log = logging.getLogger("penstock.ai")

PATIENCE = 2.0  # seconds a run waits for another's answer where it is; then it waits in the ledger
FIRST_LOOK = 0.05  # seconds until it looks again; twice as long each time
LOOKS_AGAIN = (2_000, 30_000)  # ms at least and at most until a run that waits in the ledger comes back


class Awaited(PenstockError):
    """
    Another run asks the same question now: its answer will do for both.
    """

    def __init__(self, run: str, due_at: int) -> None:
        super().__init__(f"run {run[:8]} asks a model the same now; its answer is waited for")
        self.due_at = due_at
        """UTC ms from which to look again."""


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """
    A question, and what an answer to it must keep to be of use.
    """

    question: Question
    near: bool
    """Whether questions at other times count as the same."""
    output: OutputSchema
    evidence: str
    ask_hash: str
    timeout: float
    """Seconds."""
    receipt: Any

    def fitting(self, result: Any) -> Answer | None:
        """
        Return *result* as the answer; None when it does not fit here.
        """
        try:
            answer = Answer.model_validate(result)
        except ValidationError:
            return None
        if self.output.validate(answer.output) or unsupported(answer.output, self.evidence, self.output.literals):
            return None
        return None if self.near and out_of_time(answer.output, self.evidence) else answer


class Cache:
    """
    This process' way to the answers of all.
    """

    def __init__(
        self,
        *,
        ledger: Ledger,
        clock: Clock,
        meters: Meters,
        fail: Callable[[str], None],
        tracing: Tracing | None = None,
    ) -> None:
        self._ledger = ledger
        self._clock = clock
        self._meters = meters
        self._fail = fail
        self._tracing = tracing

    async def answer(self, claim: Claim, wanted: Wanted, *, may_ask: Callable[[], None]) -> Answer | None:
        """
        Return another run's answer, kept as that of *claim*'s run; None when that has to ask.

        From then on others wait for its answer; *may_ask* raises when nothing can be asked now. A run that is made
        again asks, whatever there is. Raises `Awaited`, and `Fenced`.
        """
        anew, began = claim.generation > 0, self._clock.monotonic()
        while True:
            found = None if anew else await self._settled(claim, wanted.question)
            if found is not None:
                if (answer := wanted.fitting(found.result)) is not None:
                    return await self._taken(claim, wanted, answer, found.run, began)
                may_ask()
                break  # the other answer stays: it may fit the next event
            may_ask()
            if await self._ledger.ask_for(wanted.question, claim, anew=anew):
                self._fail("cache:asking")
                break
        self._meters.missed(claim)
        return None

    async def _settled(self, claim: Claim, question: Question) -> Cached | None:
        """
        Return the answer there is, waiting a moment for one that is coming.
        """
        waited, pause = 0.0, FIRST_LOOK
        while isinstance(found := await self._ledger.cached(question, claim), Asking):
            if waited + pause > PATIENCE:
                raise Awaited(found.run, self._later(found))
            await self._clock.sleep(pause)
            waited, pause = waited + pause, pause * 2
        return found

    def _later(self, found: Asking) -> int:
        """
        Return when to look again: after as long as the other has asked already.
        """
        now, (least, most) = self._clock.now_ms(), LOOKS_AGAIN
        return now + min(max(now - found.since, least), most)

    async def _taken(self, claim: Claim, wanted: Wanted, answer: Answer, source: str, began: float) -> Answer:
        """
        Keep another run's *answer* as that of *claim*'s, looked for since *began*.
        """
        saved = answer.cost
        taken = answer.model_copy(
            update={"cost": 0, "cached": source, "saved": saved, "stored": False, "ask_hash": wanted.ask_hash}
        )
        async with self._ledger.step(
            claim,
            wanted.question.step,
            kind="ask",
            action_class="ai",
            timeout=wanted.timeout,
            input_hash=wanted.ask_hash,
            anew=not claim.new,  # what an earlier try may have left was of no use, or it would have been recalled
            new=claim.new,
        ) as held:
            hit = Hit(source=source, model=answer.model, saved=saved)
            await held.done(taken.model_dump(mode="json"), receipt=wanted.receipt, hit=hit)
        self._meters.hit(claim, hit)
        known = _attributes(claim, wanted.question.step, hit)
        log.info("answer of %s taken from run %s", answer.label, source, extra=known)
        if self._tracing is not None:
            self._tracing.reused(known, self._clock.monotonic() - began)
        return taken


def _attributes(claim: Claim, step: str, hit: Hit) -> dict[str, Any]:
    return {
        "penstock.cache": "hit",
        "penstock.pipeline": claim.pipeline,
        "penstock.run": claim.run,
        "penstock.step": step,
        "penstock.model": hit.model,
        "penstock.cached_run": hit.source,
        "penstock.saved_micro_usd": hit.saved,
    }
