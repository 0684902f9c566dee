"""
Drafts: what a run put before people, and what they said of it.

A draft is written down before anybody sees it, so that no answer comes too early. What somebody said first holds, and
is kept whether or not its run stands aside already.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from ledger.offer import Claim

Choice = Literal["approve", "discard", "expired"]
Taken = Literal["taken", "late", "gone", "unknown"]
"""
Of a decision: it holds · another came before it, or its time was over · its run ended without it, or was made
again · there is no such draft.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """
    One draft.
    """

    key: str
    """The idempotency key of the step that put it before people."""
    run: str
    step: str
    generation: int
    record: str
    args: Mapping[str, Any]
    """What was put before them."""
    choice: Choice | None
    text: str | None
    """As a person changed it."""
    person: str | None
    at: int
    """UTC ms, as the others."""
    expires_at: int
    decided_at: int | None


class Drafting(Protocol):
    """
    Keeps drafts.
    """

    async def put_draft(
        self, claim: Claim, step: str, key: str, *, record: str, args: Mapping[str, Any], expires_at: int
    ) -> None:
        """
        Write down what is about to be put before people; once per key.
        """
        ...

    async def shown_draft(self, key: str, expires_at: int) -> None:
        """
        Note that people see a draft now, and until when they may decide; once somebody did, it stays as it is.
        """
        ...

    async def draft(self, key: str) -> Draft | None:
        """
        Return one draft.
        """
        ...

    async def drafts(self, run: str) -> list[Draft]:
        """
        Return the drafts of a run, oldest first.
        """
        ...

    async def decide_draft(
        self, key: str, choice: Literal["approve", "discard"], *, person: str, text: str | None = None
    ) -> Taken:
        """
        Keep what a person said, and let the run go on when it stands aside for it.
        """
        ...

    async def expire_drafts(self) -> int:
        """
        End drafts nobody said anything of in time, and let their runs go on to their end; return how many.
        """
        ...
