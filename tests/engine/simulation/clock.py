"""
The clock of a simulated process: it shows what the loop's virtual time says.
"""

from __future__ import annotations

import asyncio

BEGAN = 1_767_600_000_000  # UTC ms at virtual second 0: 5 January 2026


class VirtualClock:
    """
    `penstock.clock.Clock` over a loop's time.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop

    def now_ms(self) -> int:
        return BEGAN + int(self._loop.time() * 1000)

    def monotonic(self) -> float:
        return self._loop.time()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)
