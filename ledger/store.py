"""
Where operations run: one writer and a few readers over one database, or one connection in memory.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TypeVar

from ledger.connection import Operation
from ledger.locks import NONE, Locks
from ledger.reader import Reader
from ledger.writer import Writer
from penstock.errors import Invalid

T = TypeVar("T")


def nothing() -> None:
    """
    Leave nothing behind.
    """


class Store:
    """
    An open ledger: a file, memory, or PostgreSQL.
    """

    def __init__(
        self, *, writer: Writer | None, reader: Reader | None, secret: bytes, closed: Callable[[], None] = nothing
    ) -> None:
        self._writer = writer
        self._reader = reader
        self._closed = closed
        """Called once nothing is written any more."""
        self.closed = False
        self.secret = secret
        """32 random bytes made with the ledger."""

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

    async def look(self, operation: Operation[T]) -> T:
        """
        Return what the short *operation* reads, as `read` does; those asked for together share one view.
        """
        if self._reader is None:
            return await self.write(operation)
        return await self._reader.look(operation)

    async def close(self) -> None:
        """
        Finish what was submitted, close the database.
        """
        self.closed = True
        if self._writer is not None:
            await self._writer.close()
        if self._reader is not None:
            self._reader.close()
        self._closed()
