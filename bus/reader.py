"""
Reading the bus file: on a connection of its own, in a thread, off the event loop.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from bus.contract import Message, Partition
from bus.log import MOST_READ_BYTES, Span
from bus.logfile import OFFSET_BITS, connect, unpack
from penstock.errors import Unavailable, Unreachable

_SELECT = "SELECT place, at_ms, key, value, headers FROM message WHERE place >= ? AND place < ? ORDER BY place LIMIT ?"
_AT = "SELECT at_ms FROM message WHERE place = ?"

T = TypeVar("T")


class Reader:
    """
    Reads messages; it never writes, so that it may open the file of a running hub.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._connection: sqlite3.Connection | None = None
        self._bases: dict[Partition, int] = {}
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="bus-reader")

    async def read(self, wanted: Mapping[Partition, int], most: int) -> list[Message]:
        """
        Return up to *most* messages, each partition from the offset it is given.
        """
        return await self._run(lambda connection: self._read(connection, wanted, most))

    async def offset_at(self, partition: Partition, span: Span, at_ms: int) -> int:
        """
        Return the offset in *span* of the first message appended at or after *at_ms*.
        """
        return await self._run(lambda connection: self._search(connection, partition, span, at_ms))

    async def close(self) -> None:
        """
        Close the connection.
        """
        await asyncio.to_thread(self._thread.shutdown)
        if self._connection is not None:
            self._connection.close()

    async def _run(self, work: Callable[[sqlite3.Connection], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._guard, work)

    def _guard(self, work: Callable[[sqlite3.Connection], T]) -> T:
        try:
            if self._connection is None:
                self._connection = connect(self._path, writing=False)
            return work(self._connection)
        except sqlite3.Error as error:
            if self._connection is not None:
                self._connection.close()
                self._connection = None
            message = f"the bus cannot read {self._path.name!r}: {error}"
            raise Unavailable(message) from error

    def _read(self, connection: sqlite3.Connection, wanted: Mapping[Partition, int], most: int) -> list[Message]:
        found: list[Message] = []
        room = MOST_READ_BYTES
        for partition, offset in wanted.items():
            base = self._base(connection, partition)
            if base is None:
                continue
            cursor = connection.execute(_SELECT, (base + offset, base + (1 << OFFSET_BITS), most - len(found)))
            for row in cursor:
                message = _message(partition, base, row)
                found.append(message)
                room -= message.size
                if room <= 0:
                    cursor.close()
                    return found
        return found

    def _search(self, connection: sqlite3.Connection, partition: Partition, span: Span, at_ms: int) -> int:
        base = self._base(connection, partition) or 0
        low, high = span
        while low < high:
            middle = (low + high) // 2
            found = connection.execute(_AT, (base + middle,)).fetchone()
            if found is None or found[0] < at_ms:  # a message just deleted was older than all that are left
                low = middle + 1
            else:
                high = middle
        return low

    def _base(self, connection: sqlite3.Connection, partition: Partition) -> int | None:
        if partition not in self._bases:
            found = connection.execute("SELECT id FROM log WHERE topic = ? AND number = ?", partition).fetchone()
            if found is None:
                return None
            self._bases[partition] = found[0] << OFFSET_BITS
        return self._bases[partition]


class Archive:
    """
    A bus file opened by somebody who only looks: it takes no lock and works beside a running hub.
    """

    def __init__(self, path: Path) -> None:
        if not path.is_file():
            message = f"there is no bus file {str(path)!r}; `penstock run` makes it"
            raise Unreachable(message)
        self._reader = Reader(path)

    async def read(self, topic: str, partition: int, offset: int) -> Message | None:
        """
        Return one message; None when it is not, or no longer, there.
        """
        if offset < 0:
            return None
        found = await self._reader.read({Partition(topic, partition): offset}, 1)
        return found[0] if found and found[0].offset == offset else None

    async def close(self) -> None:
        """
        Close the file.
        """
        await self._reader.close()


def _message(partition: Partition, base: int, row: tuple[int, int, bytes | None, bytes, bytes | None]) -> Message:
    place, at_ms, key, value, headers = row
    return Message(
        topic=partition.topic,
        partition=partition.number,
        offset=place - base,
        key=key,
        value=value,
        headers=unpack(headers),
        timestamp_ms=at_ms,
    )
