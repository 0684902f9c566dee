"""
The default bus: one SQLite file that survives kill -9 and power loss. It needs no server, and serves one host.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from bus import logfile
from bus.contract import Message, Partition, Position
from bus.local import LocalBus
from bus.locks import Locks
from bus.log import Heard, Placed, Seat, Span, unheard, unshifted
from bus.logfile import News
from bus.reader import Reader
from bus.roster import Share
from bus.writer import Writer
from penstock.clock import Clock
from penstock.errors import Invalid, Unavailable, Unreachable


class FileLog:
    """
    Logs in a SQLite file. What is durable is also known here; what other
    processes add is heard of soon.
    """

    def __init__(self, path: Path, clock: Clock) -> None:
        self._clock = clock
        self._heard: Heard = unheard
        self._shifted: Callable[[], None] = unshifted
        self._positions: dict[str, dict[Partition, int]] = {}
        self._closed = False
        self.topics: dict[str, int] = {}
        self.spans: dict[Partition, Span] = {}
        self._locks = _locks(path)
        try:
            self._writer = Writer(path, self._locks, self._learn)
        except sqlite3.Error as error:
            self._locks.close()
            raise _refused(path, error) from error
        except BaseException:
            self._locks.close()
            raise
        self._reader = Reader(path)

    async def create(self, topic: str, partitions: int) -> None:
        self._check()
        if topic not in self.topics:
            await self._writer.submit(lambda file: file.create(topic, partitions))

    async def append(self, placed: Sequence[Placed]) -> list[Position]:
        self._check()
        headers = [logfile.pack(message.headers) for _, message in placed]
        return await self._writer.submit(lambda file: file.append(placed, headers, self._clock.now_ms()), len(placed))

    async def read(self, wanted: Mapping[Partition, int], most: int) -> list[Message]:
        self._check()
        return await self._reader.read(wanted, most)

    async def offset_at(self, partition: Partition, at_ms: int) -> int:
        self._check()
        return await self._reader.offset_at(partition, self.spans[partition], at_ms)

    def positions(self, group: str, topic: str) -> dict[Partition, int]:
        stored = self._positions.get(group, {})
        return {partition: offset for partition, offset in stored.items() if partition.topic == topic}

    def readers(self, partition: Partition) -> dict[str, int]:
        return {group: stored[partition] for group, stored in self._positions.items() if partition in stored}

    def listen(self, heard: Heard, shifted: Callable[[], None]) -> None:
        self._heard, self._shifted = heard, shifted

    async def start(self, group: str, positions: Mapping[Partition, int]) -> None:
        self._check()
        wanted = dict(positions)
        await self._writer.submit(lambda file: file.start(group, wanted))

    async def store(self, by: Seat, positions: Mapping[Partition, int], epochs: Mapping[Partition, int]) -> None:
        self._check()
        wanted = dict(positions)
        await self._writer.submit(lambda file: file.store(by, wanted, epochs))

    async def settle(self, group: str, topic: str, members: Sequence[bytes]) -> dict[bytes, Share]:
        self._check()
        count = self.topics[topic]
        return await self._writer.submit(lambda file: file.rosters.settle(group, topic, members, count))

    async def release(self, by: Seat, partitions: Sequence[Partition]) -> None:
        self._check()
        numbers = [partition.number for partition in partitions]
        await self._writer.submit(lambda file: file.rosters.release(by, numbers))

    async def leave(self, by: Seat) -> None:
        self._check()
        await self._writer.submit(lambda file: file.rosters.leave(by))

    def watch(self, seconds: float) -> None:
        if not self._closed:
            self._writer.watch(seconds)

    async def trim(self, partition: Partition, before_ms: int, most: int) -> int:
        self._check()
        return await self._writer.submit(lambda file: file.trim(partition, before_ms, most))

    async def close(self) -> None:
        if not self._closed:
            self._closed = True
            await self._reader.close()
            await self._writer.close()
            self._locks.close()

    def _learn(self, news: News) -> None:
        self.topics.update(news.topics)
        self.spans.update(news.spans)
        for group, positions in news.positions.items():
            self._positions.setdefault(group, {}).update(positions)
        if news.appended:
            self._heard(news.appended)
        if news.shifted:
            self._shifted()

    def _check(self) -> None:
        if self._closed:
            message = "the bus is closed"
            raise Unavailable(message)


class EmbeddedBus(LocalBus):
    """
    A bus in the file *path*, which the processes of one host share.

    Raises `Unreachable` when it cannot be used, `Invalid` when the file is not a bus.
    """

    def __init__(self, path: Path, *, partitions: int, keep: float, clock: Clock) -> None:
        super().__init__(FileLog(path, clock), partitions=partitions, keep=keep, clock=clock)


def _locks(path: Path) -> Locks:
    try:
        logfile.create(path)
        return Locks(path)
    except OSError as error:
        message = f"the bus file {str(path)!r} cannot be opened: {error.strerror}"
        raise Unreachable(message) from error


def _refused(path: Path, error: sqlite3.Error) -> Invalid | Unreachable:
    if getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_NOTADB:
        return Invalid(f"{str(path)!r} is not a bus file", hint="move it away, or give this hub another state folder")
    return Unreachable(f"the bus file {str(path)!r} cannot be opened: {error}")
