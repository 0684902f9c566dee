"""
Loop net 3: an event that comes of a write of ours starts nothing, unless its pipeline follows whoever wrote.

Where the system says who wrote (net 1), or the values are those we wrote (net 2), the event is ours for sure, and
only the write is looked for. Else it is taken for ours when the system names no author, it is of a type that a write
to its record causes, it happened while we wrote or shortly after, and changed nothing but what we wrote. Such a write
explains one event of a type, also one that is ours for sure: if what was taken for ours was somebody's after all, the
echo runs in its place, on the record as it is.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import takewhile

from connectors.contract import Connector
from engine.echoes import ECHO_SPAN, OPEN_MOST, OPEN_WAIT, EchoPending
from engine.offering import offer
from ledger.contract import Ledger
from ledger.lineage import Cause, Heard, Kept
from penstock.clock import Clock
from pipelines.plan import Plan
from pipelines.views import changed_fields
from schemas.entries import OriginEntry
from schemas.events import Event

BEFORE = 2_000  # ms by which the system's clock may be behind ours
AFTER = 60_000  # ms after a write within which its system may date what came of it
SURE = 600_000  # ms of the same, when it is known that the event is ours
ANSWER = 30_000  # ms within which the id of a record we are making is waited for


class Lineage:
    """
    Judges what comes of our own writes, for one pipeline.
    """

    def __init__(self, plan: Plan, *, connector: Connector, ledger: Ledger, clock: Clock) -> None:
        self._plan = plan
        self._chain = plan.chain
        self._connector = connector
        self._ledger = ledger
        self._clock = clock
        written = (connector.actions.get(action) for action in plan.chain.actions.values())
        self._caused = frozenset(kind for action in written if action is not None for kind in action.emits)

    async def stopped(self, event: Event, own: str | None) -> str | None:
        """
        Return why *event* must not start anything; None when it may. Raises `EchoPending`.

        *own* says why the other nets hold it for our doing; None when they do not.
        """
        if own is None and not self._may_be_ours(event):
            return None
        causes = await self._causes(event)
        fitting = self._likely(causes, event, sure=own is not None)
        if not fitting:
            return self._unexplained(event, own)
        heard = self._heard(event)
        if own is None:
            await self._explain_known(event, causes)
            kept = await self._guessed(heard, fitting)
        else:
            kept = await self._ledger.come_of(heard, _origins(fitting), anyway=True)
        return None if kept is None else self._judged(kept, own)

    async def _guessed(self, heard: Heard, causes: Sequence[Cause]) -> Kept | None:
        """
        Return what an event of nobody's known authorship comes of; None when it may be anybody's.

        Who follows keeps count of how deep it is all the same, else a system that tells twice of a write would never
        let a circle end.
        """
        now = self._clock.now_ms()
        ended = list(takewhile(lambda cause: cause.state != "open" or now - cause.at >= OPEN_MOST, causes))
        kept = await self._ledger.come_of(heard, _origins(ended), anyway=False) if ended else None
        if kept is None and len(ended) < len(causes):
            raise EchoPending(f"{causes[len(ended)].step} is writing to this record", now + OPEN_WAIT)
        if kept is None and self._chain.follows:
            kept = await self._ledger.come_of(heard, _origins(causes), anyway=True)
        return kept

    async def _explain_known(self, event: Event, causes: Sequence[Cause]) -> None:
        """
        Find what led to the own writes that ended as such on arrival: what explains them does not explain *event*.
        """
        since = min(cause.began_at for cause in causes)
        for body in await self._ledger.unexplained(self._heard(event), event.subject, since):
            known = Event.from_json(body)
            before = [cause for cause in causes if cause.event != (known.source, known.id)]
            fitting = self._likely(before, known, sure=True)
            if known.id != event.id and fitting:
                await self._ledger.come_of(self._heard(known), _origins(fitting), anyway=True)

    def _judged(self, kept: Kept, own: str | None) -> str | None:
        chain, origin = self._chain, kept.origin
        if own is not None and not chain.follows:
            return own
        wrote = f"{own or 'no author is known'}; run {origin.run[:8]} of {origin.pipeline} wrote {origin.step}"
        somebodys = own is None and kept.beside  # as like as not: only where a circle has to end it is stopped
        if origin.pipeline not in chain.follows and not somebodys:
            follows = f"follows {', '.join(sorted(chain.follows))}" if chain.follows else "follows no pipeline"
            return f"{wrote}, and {self._plan.name} {follows} (trigger.follows)"
        if origin.depth > chain.depth and (chain.circle or not somebodys):
            return f"{wrote}; {origin.depth} writes of ours led to it, and {self._plan.name} ends at {chain.depth}"
        return None

    def _unexplained(self, event: Event, own: str | None) -> str | None:
        """
        Say what becomes of an event no write is known to have led to.
        """
        if own is None or not self._chain.follows:
            return own
        now = self._clock.now_ms()
        if abs(now - event.time.timestamp() * 1000) < ANSWER:  # what makes a record knows its id only by the answer
            raise EchoPending(f"{own}, and no write of ours is known that led to it", now + OPEN_WAIT)
        return f"{own}; no run of this hub is known to have written it"

    def _may_be_ours(self, event: Event) -> bool:
        """
        Say whether a look at our writes is worth while: nobody else is named, and some write may cause it.
        """
        if event.actor is not None and event.actor != self._connector.acts_as:
            return False  # also before we know who we are: a person's event is not to be lost
        if event.lumped:
            return False  # somebody's change may be in it
        return event.type in self._caused

    def _emits(self, cause: Cause) -> frozenset[str]:
        """
        Return the types of events that *cause* may have led to; of a delivery that is not declared any more, all.
        """
        action = self._connector.actions.get(self._chain.actions.get((cause.pipeline, cause.step), ""))
        return self._caused if action is None else action.emits

    def _likely(self, causes: Sequence[Cause], event: Event, *, sure: bool) -> list[Cause]:
        """
        Return of several writes those that may have led to *event*: first what causes its type and tells of what
        changed, of these the nearest.
        """
        at, changed = event.time.timestamp() * 1000, set(changed_fields(event))

        def least(cause: Cause) -> tuple[bool, bool, float]:
            return event.type not in self._emits(cause), not cause.fields >= changed, abs(at - cause.at)

        fitting = [cause for cause in causes if _fits(cause, event, sure=sure)]
        return sorted((cause for cause in fitting if sure or event.type in self._emits(cause)), key=least)

    def _heard(self, event: Event) -> Heard:
        return Heard(run=offer(self._plan, event).run, pipeline=self._plan.name, event=event.type)

    async def _causes(self, event: Event) -> list[Cause]:
        since = self._clock.now_ms() - ECHO_SPAN
        names = self._chain.written or (self._plan.connection,)
        found = [cause for name in names for cause in await self._ledger.causes(name, event.subject, since)]
        return [cause for cause in found if cause.event != (event.source, event.id)]


def _fits(cause: Cause, event: Event, *, sure: bool) -> bool:
    """
    Say whether *cause* may have led to *event*; *sure* when it is known that some write of ours did.
    """
    at = event.time.timestamp() * 1000
    ends = at if cause.state == "open" else cause.at
    if not cause.began_at - BEFORE <= at <= ends + (SURE if sure else AFTER):
        return False
    changed = changed_fields(event)
    return sure or cause.made or not changed or not cause.fields or cause.fields >= set(changed)


def _origins(causes: Sequence[Cause]) -> list[OriginEntry]:
    """
    Return what comes of each of *causes*.
    """
    return [
        OriginEntry(run=cause.run, pipeline=cause.pipeline, step=cause.step, depth=cause.depth + 1) for cause in causes
    ]
