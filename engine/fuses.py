"""
Loop net 4: a pipeline that wrote to one record as often as `limits.fuse` allows stops there until that is over.

What no other net knows as our own doing goes round all the same, by way of people's rules, or of another robot that
answers every answer. A stopped event is a dead letter: it can be replayed, and then nobody counts.
"""

from __future__ import annotations

from ledger.contract import Claim, Ledger
from penstock.clock import Clock, utc
from pipelines.plan import Plan


class Fuses:
    """
    Minds the fuse of every lane of one pipeline.
    """

    def __init__(self, plan: Plan, *, ledger: Ledger, clock: Clock) -> None:
        self._plan = plan
        self._ledger = ledger
        self._clock = clock

    async def blown(self, claim: Claim) -> str | None:
        """
        Return why the claim's run must not go on; None when it may. Raises `Fenced`.
        """
        fuse = self._plan.fuse
        if fuse is None or claim.came_back:  # somebody wants it to run
            return None
        last = await self._ledger.delivered_lately(claim, fuse.count)
        until = 0 if last is None else last + int(fuse.seconds * 1000)
        if until <= self._clock.now_ms():
            return None
        await self._ledger.blow(claim, until=until, limit=str(fuse))
        over = utc(until).strftime("%Y-%m-%d %H:%M:%S")
        return (
            f"{fuse.count} runs were delivered for {claim.lane!r} in less time than `limits.fuse: {fuse}` allows: "
            f"does {self._plan.name} answer itself? Its new events run from {over} UTC on, and a replay runs this one"
        )
