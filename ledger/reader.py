"""
Threads that read, beside the one that writes; never the event loop's own executor.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, TypeVar

from ledger.base import Base
from ledger.connection import Connection, Operation
from penstock.errors import PenstockError, Unavailable

_log = logging.getLogger(__name__)

T = TypeVar("T")

THREADS = 2
MOST_LOOKS = 64  # on one view


@dataclass(slots=True)
class _Look:
    operation: Operation[Any]
    done: asyncio.Future[Any]


class Reader:
    """
    Runs read operations, each on a consistent view.
    """

    def __init__(self, base: Base) -> None:
        self._base = base
        self._mine = threading.local()
        self._all: list[Connection] = []
        self._pool = ThreadPoolExecutor(THREADS, thread_name_prefix="ledger-reader")
        self._looks: list[_Look] = []
        """Those that wait for a thread."""
        self._looking = False

    async def read(self, operation: Operation[T]) -> T:
        """
        Return what *operation* returns.
        """
        return await asyncio.get_running_loop().run_in_executor(self._pool, self._read, operation)

    def look(self, operation: Operation[T]) -> asyncio.Future[T]:
        """
        Return a future of what the short *operation* returns.

        One thread looks at a time, and takes with it whatever was asked for meanwhile: for one look alone,
        the way there and back takes longer than the look.
        """
        loop = asyncio.get_running_loop()
        done: asyncio.Future[T] = loop.create_future()
        self._looks.append(_Look(operation, done))
        if not self._looking:
            self._looking = True
            loop.call_soon(self._send, loop)
        return done

    def _send(self, loop: asyncio.AbstractEventLoop) -> None:
        looks, self._looks = self._looks[:MOST_LOOKS], self._looks[MOST_LOOKS:]
        self._looking = bool(looks)
        if looks:
            try:
                self._pool.submit(self._look, looks, loop)
            except RuntimeError:  # it is closed
                looks, self._looks, self._looking = [*looks, *self._looks], [], False
                _hand_over(looks, [Unavailable("the ledger is closed")] * len(looks))

    def _look(self, looks: Sequence[_Look], loop: asyncio.AbstractEventLoop) -> None:
        try:
            found = self._read(lambda connection: [_tried(look.operation, connection) for look in looks])
        except Exception as error:  # noqa: BLE001 # everybody who waits must hear of it
            found = [error] * len(looks)
        try:
            loop.call_soon_threadsafe(self._looked, looks, found, loop)
        except RuntimeError:
            self._looking = False
            _log.debug("an event loop ended before its looks at the ledger did")

    def _looked(self, looks: Sequence[_Look], found: Sequence[Any], loop: asyncio.AbstractEventLoop) -> None:
        _hand_over(looks, found)
        self._send(loop)

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


def _tried(operation: Operation[T], connection: Connection) -> T | PenstockError:
    try:
        return operation(connection)
    except PenstockError as refusal:
        return refusal


def _hand_over(looks: Sequence[_Look], found: Sequence[Any]) -> None:
    for look, result in zip(looks, found, strict=True):
        if look.done.cancelled():
            continue
        if isinstance(result, Exception):
            look.done.set_exception(result)
        else:
            look.done.set_result(result)
