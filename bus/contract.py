"""
How events travel: a log with topics, ordered partitions, keys, consumer groups and positions.

The contract is pull. `memory`, `embedded` and `kafka` keep the same promises and run one
behaviour suite:

- `publish` returns when the message is durable; messages of one key keep their order.
- A group reads each partition in order, at least once; `commit` stores the next position to read.
- A fetch of a paused partition gives nothing; pausing loses nothing.
- A new group starts where `start` says, and the starting position is recorded before its first fetch.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, Protocol

Start = Literal["now", "oldest"] | int | Mapping[int, int]
"""
Where a new group begins: after the last message, at the first, at a time in UTC milliseconds, or at an
offset per partition number, as somebody else remembered them. What such an offset has lost, because
the log no longer has it, begins at the oldest; a partition it does not name begins at the end.
"""


class Partition(NamedTuple):
    """
    One ordered log of a topic.
    """

    topic: str
    number: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Outgoing:
    """
    A message to publish.
    """

    topic: str
    key: bytes | None
    value: bytes
    headers: Sequence[tuple[str, bytes]] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """
    A message as it was read.
    """

    topic: str
    partition: int
    offset: int
    key: bytes | None
    value: bytes
    headers: tuple[tuple[str, bytes], ...]
    timestamp_ms: int
    """When the bus appended it, UTC."""

    @property
    def source(self) -> Partition:
        """
        The partition it was read from.
        """
        return Partition(self.topic, self.partition)

    @property
    def size(self) -> int:
        """
        Bytes it holds in memory, about.
        """
        return len(self.value) + len(self.key or b"") + sum(len(n) + len(v) for n, v in self.headers) + 200


class Position(NamedTuple):
    """
    Where a message was appended.
    """

    topic: str
    partition: int
    offset: int


class TopicFacts(NamedTuple):
    """
    What a topic is.
    """

    partitions: int
    identity: str
    """Another one when it was deleted and made anew under the same name; empty where nobody can tell."""


Rebalanced = Callable[[Sequence[Partition]], Awaitable[None]]
Lost = Callable[[Partition, int], Awaitable[None]]
"""Hears how many messages of a partition were deleted before the group had read them."""


class Subscription(Protocol):
    """
    One member of a consumer group reading one topic.
    """

    async def fetch(self, most: int, *, wait: float) -> list[Message]:
        """
        Return up to *most* messages of the partitions that are not paused, in order per partition.

        Waits up to *wait* seconds for the first one; an empty list when none came.
        """
        ...

    def pause(self, partitions: Sequence[Partition]) -> None:
        """
        Stop fetching *partitions*; what was fetched stays fetched.
        """
        ...

    def resume(self, partitions: Sequence[Partition]) -> None:
        """
        Fetch *partitions* again, from where they were paused.
        """
        ...

    async def commit(self, positions: Mapping[Partition, int]) -> None:
        """
        Store the next offset to read per partition, durably.
        """
        ...

    async def committed(self) -> dict[Partition, int]:
        """
        Return the stored next offset per assigned partition.
        """
        ...

    async def lag(self) -> dict[Partition, int]:
        """
        Return how many messages lie after the stored position, per assigned partition.
        """
        ...

    async def seek_to_time(self, at_ms: int) -> None:
        """
        Read next the first message appended at or after *at_ms*, in every assigned partition.
        """
        ...

    async def close(self) -> None:
        """
        Leave the group; what was not committed is read again by the next member.
        """
        ...


class Bus(Protocol):
    """
    The log itself.
    """

    async def ensure_topic(self, topic: str, partitions: int) -> None:
        """
        Create *topic*; raises `Invalid` when it exists with another partition count.
        """
        ...

    async def facts(self, topic: str) -> TopicFacts | None:
        """
        Return what *topic* is; None when there is none.
        """
        ...

    async def publish(self, messages: Sequence[Outgoing]) -> list[Position]:
        """
        Append *messages*, all or none, and return when they are durable.

        On Kafka a cluster that goes away in the middle may keep some of them: publish again, the identity of an
        event tells. Raises `Unavailable` when the bus cannot take them now (no disk, closed).
        """
        ...

    async def subscribe(
        self,
        topic: str,
        group: str,
        *,
        start: Start = "now",
        on_assigned: Rebalanced | None = None,
        on_revoked: Rebalanced | None = None,
        on_lost: Lost | None = None,
    ) -> Subscription:
        """
        Join *group* on *topic*; *start* matters only the first time a group is seen.
        """
        ...

    async def read(self, topic: str, partition: int, offset: int) -> Message | None:
        """
        Return one message for people to look at; None when it is not, or no longer, there.
        """
        ...

    async def close(self) -> None:
        """
        Finish what was accepted and close.
        """
        ...
