"""
A bus that lives as long as its process: for tests, previews and trying things out.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from operator import attrgetter

from bus.contract import Message, Partition, Position
from bus.local import LocalBus
from bus.log import MOST_READ_BYTES, Heard, Placed, Seat, Span, fenced, unheard
from bus.roster import Roster, Share
from penstock.clock import Clock

_APPENDED = attrgetter("timestamp_ms")


class MemoryLog:
    """
    Logs in lists.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._logs: dict[Partition, list[Message]] = {}
        self._positions: dict[str, dict[Partition, int]] = {}
        self._rosters: dict[tuple[str, str], Roster] = defaultdict(Roster)
        self._heard: Heard = unheard
        self.topics: dict[str, int] = {}
        self.spans: dict[Partition, Span] = {}

    async def create(self, topic: str, partitions: int) -> None:
        if topic in self.topics:
            return
        self.topics[topic] = partitions
        for number in range(partitions):
            partition = Partition(topic, number)
            self._logs[partition] = []
            self.spans[partition] = Span(0, 0)

    async def append(self, placed: Sequence[Placed]) -> list[Position]:
        now = self._clock.now_ms()
        positions = [self._append(one, now) for one in placed]
        self._heard({position.topic for position in positions})
        return positions

    async def read(self, wanted: Mapping[Partition, int], most: int) -> list[Message]:
        found: list[Message] = []
        room = MOST_READ_BYTES
        for partition, offset in wanted.items():
            start = max(0, offset - self.spans[partition].first)
            for message in self._logs[partition][start : start + most - len(found)]:
                if room <= 0:
                    return found
                found.append(message)
                room -= message.size
        return found

    async def offset_at(self, partition: Partition, at_ms: int) -> int:
        return self.spans[partition].first + bisect_left(self._logs[partition], at_ms, key=_APPENDED)

    def positions(self, group: str, topic: str) -> dict[Partition, int]:
        stored = self._positions.get(group, {})
        return {partition: offset for partition, offset in stored.items() if partition.topic == topic}

    def readers(self, partition: Partition) -> dict[str, int]:
        return {group: stored[partition] for group, stored in self._positions.items() if partition in stored}

    def listen(self, heard: Heard, _shifted: Callable[[], None]) -> None:
        self._heard = heard

    async def start(self, group: str, positions: Mapping[Partition, int]) -> None:
        self._positions[group] = dict(positions) | self._positions.get(group, {})

    async def store(self, by: Seat, positions: Mapping[Partition, int], epochs: Mapping[Partition, int]) -> None:
        numbers = {partition.number: epoch for partition, epoch in epochs.items()}
        if lost := self._rosters[by.group, by.topic].lost(by.member, numbers):
            raise fenced(by, [Partition(by.topic, number) for number in lost])
        self._positions.setdefault(by.group, {}).update(positions)

    async def settle(self, group: str, topic: str, members: Sequence[bytes]) -> dict[bytes, Share]:
        return self._rosters[group, topic].settle(members, self.topics[topic])

    async def release(self, by: Seat, partitions: Sequence[Partition]) -> None:
        self._rosters[by.group, by.topic].release(by.member, [one.number for one in partitions])

    async def leave(self, by: Seat) -> None:
        self._rosters[by.group, by.topic].leave(by.member)

    def watch(self, seconds: float) -> None:
        """
        Nobody else publishes.
        """

    async def trim(self, partition: Partition, before_ms: int, most: int) -> int:
        log = self._logs[partition]
        gone = min(most, bisect_left(log, before_ms, key=_APPENDED))
        del log[:gone]
        first, end = self.spans[partition]
        self.spans[partition] = Span(first + gone, end)
        return gone

    async def close(self) -> None:
        self._logs = {partition: [] for partition in self._logs}

    def _append(self, placed: Placed, now: int) -> Position:
        partition, outgoing = placed
        log, (first, end) = self._logs[partition], self.spans[partition]
        message = Message(
            topic=partition.topic,
            partition=partition.number,
            offset=end,
            key=outgoing.key,
            value=outgoing.value,
            headers=tuple(outgoing.headers),
            timestamp_ms=max(now, log[-1].timestamp_ms) if log else now,
        )
        log.append(message)
        self.spans[partition] = Span(first, end + 1)
        return Position(partition.topic, partition.number, end)


class MemoryBus(LocalBus):
    """
    A bus without a file; it keeps every promise but surviving its process.
    """

    def __init__(self, *, partitions: int, keep: float, clock: Clock) -> None:
        super().__init__(MemoryLog(clock), partitions=partitions, keep=keep, clock=clock)
