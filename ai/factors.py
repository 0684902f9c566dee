"""
How many tokens of a model one o200k token makes, learned from what providers bill.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ai.models import ModelSpec

LOWEST, HIGHEST = 1.0, 2.0
START = {"anthropic": 1.25, "bedrock": 1.25, "google": 1.1, "vertex": 1.1}
FORGET = 0.02  # how far one smaller observation pulls the factor down
TELLING = 200  # tokens below which a ratio says more about overheads than about text


def factor(spec: ModelSpec) -> float:
    """
    Return the factor to begin with.
    """
    return START.get(spec.provider, LOWEST)


class Factors:
    """
    One factor per model: jumps up to what was seen, comes down slowly.
    """

    def __init__(self) -> None:
        self._learned: dict[str, float] = {}

    def of(self, spec: ModelSpec) -> float:
        """
        Return the factor of *spec* now.
        """
        return self._learned.get(spec.name, factor(spec))

    def observe(self, spec: ModelSpec, counted: int, billed: int) -> None:
        """
        Learn that *counted* tokens of ours were billed as *billed*.
        """
        if counted < TELLING or billed <= 0:
            return
        seen, now = billed / counted, self.of(spec)
        self._learned[spec.name] = min(max(seen, now + (seen - now) * FORGET, LOWEST), HIGHEST)
