"""
How fast a credential may be used: a bucket of requests, corrected by what the system says.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping
from typing import Annotated, Literal

from pydantic import Field as Key

from connectors.part import Header, Part, Seconds, Words
from penstock.clock import Clock
from penstock.errors import Crowded, Unavailable

LONGEST_PAUSE = 3600.0  # seconds the system may make us wait by one answer


class BudgetRule(Part):
    """
    How fast one credential may be used.
    """

    name: Words
    requests: Annotated[int, Key(ge=1)]
    per: Seconds
    concurrency: Annotated[int, Key(ge=1, le=1000)] = 10
    limit: Header | None = None
    """The header that says how many requests this account really has per `per` seconds."""
    remaining: Header | None = None
    """The header that says how many requests are left."""
    reset: Header | None = None
    """The header that says when there are more."""
    reset_form: Literal["seconds", "unix"] = "unix"


UNLIMITED = BudgetRule(name="unlimited", requests=1_000_000, per=1.0, concurrency=1000)


class Budget:
    """
    The rate budget of one credential; one object is shared by every use of it.
    """

    def __init__(self, rule: BudgetRule, clock: Clock) -> None:
        self._rule = rule
        self._clock = clock
        self._size = float(rule.requests)
        self._left = self._size
        self._at = clock.monotonic()
        self._shut_until = 0.0
        self._slots = asyncio.Semaphore(rule.concurrency)
        self.quota_left: int | None = None
        """What the system last said is left."""

    @contextlib.asynccontextmanager
    async def turn(self, deadline: float) -> AsyncIterator[None]:
        """
        Wait for a turn; raises `Crowded` when none is free before *deadline* (monotonic), and `Unavailable`
        when the system itself said to wait longer.
        """
        try:
            async with asyncio.timeout(max(0.0, deadline - self._clock.monotonic())):
                await self._slots.acquire()
        except TimeoutError:
            raise Crowded(f"All {self._rule.concurrency} requests of {self._rule.name!r} are in use.") from None
        try:
            await self._take(deadline)
            yield
        finally:
            self._slots.release()

    async def _take(self, deadline: float) -> None:
        now = self._clock.monotonic()
        self._refill(now)
        asked, wait = self._shut_until - now, (1.0 - self._left) / self._pace
        wait = max(asked, wait, 0.0)
        if now + wait > deadline:
            kind = Unavailable if now + asked > deadline else Crowded
            raise kind(f"The rate budget {self._rule.name!r} is used up.", retry_after=wait)
        self._left -= 1.0
        if wait > 0:
            await self._clock.sleep(wait)

    @property
    def _pace(self) -> float:
        return self._size / self._rule.per

    def _refill(self, now: float) -> None:
        self._left = min(self._size, self._left + (now - self._at) * self._pace)
        self._at = now

    def learn(self, headers: Mapping[str, str]) -> None:
        """
        Correct the bucket by an answer's headers.
        """
        self._refill(self._clock.monotonic())
        limit = _whole(headers.get(self._rule.limit or ""))
        if limit:
            self._left += limit - self._size
            self._size = float(limit)
        left = _whole(headers.get(self._rule.remaining or ""))
        if left is None:
            return
        self.quota_left = left
        self._left = min(self._left, float(left))
        if left == 0 and (wait := self.reset_in(headers)) is not None:
            self.pause(wait)

    def reset_in(self, headers: Mapping[str, str]) -> float | None:
        """
        Return seconds until there are more requests, as the system says.
        """
        said = _whole(headers.get(self._rule.reset or ""))
        if said is None:
            return None
        seconds = said if self._rule.reset_form == "seconds" else said - self._clock.now_ms() / 1000
        return min(max(0.0, float(seconds)), LONGEST_PAUSE)

    def pause(self, seconds: float) -> None:
        """
        Send nothing for *seconds*.
        """
        until = self._clock.monotonic() + min(seconds, LONGEST_PAUSE)
        self._shut_until = max(self._shut_until, until)


def _whole(text: str | None) -> int | None:
    return int(text) if text is not None and text.isdecimal() and len(text) < 16 else None
