"""
Lineage: which of our writes an event comes of, and how many writes led to it.

Nothing is kept of events that come of no write of ours, which are nearly all.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol

if TYPE_CHECKING:
    from schemas.entries import OriginEntry


@dataclass(frozen=True, slots=True, kw_only=True)
class Cause:
    """
    A write of ours that may have led to an event.
    """

    run: str
    """The run that wrote."""
    pipeline: str
    step: str
    fields: frozenset[str]
    """Names of the fields its echo reports as changed; empty when nobody said."""
    state: Literal["open", "done", "unknown"]
    began_at: int
    """UTC ms at which the request could leave."""
    at: int
    """UTC ms at which it ended; of an open one, at which it began."""
    made: bool
    """Whether the record was made by it, not changed."""
    depth: int
    """How many writes of ours had led to the event of that run."""
    event: tuple[str, str]
    """Source and id of that event: it cannot have come of this write."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Heard:
    """
    An event as one pipeline hears of it.
    """

    run: str
    """The run it is."""
    pipeline: str
    event: str
    """Its type."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """
    What a run comes of, as it is remembered.
    """

    origin: OriginEntry
    beside: bool
    """Whether another event of its type had come of that write before."""


class Lineage(Protocol):
    """
    Finds causes, and remembers which run came of which.
    """

    async def causes(self, connection: str, record: str, since: int) -> list[Cause]:
        """
        Return our writes to *record*, and those that made it, since UTC ms, newest first; open ones included.
        """
        ...

    async def come_of(self, heard: Heard, origins: Sequence[OriginEntry], *, anyway: bool) -> Kept | None:
        """
        Remember, once, that a run comes of the first of *origins* that no other event of that type comes of yet.

        As far as that pipeline heard of it. Where all of them led to one already: of the very first with *anyway*,
        else of none, and nothing is kept. What was found first stays; the run's own writes are one deeper.
        """
        ...

    async def unexplained(self, heard: Heard, record: str, since: int) -> list[bytes]:
        """
        Return the events of *record* that ended as own writes of that pipeline since UTC ms, and come of no write yet.
        """
        ...
