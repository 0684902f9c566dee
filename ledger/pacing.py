"""
Paces: how many requests and tokens a minute a provider takes for one credential and model.

All workers share them: what one sends, the others leave out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Protocol


@dataclass(frozen=True, slots=True, kw_only=True)
class Quota:
    """
    What may be sent per minute; 0 where there is no limit.
    """

    requests: int = 0
    tokens: int = 0
    """Of input and output together."""
    input_tokens: int = 0
    output_tokens: int = 0

    def parts(self, need: Need) -> tuple[float, float]:
        """
        Return which parts of a minute's requests and tokens *need* takes.
        """
        counted = (
            (need.input + need.output, self.tokens),
            (need.input, self.input_tokens),
            (need.output, self.output_tokens),
        )
        request = 1 / self.requests if self.requests else 0.0
        return request, max(count / most if most else 0.0 for count, most in counted)

    def within(self, other: Quota) -> Quota:
        """
        Return what keeps both quotas.
        """
        pairs = ((getattr(self, each.name), getattr(other, each.name)) for each in fields(self))
        return Quota(**dict(zip((each.name for each in fields(self)), (_lower(*pair) for pair in pairs), strict=True)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Need:
    """
    What one request takes of a quota, at most.
    """

    input: int
    """Tokens, as the next one."""
    output: int
    patient: bool = False
    """Whether it gives way to every other: it goes only where nobody waits."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """
    How fast requests go now.
    """

    name: str
    quota: Quota
    """As it was told, or guessed."""
    told: bool
    declared: bool = False
    """Whether the declaration told it, and not the provider."""
    paused_until: int
    """UTC ms."""
    cut: float
    """The share of the quota that is used; less than 1 after the provider asked to slow down."""
    next_at: int
    """UTC ms from which the next request may go; in the past when nobody waits."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Permits:
    """
    When requests may go.
    """

    due: tuple[int | None, ...]
    """UTC ms for each need; None for what would go too late: nothing is kept for it."""
    next_at: int
    """UTC ms at which the first of these could go, as it looks now."""
    pace: Pace


def _lower(one: int, other: int) -> int:
    return min(one, other) if one and other else one or other


class Pacing(Protocol):
    """
    The part of the ledger that knows of paces.
    """

    async def permits(self, pace: str, needs: Sequence[Need], *, back: Need, horizon: float) -> Permits:
        """
        Give each of *needs*, in turn, the time at which it may go, within *horizon* seconds; *back* was given
        before and was not used.

        A pace nobody has set lets everything through at once.
        """
        ...

    async def set_pace(self, pace: str, quota: Quota, *, told: bool, declared: bool = False) -> Pace:
        """
        Let *pace* keep *quota* from now on; what was given stays given.
        """
        ...

    async def forget_pace(self, pace: str) -> None:
        """
        Forget a pace that was declared, and is not any more; one that the provider told stays.
        """
        ...

    async def slow_down(self, pace: str, *, until: int, guess: Quota | None = None) -> Pace:
        """
        Let nothing go before UTC ms *until*, and less for some seconds from then on.

        *guess* is the quota of a pace that nobody has set.
        """
        ...

    async def paces(self) -> list[Pace]:
        """
        Return all paces by name.
        """
        ...
