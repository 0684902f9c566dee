"""
Loop net 3: an event that comes of a write of ours starts nothing, unless its pipeline follows whoever wrote.

Where the system says who wrote (net 1), or the values are those we wrote (net 2), the event is ours for sure, and
only the write is looked for. Else it is taken for ours when the system names no author, it is of a type that a write
to its record causes, it happened while we wrote or shortly after, and changed nothing but what we wrote. Such a write
explains one event of a type: if that was somebody's after all, the echo runs in its place, on the record as it is.
"""

from __future__ import annotations

from collections.abc import Sequence

from connectors.contract import Connector
from engine.echoes import ECHO_SPAN, OPEN_MOST, OPEN_WAIT, EchoPending
from engine.offering import offer
from ledger.contract import Ledger
from ledger.lineage import Cause, Heard
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
        if own is not None and not self._chain.follows:
            return own
        if own is None and not self._may_be_ours(event):
            return None
        causes = await self._causes(event)
        if own is None:
            causes = [cause for cause in causes if event.type in self._emits(cause)]
        cause = _likeliest([cause for cause in causes if _fits(cause, event, sure=own is not None)], event)
        if cause is None:
            return self._unexplained(event, own)
        heard = Heard(run=offer(self._plan, event).run, pipeline=self._plan.name, event=event.type)
        if own is None:
            if cause.state == "open" and (now := self._clock.now_ms()) - cause.at < OPEN_MOST:
                raise EchoPending(f"{cause.step} is writing to this record", now + OPEN_WAIT)
            if await self._ledger.explains_another(cause, heard):
                return None
        return await self._come_of(cause, heard, own)

    async def _come_of(self, cause: Cause, heard: Heard, own: str | None) -> str | None:
        depth, chain = cause.depth + 1, self._chain
        origin = OriginEntry(run=cause.run, pipeline=cause.pipeline, step=cause.step, depth=depth)
        await self._ledger.keep_origin(heard, origin)
        wrote = f"{own or 'no author is known'}; run {cause.run[:8]} of {cause.pipeline} wrote {cause.step}"
        if cause.pipeline not in chain.follows:
            follows = f"follows {', '.join(sorted(chain.follows))}" if chain.follows else "follows no pipeline"
            return f"{wrote}, and {self._plan.name} {follows} (trigger.follows)"
        if depth > chain.depth:
            return f"{wrote}; {depth} writes of ours led to it, and {self._plan.name} ends at {chain.depth}"
        return None

    def _unexplained(self, event: Event, own: str | None) -> str | None:
        """
        Say what becomes of an event no write is known to have led to.
        """
        if own is None:
            return None
        now = self._clock.now_ms()
        if now - event.time.timestamp() * 1000 < ANSWER:  # what makes a record knows its id only by the answer
            raise EchoPending(f"{own}, and no write of ours is known that led to it", now + OPEN_WAIT)
        return f"{own}; no run of this hub is known to have written it"

    def _may_be_ours(self, event: Event) -> bool:
        """
        Say whether a look at our writes is worth while: nobody else is named, and some write may cause it.
        """
        if event.actor is not None and event.actor != self._connector.acts_as:
            return False  # also before we know who we are: a person's event is not to be lost
        return event.type in self._caused

    def _emits(self, cause: Cause) -> frozenset[str]:
        """
        Return the types of events that *cause* may have led to; of a delivery that is not declared any more, all.
        """
        action = self._connector.actions.get(self._chain.actions.get((cause.pipeline, cause.step), ""))
        return self._caused if action is None else action.emits

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


def _likeliest(causes: Sequence[Cause], event: Event) -> Cause | None:
    """
    Return of several writes the one that tells of what changed, and ended nearest to the event.
    """
    at, changed = event.time.timestamp() * 1000, set(changed_fields(event))
    return min(causes, key=lambda cause: (not cause.fields >= changed, abs(at - cause.at)), default=None)
