"""
Pairs: two models' answers to one question, compared. No answer is in them.

A pair is kept with the end of the step that made it complete, and forgotten with its run.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from ledger.costs import CostQuery

SHADOW = "ask:shadow"
"""The step that asks the second model; no delivery can be called so."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """
    What the model of a route that is asked first said to a question, and what the next one did.
    """

    route: str
    small: str
    """The model that was asked first; the names are those of `models`."""
    large: str
    """The next one."""
    kept: bool
    """Whether the small one's answer was used: then the large one was asked for comparison only."""
    share: float
    """Of the used answers, how many were compared when this was: 0.02 for 2%. Those not used all are."""
    agree: bool
    scores: Mapping[str, float] = field(default_factory=dict)
    """How sure the small one was: each number that `escalate_when` reads, by its path, e.g. `output.confidence`."""
    small_cost: int
    """Micro-USD, as the next one."""
    large_cost: int
    at: int = 0
    """UTC ms."""


class Pairing(Protocol):
    """
    Says what comparing came to.
    """

    async def pairs(self, query: CostQuery) -> list[Pair]:
        """
        Return what was compared for the pipeline that *query* names, oldest first.
        """
        ...

    async def shadow_cost(self, query: CostQuery) -> int:
        """
        Return the micro-USD of all calls that only compared, for the pipeline that *query* names.
        """
        ...
