"""
What a store of secrets is to us.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Literal, Protocol

from penstock.clock import Clock
from penstock.secrets.values import Secret

OVERLAP = 24 * 3600.0  # seconds after a rotation in which the version before is believed as well

Why = Literal["away", "refused", "gone"]
"""No answer for now; an answer that a person must change; an answer that there is no such secret."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Versions:
    """
    A secret as its store has it now.
    """

    current: Secret
    previous: Secret | None = None
    """The version before, during the overlap."""
    told: bool = False
    """Whether the store has said what there is of the version before; else what we saw ourselves counts."""


class NotGiven(Exception):
    """
    A store did not hand out a secret: *problem* says what is wrong and how to mend it, never a value.
    """

    def __init__(self, problem: str, why: Why) -> None:
        super().__init__(problem)
        self.problem = problem
        self.why: Why = why


class Store(Protocol):
    """
    One kind of store, with our login to it.
    """

    async def fetch(self, name: str) -> Versions:
        """
        Return what is kept under *name*; raises `NotGiven`. It never blocks the event loop.

        A secret with several fields comes as a JSON object.
        """
        ...

    async def close(self) -> None:
        """
        Close what it opened itself.
        """
        ...


def overlaps(made_ms: float, clock: Clock) -> bool:
    """
    Say whether a version made at UTC ms *made_ms* is so new that the one before may be in use.
    """
    return clock.now_ms() - made_ms < OVERLAP * 1000


def ms(moment: object) -> float:
    """
    Return a time as stores write it (RFC 3339) in UTC ms; long ago when it is none.
    """
    try:
        return datetime.fromisoformat(str(moment)).timestamp() * 1000
    except ValueError:
        return 0.0
