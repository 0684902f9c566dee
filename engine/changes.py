"""
Records that may change while a model thinks: what each was before, and what to do when it is another now.

A record is compared as its action's lookup reads it; a model is asked again only where the question is another, too.
What the record was is kept with the answer, so it is known after a crash.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from connectors.contract import Connector, Record
from engine.echoes import value_hash
from engine.lookups import Lookups
from engine.stations import ASK, station
from ledger.contract import Claim
from penstock.errors import NotFound, PenstockError
from pipelines.deliveries import DeliveryPlan
from pipelines.plan import Plan
from pipelines.views import with_burst
from schemas.entries import Answer, Prompt, RunDetail
from schemas.events import Event

RERUNS = 2  # times that a run begins anew by itself
CHANGED = "somebody changed the record while it was answered"
GONE = ""
"""Stands for a record that was not there."""

Seen = Mapping[str, str]
"""Hash of the record before the model was asked, by the step of its delivery."""


class RecordChanged(PenstockError):
    """
    The answer is about a record that is another by now, and nothing was written yet: the run begins anew.
    """


@dataclass(frozen=True, slots=True, kw_only=True)
class Before:
    """
    What a run did before, in its present generation.
    """

    seen: Seen
    begun: frozenset[str]
    """Deliveries that are done, or may be."""
    prompt: Mapping[str, str]
    """What was asked: `system` and `user`."""
    reruns: int
    """How often it began anew by itself since a person last decided something."""
    again: bool
    """Whether a person wants it asked and written again."""

    @classmethod
    def of(cls, detail: RunDetail | None, generation: int) -> Before:
        """
        Return it as the ledger has it in *detail*.
        """
        if detail is None:
            return cls(seen={}, begun=frozenset(), prompt={}, reruns=0, again=generation > 0)
        mine = [step for step in detail.steps if step.generation == generation]
        asked = next((step.receipt for step in mine if step.step == ASK and isinstance(step.receipt, dict)), {})
        reruns, alone = 0, sum(decision.what == "changed" for decision in detail.decisions)
        for decision in detail.decisions:  # whatever a person decides begins the count again
            reruns = reruns + 1 if decision.what == "changed" else 0
        begun = frozenset(step.step for step in mine if step.kind == "write" and step.state != "failed")
        return cls(
            seen=asked.get("seen", {}),
            begun=begun,
            prompt=asked.get("prompt", {}),
            reruns=reruns,
            again=generation > alone,
        )


class Changes:
    """
    Watches the records of one pipeline's deliveries.
    """

    def __init__(self, plan: Plan, *, connectors: Mapping[str, Connector], lookups: Lookups) -> None:
        self._plan = plan
        self._connectors = connectors
        self._lookups = lookups
        self.watched = tuple(one for one in plan.deliveries if one.if_record_changed is not None)

    async def seen(self, claim: Claim, event: Event, probing: str | None) -> Seen:
        """
        Return what the records are now, before a model is asked.

        Raises `AtGate` when a connection cannot be used now.
        """
        known: dict[tuple[str, str], str] = {}
        seen: dict[str, str] = {}
        for delivery in self.watched:
            if not delivery.possible({"event": with_burst(event, claim.burst)}):
                continue
            if (where := self._where(delivery, claim, event)) not in known:
                known[where] = _hash(await self._read(where, claim, probing))
            seen[delivery.step] = known[where]
        return seen

    async def check(
        self,
        claim: Claim,
        event: Event,
        answer: Answer,
        before: Before,
        *,
        probing: str | None,
        asks: Callable[[], Awaitable[Prompt]],
    ) -> frozenset[str]:
        """
        Return the deliveries that are skipped, as their records are others than before.

        What this generation of the run wrote to is not looked at: it is another by our own doing. *asks* makes the
        question as it would be asked now. Raises `RecordChanged` when the run is to begin anew, `AtGate`.
        """
        ours = {self._where(one, claim, event) for one in self._plan.deliveries if one.step in before.begun}
        changed = []
        for delivery in self.watched:
            where = self._where(delivery, claim, event)
            if where in ours or delivery.step not in before.seen:
                continue
            with station(delivery.step):
                record = await self._read(where, claim, probing)
            if _hash(record) == before.seen[delivery.step]:
                continue
            scope = self._plan.scope(event, answer, claim.burst) | ({} if record is None else {"record": record})
            if record is None or (delivery.wanted(scope) and not delivery.unwanted(scope)):
                changed.append(delivery)
        anew = [delivery for delivery in changed if delivery.if_record_changed == "rerun"]
        if anew and not _differs(await asks(), before.prompt):
            changed, anew = [one for one in changed if one not in anew], []
        if anew and not before.begun and before.reruns < RERUNS:
            raise RecordChanged(f"{anew[0].step}: {CHANGED}: it is asked about again")
        return frozenset(delivery.step for delivery in changed)

    def _where(self, delivery: DeliveryPlan, claim: Claim, event: Event) -> tuple[str, str]:
        """
        Return lookup and id of the record.
        """
        reads = self._connectors[delivery.connection].actions[delivery.action].reads
        return f"{delivery.connection}.{reads}", delivery.record_of({"event": with_burst(event, claim.burst)})

    async def _read(self, where: tuple[str, str], claim: Claim, probing: str | None) -> Record | None:
        target, record = where
        try:
            found = await self._lookups.read(target, record, 1, run=claim.run, probing=probing, fresh=True)
        except NotFound:
            return None
        return found[0] if found else None


def _differs(prompt: Prompt, asked: Mapping[str, str]) -> bool:
    return {"system": prompt.system, "user": prompt.user} != asked


def _hash(record: Any) -> str:
    return GONE if record is None else value_hash(record)
