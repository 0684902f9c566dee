"""
The turnstile: runs begin as fast as the models they ask take them; the others stay where they are safe, on the
bus or in the ledger, and hold no place meanwhile.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping

from ai import Pacer
from penstock.clock import Clock

LOOK_AGAIN = 0.1  # seconds until a closed turnstile is looked at again
ANY = 1_000_000  # runs: of a model without a pace


class Turnstile:
    """
    Knows how many runs of each pipeline may begin; *open_again* is called when there may be room again.
    """

    def __init__(
        self, pacers: Mapping[str, Callable[[], Pacer | None]], clock: Clock, open_again: Callable[[], None]
    ) -> None:
        self._pacers = pacers
        self._clock = clock
        self._open_again = open_again
        self._looking: asyncio.Task[None] | None = None

    def room(self, pipeline: str) -> int:
        """
        Return how many runs of *pipeline* may begin now.
        """
        pacer = self._pacers[pipeline]()
        if pacer is None:
            return ANY
        if (room := pacer.room) <= 0 and self._looking is None:
            self._looking = asyncio.create_task(self._look())
        return max(room, 0)

    def begins(self, pipeline: str, run: str) -> None:
        """
        Take note that a run is on its way to its model.
        """
        if (pacer := self._pacers[pipeline]()) is not None:
            pacer.begins(run)

    def ended(self, pipeline: str, run: str) -> None:
        """
        Take note that a run has ended, whether it asked or not.
        """
        if (pacer := self._pacers[pipeline]()) is not None:
            pacer.ended(run)

    async def close(self) -> None:
        """
        Look no more.
        """
        if self._looking is not None:
            self._looking.cancel()
            await asyncio.gather(self._looking, return_exceptions=True)

    async def _look(self) -> None:
        try:
            await self._clock.sleep(LOOK_AGAIN)
        finally:
            self._looking = None
        self._open_again()
