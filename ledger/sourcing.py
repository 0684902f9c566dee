"""
How far sources were read: polls and streams of systems that do not deliver.

One worker at a time leads a source (`Batching.lead`). A cursor is kept only by whoever leads it: one who slept,
and was taken for gone, moves nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

LEAD = "source:"
"""Before the name of a source: what is led."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CursorEntry:
    """
    Where the next reading of a source begins.
    """

    source: str
    """`connection/name`."""
    cursor: bytes
    """In the connector's own words."""
    at: int
    """UTC ms of the last page that moved it."""


class Sourcing(Protocol):
    """
    Keeps cursors.
    """

    async def cursor(self, source: str) -> CursorEntry | None:
        """
        Return where the next reading of *source* begins; None when it was never read.
        """
        ...

    async def cursors(self) -> list[CursorEntry]:
        """
        Return the cursor of every source that was ever read.
        """
        ...

    async def keep_cursor(self, source: str, cursor: bytes) -> bool:
        """
        Keep how far this worker has read *source*; False, and nothing kept, when it does not lead it any more.
        """
        ...

    async def leads(self, what: str) -> bool:
        """
        Return whether this worker still leads *what*.
        """
        ...

    async def stop_leading(self, what: str) -> None:
        """
        Let another lead *what* at once.
        """
        ...

    async def forget_cursor(self, source: str) -> None:
        """
        Let the next reading of *source* begin as its first did.
        """
        ...
