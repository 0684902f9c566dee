"""
Resignation: runs that have waited for the end of an outage longer than their pipeline has patience.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable

from engine.runner import Runner
from ledger.contract import Ledger
from penstock.clock import Clock
from penstock.errors import Fenced

LOOK_EVERY = 30.0  # seconds
MOST = 100  # runs per pipeline and look


class Resignation:
    """
    Gives up what nobody would try again before it is too late: at a shut gate only one run at a time is.
    """

    def __init__(self, runners: Iterable[Runner], *, ledger: Ledger, clock: Clock) -> None:
        self._runners = list(runners)
        self._ledger = ledger
        self._clock = clock

    async def look(self) -> None:
        """
        End the runs at gates whose first try is too long ago.
        """
        for runner in self._runners:
            before = self._clock.now_ms() - int(runner.plan.give_up_after * 1000)
            late = await self._ledger.pick_up_late(runner.plan.name, began_before=before, most=MOST)
            for one in late:
                with contextlib.suppress(Fenced):
                    await runner.give_up(one.claim, one.body, one.gate or "its gate")
