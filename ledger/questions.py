"""
What people ask of the ledger.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from ledger.costs import Costs
from ledger.pairing import Pairing
from schemas.entries import Run, RunDetail, State, Verdict


@dataclass(frozen=True, slots=True, kw_only=True)
class RunQuery:
    """
    Which runs to list, newest first; every field narrows.
    """

    pipeline: str | None = None
    subject: str | None = None
    verdict: Verdict | None = None
    state: State | None = None
    since: int | None = None
    """UTC milliseconds, on `created_at`."""
    until: int | None = None
    error: str | None = None
    """Only runs whose reason contains this, in any case."""
    oldest_first: bool = False
    limit: int = 50


class Questions(Costs, Pairing, Protocol):
    """
    Answers them.
    """

    async def runs(self, query: RunQuery) -> list[Run]:
        """
        List runs, newest first.
        """
        ...

    async def detail(self, run: str) -> RunDetail | None:
        """
        Return everything known of a run, by its id or an unambiguous prefix of at least 6 digits.
        """
        ...

    async def spent(self, scope: str, period: str) -> tuple[int, int]:
        """
        Return (spent, reserved) in micro-USD.
        """
        ...

    async def counts(self, pipelines: Sequence[str] | None = None) -> dict[tuple[str, str], int]:
        """
        Return how many runs each (pipeline, verdict or state) has.
        """
        ...
