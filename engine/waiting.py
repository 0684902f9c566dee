"""
Waiting: runs in the ledger whose time has come, or whose gate has opened, start here.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Collection, Sequence

from engine.holds import Holds
from engine.slots import Slots
from ledger.contract import Ledger, PickedUp
from penstock.clock import Clock

PICK_UP_EVERY = 1.0  # seconds at most between looks at what is due
PICK_UP_MOST = 64  # waiting runs taken at once
LOOK_AGAIN = 0.05  # seconds until a look at what was due and could not be had


class Waiting:
    """
    Picks runs up; *start* runs one, *dispatch* lets others have the places that are left.
    """

    def __init__(
        self,
        pipelines: Collection[str],
        *,
        ledger: Ledger,
        clock: Clock,
        room: Callable[[tuple[str, str]], int],
        slots: Slots,
        holds: Holds,
        start: Callable[[PickedUp], None],
        dispatch: Callable[[], None],
    ) -> None:
        self._pipelines = pipelines
        self._ledger = ledger
        self._clock = clock
        self._room = room
        self._slots = slots
        self._holds = holds
        self._start = start
        self._dispatch = dispatch
        self._news = asyncio.Event()
        self._short = False
        """Whether the last look found no room for some of them."""

    def wake(self) -> None:
        """
        Let it look at once: there may be more to do, or more room.
        """
        self._news.set()

    def room_came(self) -> None:
        """
        Hear that a run has ended: a reason to look if the last time room or money was short.
        """
        if self._short or self._holds.any:
            self._news.set()

    async def look(self) -> None:
        """
        Start the waiting runs that are due, as far as there are slots; rest until there may be more.
        """
        self._news.clear()
        if await self._holds.look():
            self._dispatch()
        places = {name: found for name in self._pipelines if (found := self._room((name, "waited")))}
        self._short = len(places) < len(self._pipelines)
        due = await self._ledger.next_due(list(places)) if places else None
        left = PICK_UP_EVERY if due is None else (due - self._clock.now_ms()) / 1000
        if left > 0:
            await self._rest(left)
        elif not await self._resume_some(list(places), min(*places.values(), PICK_UP_MOST)):
            await self._rest(LOOK_AGAIN)

    async def _resume_some(self, names: Sequence[str], most: int) -> int:
        party = ("", "picking up")
        self._slots.take(party, most)  # so that nobody else takes them meanwhile
        try:
            found = await self._ledger.pick_up(names, most)
        finally:
            self._slots.give_back(party, most)
        for picked in found:
            self._start(picked)
        self._dispatch()
        return len(found)

    async def _rest(self, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(min(seconds, PICK_UP_EVERY)):
                await self._news.wait()
