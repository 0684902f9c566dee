"""
Threads that read, beside the one that writes; never the event loop's own executor.
"""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from ledger import file
from penstock.errors import Unavailable

T = TypeVar("T")

THREADS = 2


class Reader:
    """
    Runs read operations, each on a consistent view of the file.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._mine = threading.local()
        self._all: list[sqlite3.Connection] = []
        self._pool = ThreadPoolExecutor(THREADS, thread_name_prefix="ledger-reader")

    async def read(self, operation: Callable[[sqlite3.Connection], T]) -> T:
        """
        Return what *operation* returns.
        """
        try:
            return await asyncio.get_running_loop().run_in_executor(self._pool, self._read, operation)
        except sqlite3.OperationalError as error:
            message = f"the ledger {str(self._path)!r} cannot be read: {error}"
            raise Unavailable(message) from error

    def close(self) -> None:
        """
        End the threads and close what they opened.
        """
        self._pool.shutdown(wait=True)
        for connection in self._all:
            connection.close()

    def _read(self, operation: Callable[[sqlite3.Connection], T]) -> T:
        connection = self._connection()
        connection.execute("BEGIN")
        try:
            return operation(connection)
        finally:
            connection.execute("ROLLBACK")

    def _connection(self) -> sqlite3.Connection:
        if not hasattr(self._mine, "connection"):
            self._mine.connection = file.connect(self._path, read_only=True)
            self._all.append(self._mine.connection)
        found: sqlite3.Connection = self._mine.connection
        return found
