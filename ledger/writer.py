"""
The one thread that writes: many operations share one transaction, and so one wait for the disk.

An operation is a function of the connection. Two rules make a batch safe to repeat:

- It raises a `PenstockError` before its first write (a refusal; the others of the batch go on).
- Every row it makes has an id made by the caller, so that running it again changes nothing.
"""

from __future__ import annotations

import asyncio
import logging
import sqlite3
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from ledger import file
from penstock.errors import PenstockError, Unavailable

_log = logging.getLogger(__name__)

T = TypeVar("T")
Operation = Callable[[sqlite3.Connection], T]

MOST_OPERATIONS = 256  # per transaction, so that nobody waits for an endless one
_CHECKPOINT_OPERATIONS = 2000  # after this many the log is copied into the file
_CHECKPOINT_BYTES = 16 * 1024 * 1024  # or after this much growth of the log
_LATER = {
    sqlite3.SQLITE_FULL,
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_BUSY,
    sqlite3.SQLITE_LOCKED,
    sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_READONLY,  # what a file system becomes after an error
    sqlite3.SQLITE_NOMEM,
    sqlite3.SQLITE_PROTOCOL,
}
_PRIMARY = 0xFF  # the low byte of an extended SQLite result code


@dataclass(slots=True)
class _Job:
    operation: Operation[Any]
    done: asyncio.Future[Any]
    loop: asyncio.AbstractEventLoop
    result: Any = None
    error: BaseException | None = None


