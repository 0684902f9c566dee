"""
The cache: questions whose answers are used again, and who asks them now.

It holds no text. An entry names the run that asks a question, or has asked it; the answer is that of the run's own
step, kept and forgotten with the run. So an answer is there as soon as it is paid for, and a run that dies, fails or
waits leaves nothing behind that others could wait for.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

from ledger.offer import Claim


@dataclass(frozen=True, slots=True, kw_only=True)
class Cached:
    """
    An answer that was paid for.
    """

    run: str
    """Who paid for it."""
    result: Any
    """What its step ended with; JSON data."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asking:
    """
    A run that asks the same question now.
    """

    run: str
    since: int
    """UTC ms."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Hit:
    """
    An answer that was taken from the cache, as it counts for money.
    """

    source: str
    """The run that had paid for it."""
    model: str
    saved: int
    """Micro-USD it had cost there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """
    What is asked, and how long an answer to it is good.
    """

    key: str
    """SHA-256 of everything the answer depends on, 64 hex digits."""
    step: str
    """Which step asks it."""
    keep: float
    """Seconds for which its answer is used."""
    patience: float
    """Seconds after which somebody who asks is no reason to wait any more."""


class Caching(Protocol):
    """
    The part of the ledger that knows of the cache.
    """

    async def cached(self, question: Question, claim: Claim) -> Cached | Asking | None:
        """
        Return the answer to *question*, or who asks it now; None when *claim*'s run may ask.
        """
        ...

    async def ask_for(self, question: Question, claim: Claim, *, anew: bool = False) -> bool:
        """
        Let *claim*'s run be the one that asks; False when there is an answer, or another asks, by now.

        *anew* lets it ask all the same, and its answer take the place of the other. Raises `Fenced`.
        """
        ...

    async def clear_cache(self, pipeline: str | None = None) -> int:
        """
        Let no answer of *pipeline*, or of any, be used again; return how many questions were forgotten.
        """
        ...
