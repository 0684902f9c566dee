"""
Time, passed in and never reached for: every room takes a `Clock`, so tests move it by hand.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
import time
from datetime import UTC, datetime
from typing import Protocol


class Clock(Protocol):
    """
    Where a room gets the time from.
    """

    def now_ms(self) -> int:
        """
        Return wall time in UTC milliseconds: for due times, periods, what people see.
        """
        ...

    def monotonic(self) -> float:
        """
        Return seconds that only grow: for deadlines and durations inside one process.
        """
        ...

    async def sleep(self, seconds: float) -> None:
        """
        Sleep at least *seconds*.
        """
        ...


class SystemClock:
    """
    The machine's clock.
    """

    def now_ms(self) -> int:
        return time.time_ns() // 1_000_000

    def monotonic(self) -> float:
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


class ManualClock:
    """
    A clock that moves only when `advance` is called; sleepers wake in order of their due time.
    """

    def __init__(self, start: datetime = datetime(2026, 1, 5, 9, 0, tzinfo=UTC)) -> None:
        self._start_ms = int(start.timestamp() * 1000)
        self._elapsed = 0.0
        self._sleepers: list[tuple[float, int, asyncio.Future[None]]] = []
        self._order = itertools.count()

    def now_ms(self) -> int:
        return self._start_ms + int(self._elapsed * 1000)

    def monotonic(self) -> float:
        return self._elapsed

    async def sleep(self, seconds: float) -> None:
        if seconds <= 0:
            await asyncio.sleep(0)
            return
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._sleepers, (self._elapsed + seconds, next(self._order), future))
        await future

    async def advance(self, seconds: float) -> None:
        """
        Move time by *seconds*, waking every sleeper that falls due on the way.
        """
        end = self._elapsed + seconds
        while self._sleepers and self._sleepers[0][0] <= end:
            due, _, future = heapq.heappop(self._sleepers)
            self._elapsed = max(self._elapsed, due)
            if not future.done():
                future.set_result(None)
            for _ in range(20):  # let the woken task run up to its next real wait
                await asyncio.sleep(0)
        self._elapsed = end
        await asyncio.sleep(0)


def utc(ms: int) -> datetime:
    """
    Return *ms* since the epoch as an aware datetime.
    """
    return datetime.fromtimestamp(ms / 1000, UTC)
