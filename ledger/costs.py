"""
What model calls came to: sums of the calls the ledger still has, by what they were for.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Literal, Protocol

Dimension = Literal["pipeline", "tenant", "user", "model", "config_hash", "slot"]
SLOT = 900_000  # ms: in every zone days begin at the beginning of one


@dataclass(frozen=True, slots=True, kw_only=True)
class CostQuery:
    """
    Which calls to sum, and by what to tell them apart.
    """

    since: int
    """UTC milliseconds at which a call ended at the earliest."""
    until: int
    by: Collection[Dimension] = ()
    pipeline: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Shared:
    """
    What summed ones have in common, as far as it was asked for.
    """

    pipeline: str = ""
    """Empty, as the next ones, when it was not asked for, and when nobody knows."""
    tenant: str = ""
    user: str = ""
    model: str = ""
    config_hash: str = ""
    slot: int = 0
    """Quarters of an hour since the epoch."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CostSum(Shared):
    """
    Calls that have everything in common which was asked for, and their outcome.
    """

    outcome: str
    late: bool
    priced: bool
    calls: int
    tokens_in: int
    tokens_out: int
    tokens_cached: int
    cost: int
    """Micro-USD."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SavingSum(Shared):
    """
    Answers that were taken from the cache and have everything in common which was asked for.
    """

    hits: int
    saved: int
    """Micro-USD they had cost when a model was asked for them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClimbSum:
    """
    Asks that went the same way: the same models, in turn, for the same reasons.
    """

    models: tuple[str, ...]
    """By rung; the last one asked was the last one needed."""
    causes: tuple[str, ...]
    """Why each was not enough, but for the last."""
    outcome: str
    """Of the last call: `ok`, or an error class."""
    asks: int = 0
    cost: int = 0
    """Micro-USD of all calls."""
    costs: tuple[int, ...] = ()
    """The same by rung."""
    tokens_in: int = 0
    """Of the last call of each, as the next ones."""
    tokens_out: int = 0
    tokens_cached: int = 0


class Costs(Protocol):
    """
    Says what calls came to.
    """

    async def costs(self, query: CostQuery) -> list[CostSum]:
        """
        Return the sums of every call in the time of *query*.
        """
        ...

    async def savings(self, query: CostQuery) -> list[SavingSum]:
        """
        Return the sums of every answer that was taken from the cache in the time of *query*.
        """
        ...

    async def climbs(self, query: CostQuery) -> list[ClimbSum]:
        """
        Return how the asks of one pipeline went; *query* names it.
        """
        ...

    async def configs(self, hashes: Collection[str]) -> dict[str, str]:
        """
        Return the texts of these configurations, as far as they are known.
        """
        ...
