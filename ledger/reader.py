"""
Threads that read, beside the one that writes; never the event loop's own executor.
"""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from ledger.base import Base
from ledger.connection import Connection, Operation

T = TypeVar("T")

THREADS = 2


class Reader:
    """
    Runs read operations, each on a consistent view.
    """

    def __init__(self, base: Base) -> None:
        self._base = base
        self._mine = threading.local()
        self._all: list[Connection] = []
        self._pool = ThreadPoolExecutor(THREADS, thread_name_prefix="ledger-reader")

    async def read(self, operation: Operation[T]) -> T:
        """
        Return what *operation* returns.
        """
        return await asyncio.get_running_loop().run_in_executor(self._pool, self._read, operation)

    def close(self) -> None:
        """
        End the threads and close what they opened.
        """
        self._pool.shutdown(wait=True)
        for connection in self._all:
            connection.close()

    def _read(self, operation: Operation[T]) -> T:
        try:
            return self._once(operation)
        except Exception as error:
            if not self._base.away(error):
                raise self._base.translated(error) from error
        try:
            return self._once(operation)  # the server may have been away since the last time
        except Exception as error:
            raise self._base.translated(error) from error

    def _once(self, operation: Operation[T]) -> T:
        connection = self._connection()
        try:
            self._base.begin_to_read(connection)
            result = operation(connection)
            connection.execute("ROLLBACK")
        except BaseException as error:
            self._end(connection, away=self._base.away(error))
            raise
        return result

    def _end(self, connection: Connection, *, away: bool) -> None:
        if away:
            connection.close()
            self._all.remove(connection)
            del self._mine.connection
        elif connection.in_transaction:
            connection.execute("ROLLBACK")

    def _connection(self) -> Connection:
        if not hasattr(self._mine, "connection"):
            self._mine.connection = self._base.connect_to_read()
            self._all.append(self._mine.connection)
        found: Connection = self._mine.connection
        return found
