"""
Asking: the models of a pipeline in turn, each behind its gate, and another route when the money ends.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from ai import AI, AIError, Batched, Ladder, Paced, Terms, Wanted, batch_terms
from engine.changes import Seen
from engine.gates import AtGate, Gates
from ledger.batching import Item
from ledger.caching import Question
from ledger.contract import Cap, Claim
from ledger.limits import CapReached
from penstock.clock import Clock
from pipelines.plan import Plan
from schemas.entries import Answer, Prompt, Receipt

LONG_AGO = 3_600_000  # ms: what happened before is caught up with, and gives way to what happens now
WAITED_LONG = 60_000  # ms after which nobody goes before a run any more


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """
    What a question is made of.
    """

    prompt: Prompt
    receipt: Receipt
    evidence: str
    caps: Callable[[], Sequence[Cap]]
    patient: bool
    """Whether others may be asked before it where a model's pace is short."""
    by_itself: bool = False
    """Whether it is asked at once although its pipeline asks in batches: it was in one already."""
    item: Item | None = None
    """The question's place in a batch, when it was answered there."""
    seen: Seen = field(default_factory=dict)
    question: Question | None = None
    """None when its answer is used once. The answer of another route than the pipeline's own never is one to it."""

    @property
    def told(self) -> dict[str, Any]:
        """
        What is kept of it beside the answer.
        """
        return {
            "receipt": self.receipt.model_dump(mode="json"),
            "prompt": {"system": self.prompt.system, "user": self.prompt.user},
            **({"seen": self.seen} if self.seen else {}),
        }


class Asking:
    """
    The questions of one pipeline.
    """

    def __init__(self, plan: Plan, *, ai: AI, gates: Gates, clock: Clock) -> None:
        self._plan = plan
        self._ai = ai
        self._gates = gates
        self._clock = clock

    def check(self, ladder: Ladder, *, probing: str | None) -> None:
        """
        Raise `AtGate` when the first model cannot be used now: no context is made for it.
        """
        self._gates.check(_gate(ladder.models[0]), probing=probing)

    def patient(self, claim: Claim, happened: datetime, now: int) -> bool:
        """
        Say whether an event gives way to others: it is asked again on purpose, or happened long ago, and has not
        waited for long since.
        """
        if claim.began_at is not None and now - claim.began_at > WAITED_LONG:
            return False
        return claim.came_back or now - happened.timestamp() * 1000 > LONG_AGO

    async def batched(self, claim: Claim) -> Item | None:
        """
        Return what a batch answered to the question of *claim*'s run, or that it has to ask by itself; None when
        its question is in no batch. Raises `Batched` while it waits for an answer.
        """
        if claim.new or (self._plan.batch is None and claim.reason != "batch"):
            return None
        item = await self._ai.item(claim)
        if item is not None and item.state in ("open", "sealed"):
            raise Batched(item.model, item.due_at, self._clock.now_ms())
        return item

    def kept(self, claim: Claim, item: Item | None, caps: Callable[[], Sequence[Cap]]) -> Asked | None:
        """
        Return the question that *item* answers, as it was asked; None when it is of no use.
        """
        if item is None or item.state != "answered" or item.ask_hash != self._plan.ask_hash:
            return None
        prompt, told = Prompt.model_validate(item.asked["prompt"]), item.asked["told"]
        return Asked(
            prompt=prompt,
            receipt=Receipt.model_validate(told["receipt"]),
            evidence=item.asked["evidence"],
            caps=caps,
            patient=False,
            item=item,
            seen=told.get("seen", {}),
            question=self._plan.cache.question(prompt, claim.tenant) if self._plan.cache else None,
        )

    async def answer(self, claim: Claim, asked: Asked, ladders: Sequence[Ladder], *, probing: str | None) -> Answer:
        """
        Return the answer of the first ladder for which the pipeline's own money is enough.
        """
        *others, last = ladders
        for ladder in others:
            try:
                return await self._climb(claim, asked, ladder, probing)
            except CapReached as error:
                if error.cap.scope != self._plan.spending.scope:
                    raise  # a budget of many pipelines says itself what happens at its limit
        return await self._climb(claim, asked, last, probing, new=claim.new and not others)

    async def cached(self, claim: Claim, asked: Asked, may_ask: Callable[[], None]) -> Answer | None:
        """
        Return the answer of another run; None when a model has to be asked, and *may_ask* has not objected.
        """
        plan = self._plan
        if plan.cache is None or asked.question is None:
            return None
        wanted = Wanted(
            question=asked.question,
            near=plan.cache.match == "normalised",
            output=plan.output,
            evidence=asked.evidence,
            ask_hash=plan.ask_hash,
            timeout=plan.timeout,
            receipt=asked.told,
        )
        return await self._ai.cache.answer(claim, wanted, may_ask=may_ask)

    async def _climb(
        self, claim: Claim, asked: Asked, ladder: Ladder, probing: str | None, *, new: bool = False
    ) -> Answer:
        try:
            answer = await self._ask(claim, asked, ladder, probing, new=new)
        except Paced as error:
            if probing == _gate(ladder.models[0]):  # it found nothing out: somebody has to soon
                await self._gates.shut(probing, str(error))
            raise
        except AIError as error:
            gate = _gate(error.model or ladder.models[0])
            if error.advice == "gate":
                auth = error.error_class in ("auth", "quota")
                await self._gates.shut(gate, str(error), retry_after=error.retry_after, auth=auth)
                raise AtGate(gate, str(error)) from error
            if error.billed == "yes":
                await self._gates.worked(gate)  # a useless answer is an answer
            raise
        answered = answer.model if answer.model in ladder.models else ladder.models[0]
        for name in ladder.models[: ladder.models.index(answered) + 1]:
            await self._gates.worked(_gate(name))
        return answer

    async def _ask(self, claim: Claim, asked: Asked, ladder: Ladder, probing: str | None, *, new: bool) -> Answer:
        plan = self._plan
        batch = self._terms(claim, asked) if ladder is plan.ladder else None

        def may_ask(model: str) -> None:
            self._gates.check(_gate(model), probing=probing)

        return await self._ai.ask(
            claim,
            asked.prompt,
            model=replace(ladder, may_ask=may_ask),
            output=plan.output,
            max_output=plan.max_output,
            timeout=plan.timeout,
            caps=asked.caps,
            per_event=plan.per_event,
            ask_hash=plan.ask_hash,
            new=new,
            patient=asked.patient,
            batch=batch,
            evidence=asked.evidence,
            receipt=asked.told,
            question=asked.question.key if asked.question and ladder is plan.ladder else "",
        )

    def _terms(self, claim: Claim, asked: Asked) -> Terms | None:
        """
        Return how the first model is asked in a batch; None when it is asked at once.
        """
        plan, now = self._plan, self._clock.now_ms()
        if asked.item is not None:
            return Terms(item=asked.item)
        if plan.batch is None or asked.by_itself:
            return None
        kept = {"told": asked.told, "prompt": asked.prompt.model_dump(mode="json"), "evidence": asked.evidence}
        began = claim.began_at or now
        return batch_terms(within=plan.batch, began_at=began, now=now, ask_hash=plan.ask_hash, asked=kept)


def _gate(model: str) -> str:
    return f"model:{model}"
