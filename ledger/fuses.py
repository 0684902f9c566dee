"""
Fuses: a lane in which a pipeline wrote too often in too short a time takes nothing more until that is over.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from ledger.contract import Claim

FUSE = "fuse"
"""
Kind of parcel.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fuse:
    """
    A fuse that blew.
    """

    tenant: str
    pipeline: str
    lane: str
    since: int
    """UTC ms at which it blew."""
    until: int
    """UTC ms from which the lane runs again, unless it goes on like this."""
    stopped: int
    """Events it has stopped."""


class Fuses(Protocol):
    """
    Counts what lanes did, and remembers which fuses blew.
    """

    async def delivered_lately(self, claim: Claim, count: int) -> int | None:
        """
        Return the UTC ms at which the last run but *count* - 1 of the claim's lane ended that was delivered, or
        changed nothing; None when there were not so many. What came back to its lane does not count.
        """
        ...

    async def blow(self, claim: Claim, *, until: int, limit: str) -> None:
        """
        Note that the claim's run is stopped by its lane's fuse, which holds until UTC ms *until*.

        People are told once, until it is over; *limit* is what was allowed, for them to read. Raises `Fenced`.
        """
        ...

    async def fuses(self) -> list[Fuse]:
        """
        Return the fuses that hold now, the newest first.
        """
        ...
