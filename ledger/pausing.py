"""
Pauses: pipelines that a person keeps from starting anything.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

GATE = "pipeline:"  # begins the name of the gate a paused pipeline's runs wait at


def gate_of(pipeline: str) -> str:
    """
    Return the gate at which a paused pipeline's runs wait.
    """
    return GATE + pipeline


@dataclass(frozen=True, slots=True, kw_only=True)
class Pause:
    """
    Why and for how long nothing of a pipeline starts.
    """

    pipeline: str
    reason: str
    since: int
    until: int | None
    """UTC ms at which it ends by itself; None: when somebody resumes it."""


class Pausing(Protocol):
    """
    The part of the ledger that knows of pauses.
    """

    async def pause(self, pipeline: str, *, reason: str, until: int | None = None) -> None:
        """
        Let nothing of *pipeline* start until UTC ms *until*, or until it is resumed. What runs goes on.
        """
        ...

    async def resume(self, pipeline: str) -> bool:
        """
        Let *pipeline* go on, oldest run first; False when it was not paused.
        """
        ...

    async def pauses(self) -> list[Pause]:
        """
        Return the pauses that hold now, the longest first.
        """
        ...
