"""
What a local bus stands on: ordered logs and stored positions, in memory or in a file.

Everything about groups, members and waiting is above it (`local.py`, `members.py`) and the same for both.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import NamedTuple, Protocol

from bus.contract import Message, Outgoing, Partition, Position
from bus.roster import Share
from penstock.errors import Fenced

MOST_READ_BYTES = 32 * 1024 * 1024  # one read stops here, however many messages were asked for

Placed = tuple[Partition, Outgoing]
"""A message whose partition is chosen."""
Heard = Callable[[Collection[str]], None]


def unheard(_topics: Collection[str]) -> None:
    """
    Tell nobody: what a log does before somebody listens.
    """


def unshifted() -> None:
    """
    Tell nobody either.
    """


def fenced(by: Seat, lost: Sequence[Partition]) -> Fenced:
    """
    Return the error of a member that commits what others read now.
    """
    names = ", ".join(f"{one.topic}/{one.number}" for one in lost)
    return Fenced(f"group {by.group!r} gave {names} to another member; drop what was read from there")


class Span(NamedTuple):
    """
    What a partition holds: offsets from *first* up to, not including, *end*.
    """

    first: int
    end: int


class Seat(NamedTuple):
    """
    One member of one group on one topic.
    """

    group: str
    topic: str
    member: bytes


class Log(Protocol):
    """
    Ordered logs, and the position of each group in them.

    Raises `Unavailable` from every coroutine when it cannot do its work now.
    """

    @property
    def topics(self) -> Mapping[str, int]:
        """
        The partition count of each topic.
        """
        ...

    @property
    def spans(self) -> Mapping[Partition, Span]:
        """
        What each partition durably holds.
        """
        ...

    async def create(self, topic: str, partitions: int) -> None:
        """
        Record *topic* with its partition count; nothing happens when it exists.
        """
        ...

    async def append(self, placed: Sequence[Placed]) -> list[Position]:
        """
        Append all of *placed* or none, durably.
        """
        ...

    async def read(self, wanted: Mapping[Partition, int], most: int) -> list[Message]:
        """
        Return up to *most* messages, each partition from the offset it is given, in the order of *wanted*.
        """
        ...

    async def offset_at(self, partition: Partition, at_ms: int) -> int:
        """
        Return the offset of the first message appended at or after *at_ms*; the end when there is none.
        """
        ...

    def positions(self, group: str, topic: str) -> dict[Partition, int]:
        """
        Return the positions *group* has stored in *topic*.
        """
        ...

    def readers(self, partition: Partition) -> dict[str, int]:
        """
        Return the stored position of every group in *partition*.
        """
        ...

    def listen(self, heard: Heard, shifted: Callable[[], None]) -> None:
        """
        Call *heard* with the topics whenever something was appended, *shifted* when members of groups may have changed.
        """
        ...

    async def start(self, group: str, positions: Mapping[Partition, int]) -> None:
        """
        Store *positions* of *group* where it has none, durably and all at once.
        """
        ...

    async def store(self, by: Seat, positions: Mapping[Partition, int], epochs: Mapping[Partition, int]) -> None:
        """
        Store *positions* of *by*'s group, durably and all at once; raises `Fenced` when one is not its any more.
        """
        ...

    async def settle(self, group: str, topic: str, members: Sequence[bytes]) -> dict[bytes, Share]:
        """
        Let *members* of this process into *group*, and return what each of them reads.
        """
        ...

    async def release(self, by: Seat, partitions: Sequence[Partition]) -> None:
        """
        Let others have *partitions*.
        """
        ...

    async def leave(self, by: Seat) -> None:
        """
        Take a member out of its group, and let others have what it had.
        """
        ...

    def watch(self, seconds: float) -> None:
        """
        Look for that long whether other processes publish: somebody waits for it.
        """
        ...

    async def trim(self, partition: Partition, before_ms: int, most: int) -> int:
        """
        Delete up to *most* of the oldest messages appended before *before_ms*; return how many went.
        """
        ...

    async def close(self) -> None:
        """
        Finish what was accepted and close.
        """
        ...
