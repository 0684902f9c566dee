"""
When to try again: policies return a decision, they never sleep.
"""

from __future__ import annotations

import random as chance
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

LONGEST_ASKED = 3600.0  # seconds; a system that asks for more is asked again after this
_SECONDS = re.compile(r"[0-9]{1,12}(\.[0-9]{1,9})?")
_DATE_LENGTH = 64  # characters


@dataclass(frozen=True, slots=True, kw_only=True)
class Backoff:
    """
    Exponential back-off with full jitter: after failure n, wait a random part of `first * 2 ** (n - 1)`.
    """

    first: float = 2.0
    """Seconds the first wait lasts at most."""
    last: float = 60.0
    """Seconds any wait lasts at most, unless the system asks for more."""
    attempts: int = 4
    """How many times to try again."""

    def decide(
        self,
        attempt: int,
        retry_after: float | None = None,
        random: Callable[[], float] = chance.random,
    ) -> float | None:
        """
        Return the seconds to wait after failure number *attempt* (the first is 1); None to give up.

        What the system asked for in *retry_after* is waited out, up to an hour, and a little longer,
        so that not everybody comes back at the same moment.
        """
        if attempt > self.attempts:
            return None
        doubled = min(max(attempt, 1) - 1, 64)
        jitter = random() * min(self.last, self.first * 2.0**doubled)
        if retry_after is None:
            return jitter
        return min(max(retry_after, 0.0), LONGEST_ASKED) + min(jitter, self.first)


def parse_retry_after(value: str | None, now: datetime) -> float | None:
    """
    Return the seconds a `Retry-After` header asks for: a number or an HTTP date; None when it is neither.
    """
    text = (value or "").strip()
    if _SECONDS.fullmatch(text):
        return float(text)
    if not text or len(text) > _DATE_LENGTH:
        return None
    try:
        date = parsedate_to_datetime(text)
    except (ValueError, OverflowError):
        return None
    aware = date if date.tzinfo else date.replace(tzinfo=UTC)
    return max((aware - now).total_seconds(), 0.0)