class Writer:
    """
    Runs operations on a ledger file in batches, each one transaction.
    """

    def __init__(self, path: Path | None, *, tick: Operation[None], every: float, fail: Callable[[str], None]) -> None:
        """
        Open *path* and run *tick* in a transaction of its own each *every* seconds.
        """
        self._path = path
        self._tick = tick
        self._every = every
        self._fail = fail
        self._next_tick = time.monotonic() + every
        self._jobs: deque[_Job] = deque()
        self._news = threading.Condition()
        self._closing: asyncio.Future[None] | None = None
        self._since_checkpoint = 0
        self._wal_bytes = 0
        self._connection: sqlite3.Connection | None = file.connect(path)
        self._thread = threading.Thread(target=self._run, name="ledger-writer", daemon=True)

    def start(self, first: Operation[T]) -> T:
        """
        Run *first* in a transaction, in the calling thread; then take operations.
        """
        result = self._commit_one(first)
        self._thread.start()
        return result

    def submit(self, operation: Operation[T]) -> asyncio.Future[T]:
        """
        Return a future of what *operation* returns, done once it is durable.

        It runs even if the future is cancelled. Fails with `Unavailable` when the disk cannot take it.
        """
        loop = asyncio.get_running_loop()
        done: asyncio.Future[T] = loop.create_future()
        with self._news:
            if self._closing is not None:
                message = f"the ledger {self._name} is closed"
                raise Unavailable(message)
            self._jobs.append(_Job(operation, done, loop))
            self._news.notify()
        return done

    async def close(self) -> None:
        """
        Do what was submitted, then close the file.
        """
        closing = asyncio.get_running_loop().create_future()
        with self._news:
            if self._closing is None:
                self._closing = closing
            self._news.notify()
        await self._closing

    @property
    def _name(self) -> str:
        return repr(str(self._path)) if self._path else "in memory"

    # ---- in the thread ----------------------------------------------------------------------

    def _run(self) -> None:
        while (batch := self._gather()) is not None:
            if batch:
                self._do(batch)
                _deliver(batch)
            if time.monotonic() >= self._next_tick:
                self._beat()
            self._checkpoint_when_long()
        if self._connection is not None:
            self._connection.close()
        if self._closing is not None:
            closed = self._closing
            closed.get_loop().call_soon_threadsafe(closed.set_result, None)

    def _gather(self) -> list[_Job] | None:
        """
        Wait for jobs or the next tick; None at the end.
        """
        with self._news:
            if not self._jobs and self._closing is None:
                self._news.wait(max(0.0, self._next_tick - time.monotonic()))
            if self._closing is not None and not self._jobs:
                return None
            return [self._jobs.popleft() for _ in range(min(len(self._jobs), MOST_OPERATIONS))]

    def _do(self, batch: Sequence[_Job]) -> None:
        """
        Run *batch* in one transaction; when that fails, each in its own, so that a bad one fails alone.
        """
        try:
            self._transact(batch)
        except Exception as error:  # noqa: BLE001 # whatever one operation raises must not reach the others
            _log.debug("a batch of %d is done one by one: %s", len(batch), error)
            for job in batch:
                self._do_alone(job)

    def _do_alone(self, job: _Job) -> None:
        try:
            self._transact([job])
        except Exception as error:  # noqa: BLE001 # its caller gets it
            job.error = self._translated(error)

    def _transact(self, batch: Sequence[_Job]) -> None:
        connection = self._opened()
        try:
            connection.execute("BEGIN IMMEDIATE")
            for job in batch:
                job.result = job.error = None
                _attempt(connection, job)
        except BaseException:
            self._roll_back()
            raise
        try:
            self._fail("commit:before")
            connection.execute("COMMIT")
            self._fail("commit:after")
        except BaseException:
            self._reopen()
            raise
        self._since_checkpoint += len(batch)

    def _commit_one(self, operation: Operation[T]) -> T:
        connection = self._opened()
        connection.execute("BEGIN IMMEDIATE")
        try:
            result = operation(connection)
            connection.execute("COMMIT")
        except BaseException:
            self._roll_back()
            raise
        return result

    def _beat(self) -> None:
        self._next_tick = time.monotonic() + self._every
        try:
            self._commit_one(self._tick)
        except (sqlite3.Error, PenstockError) as error:
            _log.warning("the ledger %s cannot be written: %s", self._name, error)

    def _opened(self) -> sqlite3.Connection:
        if self._connection is None:
            self._connection = file.connect(self._path)
        return self._connection

    def _roll_back(self) -> None:
        if self._connection is None or not self._connection.in_transaction:
            return  # some errors have rolled it back already
        try:
            self._connection.execute("ROLLBACK")
        except sqlite3.Error:
            self._reopen()

    def _reopen(self) -> None:
        """
        Forget the connection: what it believes after a failed COMMIT is not to be trusted.
        """
        if self._connection is None:
            return
        if self._path is not None:
            self._connection.close()
            self._connection = None
        elif self._connection.in_transaction:
            self._connection.execute("ROLLBACK")

    def _translated(self, error: BaseException) -> BaseException:
        code = getattr(error, "sqlite_errorcode", 0) & _PRIMARY
        if isinstance(error, sqlite3.Error) and code in _LATER:
            return Unavailable(f"the ledger {self._name} cannot be written: {error}; check the disk")
        return error

    def _checkpoint_when_long(self) -> None:
        if self._path is None or self._connection is None or not self._since_checkpoint:
            return
        grown = _size(self._path) - self._wal_bytes
        if self._since_checkpoint < _CHECKPOINT_OPERATIONS and grown < _CHECKPOINT_BYTES:
            return
        try:
            self._connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
        except sqlite3.Error as error:
            _log.warning("the ledger %s cannot be tidied: %s", self._name, error)
        self._since_checkpoint = 0
        self._wal_bytes = _size(self._path)


def _attempt(connection: sqlite3.Connection, job: _Job) -> None:
    before = connection.total_changes
    try:
        job.result = job.operation(connection)
    except PenstockError as refusal:
        if connection.total_changes != before:
            raise  # it wrote before it refused: the batch must be undone and tried one by one
        job.error = refusal


def _size(path: Path) -> int:
    try:
        return path.with_name(path.name + "-wal").stat().st_size
    except FileNotFoundError:
        return 0


def _deliver(batch: Sequence[_Job]) -> None:
    loops = {job.loop for job in batch}
    for loop in loops:
        mine = [job for job in batch if job.loop is loop]
        try:
            loop.call_soon_threadsafe(_hand_over, mine)
        except RuntimeError:
            _log.debug("an event loop ended before its ledger operations did")


def _hand_over(batch: Sequence[_Job]) -> None:
    for job in batch:
        if job.done.cancelled():
            continue
        if job.error is not None:
            job.done.set_exception(job.error)
        else:
            job.done.set_result(job.result)
