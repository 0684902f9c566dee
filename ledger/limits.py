"""
Limits that are used up: what runs wait at then, who is told, and what was counted.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from penstock.errors import OverBudget

if TYPE_CHECKING:
    from ledger.contract import Cap, Claim

BUDGET_GATE = "budget:"


def gate_of(scope: str) -> str:
    """
    Return the gate at which runs wait for money of *scope*.
    """
    return scope if scope.startswith(BUDGET_GATE) else BUDGET_GATE + scope


class CapReached(OverBudget):
    """
    A call does not fit under one of its caps now.
    """

    def __init__(self, cap: Cap, *, amount: int, spent: int, reserved: int, waiting: bool = False) -> None:
        self.cap = cap
        self.amount = amount
        """Micro-USD the call may cost."""
        self.passing = spent + amount <= cap.limit
        """True when only calls under way, or runs that came before, are in its way."""
        first = "; runs that came before wait for it" if waiting else ""
        message = (
            f"a call of at most {amount} micro-USD does not fit under {cap.scope!r} for {cap.period!r}: "
            f"{spent} spent and {reserved} reserved of {cap.limit}{first}"
        )
        super().__init__(message, scope=f"{cap.scope}/{cap.period}", forever=amount > cap.limit)


@dataclass(frozen=True, slots=True, kw_only=True)
class Hold:
    """
    A budget's gate at which runs wait.
    """

    gate: str
    scope: str
    period: str
    limit: int
    """Micro-USD."""
    need: int
    """Micro-USD the oldest of them may cost."""
    until: int
    """UTC ms at which the next period begins."""
    since: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Purse:
    """
    What one scope has spent and reserved in one period.
    """

    scope: str
    period: str
    spent: int
    reserved: int
    limit: int
    """As it was at the last reservation; 0 when it is not known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Allowed:
    """
    So many events in so much time.
    """

    scope: str
    """Who has this rate, e.g. `pipeline:brief/user=42`."""
    count: int
    window_ms: int


class Limits(Protocol):
    """
    What a ledger does about limits.
    """

    async def hold(self, claim: Claim, body: bytes, cap: Cap, *, need: int | None, why: str) -> None:
        """
        Let the run wait at *cap*'s gate until a call of *need* micro-USD fits; without *need* only behind
        those who wait there already. Raises `Fenced`.

        The gate is looked at whenever the ledger is asked what is due: it lets runs through, oldest
        first, as far as the money reaches that has come back, or that a new period or limit brought.
        """
        ...

    async def holds(self, pipelines: Sequence[str] | None = None) -> list[Hold]:
        """
        Return the budget gates at which runs wait, of these pipelines when they are given.
        """
        ...

    async def limit(self, limits: Mapping[str, int | None]) -> None:
        """
        Give gates the limits of the present configuration: micro-USD by gate; None lets everything through.
        """
        ...

    async def reached(self, cap: Cap) -> None:
        """
        Report, once in its period, that nothing more fits under *cap*.
        """
        ...

    async def alerts(self, since: int) -> set[tuple[str, str, str]]:
        """
        Return scope, period and threshold of each alert that was given at or after UTC ms *since*.
        """
        ...

    async def purses(self, periods: tuple[str, str]) -> list[Purse]:
        """
        Return the money of this day and this month, of scopes that are one for everybody.
        """
        ...

    async def count(self, claim: Claim, rates: Sequence[Allowed], *, wait: bool) -> int:
        """
        Count the run's event once against all *rates*; return the UTC ms from which it may run.

        That is in the future when a rate is used up: with *wait* its place there is kept for it,
        else it is not counted.
        """
        ...
