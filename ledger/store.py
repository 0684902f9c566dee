"""
Where operations run: one writer and a few readers over one database, or one connection in memory.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from ledger import file, gates
from ledger.connection import Connection, Operation
from ledger.file import File
from ledger.lease import Lease
from ledger.locks import NONE, Locks
from ledger.reader import Reader
from ledger.writer import Writer
from penstock.errors import Invalid, Unreachable
from penstock.lock import FileLock

T = TypeVar("T")


class Store:
    """
    An open ledger: a file, memory, or PostgreSQL.
    """

    def __init__(self, *, writer: Writer | None, reader: Reader | None, lock: FileLock | None, secret: bytes) -> None:
        self._writer = writer
        self._reader = reader
        self.lock = lock
        self.closed = False
        self.secret = secret
        """32 random bytes made with the ledger."""

    @classmethod
    def to_write(cls, path: Path | None, lease: Lease, *, now: int, fail: Callable[[str], None]) -> Store:
        """
        Open or make *path* (None: in memory) as the only process that writes it.
        """
        lock = None
        try:
            if path is not None:
                path.parent.mkdir(parents=True, exist_ok=True)
                lock = FileLock(path, what="ledger")
            writer = Writer(File(path), tick=lease.renew, ticked=lease.renewed, every=lease.every, fail=fail)
            secret = writer.start(lambda connection: _prepare(connection, path, lease, now))
        except (OSError, sqlite3.Error) as error:
            if lock is not None:
                lock.release()
            raise _unusable(path, error) from error
        return cls(writer=writer, reader=Reader(File(path)) if path else None, lock=lock, secret=secret)

    @classmethod
    def to_read(cls, path: Path) -> Store:
        """
        Open *path* beside the process that writes it.
        """
        try:
            connection = file.existing(path)
            secret = file.meta(connection, "secret")
            connection.close()
        except sqlite3.Error as error:
            raise _unusable(path, error) from error
        return cls(writer=None, reader=Reader(File(path)), lock=None, secret=bytes(secret or b""))

    def write(self, operation: Operation[T], needs: Locks = NONE) -> asyncio.Future[T]:
        """
        Return a future of what *operation* returns, done once it is durable.
        """
        if self._writer is None:
            message = "this ledger was opened to read"
            raise Invalid(message, hint="open it without read_only=True")
        return self._writer.submit(operation, needs)

    async def read(self, operation: Operation[T]) -> T:
        """
        Return what *operation* reads, past everything that waits to be written.
        """
        if self._reader is None:
            return await self.write(operation)
        return await self._reader.read(operation)

    async def close(self) -> None:
        """
        Finish what was submitted, close the database and let others open it.
        """
        self.closed = True
        if self._writer is not None:
            await self._writer.close()
        if self._reader is not None:
            self._reader.close()
        if self.lock is not None:
            self.lock.release()


def _prepare(connection: Connection, path: Path | None, lease: Lease, now: int) -> bytes:
    file.prepare(connection, path)
    lease.take(connection, now)
    gates.give_up_probes(connection, sent_before=now + 1)
    return bytes(file.meta(connection, "secret") or b"")


def _unusable(path: Path | None, error: Exception) -> Unreachable:
    return Unreachable(
        f"the ledger {str(path)!r} cannot be opened: {error}; check `hub.state`, its rights and its disk"
    )
