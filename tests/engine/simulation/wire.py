"""
The way from a process to a system and back: slow, cut, or without an answer.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Any, Literal, TypeVar

from penstock.http import NotSent, SentNoAnswer
from tests.engine.simulation.journal import Request
from tests.engine.simulation.process import CURRENT

Trouble = Literal["", "refuses", "busy", "mute"]
T = TypeVar("T")


@dataclass(eq=False)
class Line:
    """
    What is wrong with one system at the moment.
    """

    name: str
    trouble: Trouble = ""
    """`refuses` connections, answers that it is `busy`, or is `mute`."""
    losing: int = 0
    """So many of the next answers are lost after the work was done."""


class Wire:
    """
    Carries requests; *random* draws how long each takes.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, random: Random) -> None:
        self._loop = loop
        self._random = random
        self.slow: set[str] = set()
        """Records whose requests take long."""

    async def exchange(
        self,
        line: Line,
        request: Callable[[], Request],
        serve: Callable[[Request], T],
        *,
        timeout: float,
        fence: Callable[[], None] | None,
    ) -> T:
        """
        Send one request, let *serve* answer it, and wait at most *timeout* seconds for that.
        """
        draw = self._random.random
        until = self._loop.time() + timeout
        await asyncio.sleep(draw() * 0.01)
        if line.trouble == "refuses":
            raise NotSent("connection refused")
        if fence is not None:
            fence()
        made = request()
        looked = self._loop.time()
        if made.process.nap is not None and made.work[0]:
            nap, made.process.nap = made.process.nap, None
            nap()
        await asyncio.sleep(0)
        made.asleep = any(blow >= looked for blow in made.process.blows)
        answer: asyncio.Future[T] = self._loop.create_future()
        outside = made.process.context()
        outside.run(CURRENT.set, None)
        self._loop.create_task(self._carried(line, made, serve, answer), context=outside)
        try:
            async with asyncio.timeout_at(until):
                found = await answer
        except TimeoutError:
            raise SentNoAnswer("timed out", timeout=True) from None
        made.answered_at = self._loop.time()
        return found

    async def _carried(
        self, line: Line, made: Request, serve: Callable[[Request], Any], answer: asyncio.Future[Any]
    ) -> None:
        draw = self._random.random
        await asyncio.sleep(draw() * 0.02)
        made.at = made.ended_at = self._loop.time()
        served = serve(made)
        hurry = draw()
        pause = draw() * 0.2 if hurry < 0.9 else draw() * 1.5
        if made.lane[1] in self.slow and hurry < 0.5:
            pause += 4.0 * draw()
        await asyncio.sleep(pause)
        made.ended_at = self._loop.time()
        if answer.done() or line.trouble == "mute":
            return
        if line.losing > 0:
            line.losing -= 1
            answer.set_exception(SentNoAnswer("connection reset"))
        else:
            answer.set_result(served)
