"""
Loop net 3: an event that comes of a write of ours starts nothing, unless its pipeline follows whoever wrote.

Where the system says who wrote (net 1), or the values are those we wrote (net 2), the event is ours for sure, and
only the write is looked for. Else it is ours when no author is known, it is of a kind our writes cause, it happened
while we wrote to its record or shortly after, and changed nothing but what we wrote.
"""

from __future__ import annotations

from collections.abc import Sequence

from connectors.contract import Connector
from engine.echoes import ECHO_SPAN, OPEN_MOST, OPEN_WAIT, EchoPending
from engine.offering import offer
from ledger.contract import Ledger
from ledger.lineage import Cause
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
        cause = _likeliest([one for one in causes if _fits(one, event, sure=own is not None)], event)
        if cause is None:
            return self._unexplained(event, own)
        if cause.state == "open" and own is None and (now := self._clock.now_ms()) - cause.at < OPEN_MOST:
            raise EchoPending(f"{cause.step} is writing to this record", now + OPEN_WAIT)
        return await self._come_of(cause, event, own)

    async def _come_of(self, cause: Cause, event: Event, own: str | None) -> str | None:
        depth, chain = cause.depth + 1, self._chain
        wrote = f"{own or 'no author is known'}; run {cause.run[:8]} of {cause.pipeline} wrote {cause.step}"
        if cause.pipeline not in chain.follows:
            follows = f"follows {', '.join(sorted(chain.follows))}" if chain.follows else "follows no pipeline"
            return f"{wrote}, and {self._plan.name} {follows} (trigger.follows)"
        if depth > chain.depth:
            return f"{wrote}; {depth} writes of ours led to it, and {self._plan.name} ends at {chain.depth}"
        origin = OriginEntry(run=cause.run, pipeline=cause.pipeline, step=cause.step, depth=depth)
        await self._ledger.keep_origin(offer(self._plan, event).run, origin)
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
        Say whether a look at our writes is worth while: nobody else is known to have done it.
        """
        if not self._chain.written:
            return False
        if event.actor is not None and self._connector.acts_as is not None and event.actor != self._connector.acts_as:
            return False
        caused = {kind for action in self._connector.actions.values() for kind in action.emits}
        return not caused or event.type in caused  # a connector that says nothing may cause anything

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
