"""
Relief: what is long or old in memory moves into the ledger, so that its offsets are released.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping

from engine.intake import Intake, Item, Lane
from penstock.clock import Clock

LANE_MOST = 64  # items of a lane kept in memory
HEAD_MOST = 60.0  # seconds a head may keep its offset back


class Relief:
    """
    Looks over the lanes in memory; *admit* stores an item, *go_on* starts a lane's next item.
    """

    def __init__(
        self,
        intakes: Mapping[str, Intake],
        *,
        clock: Clock,
        admit: Callable[[Item], Awaitable[None]],
        go_on: Callable[[Intake, str], None],
    ) -> None:
        self._intakes = intakes
        self._clock = clock
        self._admit = admit
        self._go_on = go_on

    async def look(self) -> None:
        """
        Move long lanes and old heads, with what waits behind them; nothing before its head is in the ledger.
        """
        now = self._clock.monotonic()
        for intake in self._intakes.values():
            for key, lane in list(intake.lanes.items()):
                head = lane.running
                if head is None:
                    continue
                old = now - head.since > HEAD_MOST
                if old and not head.released:
                    await self._admit(head)  # its event is safe now; its own end still decides its verdict
                    head.passed()
                ready = lane.running is head and head.kept and not lane.spilling
                if ready and lane.queue and (old or len(lane.queue) > LANE_MOST):
                    await self._spill(intake, key, lane)

    async def _spill(self, intake: Intake, key: str, lane: Lane) -> None:
        """
        Move what is in the queue now; what comes meanwhile waits for the next look.
        """
        lane.spilling = True
        try:
            for item in list(lane.queue):
                if lane.queue and lane.queue[0] is item:  # else it was withdrawn meanwhile
                    await self._admit(item)
                    item.passed()
                    lane.withdraw(item)
        finally:
            lane.spilling = False
            self._go_on(intake, key)
