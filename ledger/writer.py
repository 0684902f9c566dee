"""
The one thread that writes: many operations share one transaction, and so one wait for the disk.

An operation is a function of the connection. Two rules make a batch safe to repeat:

- It raises a `PenstockError` before its first write (a refusal; the others of the batch go on).
- Every row it makes has an id made by the caller, so that running it again changes nothing.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from ledger.base import Base
from ledger.connection import Connection, Operation
from ledger.lease import Lease
from ledger.locks import ALONE, NONE, Locks
from penstock.errors import PenstockError, Unavailable

_log = logging.getLogger(__name__)

T = TypeVar("T")

LOOK_EVERY = 1.0  # seconds between looks for workers that died
MOST_OPERATIONS = 256  # per transaction, so that nobody waits for an endless one
_PAUSES = (0.05, 0.1, 0.2, 0.5, 1.0)  # seconds between attempts to reach a server that is away


@dataclass(slots=True)
class _Job:
    operation: Operation[Any]
    needs: Locks
    done: asyncio.Future[Any]
    loop: asyncio.AbstractEventLoop
    result: Any = None
    error: BaseException | None = None


class Writer:
    """
    Runs operations on a ledger in batches, each one transaction.
    """

    def __init__(
        self,
        base: Base,
        *,
        lease: Lease,
        fail: Callable[[str], None],
    ) -> None:
        """
        Open *base* and renew *lease* in time.
        """
        self._base = base
        self._lease = lease
        self._fail = fail
        self._next_tick = time.monotonic() + lease.every
        self._next_look = time.monotonic() + LOOK_EVERY
        self._jobs: deque[_Job] = deque()
        self._news = threading.Condition()
        self._closing: asyncio.Future[None] | None = None
        self._away_since: float | None = None
        self._fate_unknown = False
        with base.turn():
            self._connection: Connection | None = base.connect()
        self._thread = threading.Thread(target=self._run, name="ledger-writer", daemon=True)

    def start(self, first: Operation[T]) -> T:
        """
        Run *first* in a transaction, in the calling thread; then take operations.
        """
        try:
            result = self._commit_one(first)
        except BaseException:
            self._shut()
            raise
        self._lease.renewed()
        self._thread.start()
        return result

    def submit(self, operation: Operation[T], needs: Locks = NONE) -> asyncio.Future[T]:
        """
        Return a future of what *operation* returns, done once it is durable.

        It runs even if the future is cancelled. Fails with `Unavailable` when the database cannot take it.
        """
        loop = asyncio.get_running_loop()
        done: asyncio.Future[T] = loop.create_future()
        with self._news:
            if self._closing is not None:
                message = f"the ledger {self._base.name} is closed"
                raise Unavailable(message)
            self._jobs.append(_Job(operation, needs, done, loop))
            self._news.notify()
        return done

    async def close(self) -> None:
        """
        Do what was submitted, then close the connection.
        """
        closing = asyncio.get_running_loop().create_future()
        with self._news:
            if self._closing is None:
                self._closing = closing
            self._news.notify()
        await self._closing

    # ---- in the thread ----------------------------------------------------------------------

    def _run(self) -> None:
        while (batch := self._gather()) is not None:
            if batch:
                self._do(batch)
                _deliver(batch)
            if self._is_time():
                self._beat()
        self._shut()
        if self._closing is not None:
            closed = self._closing
            closed.get_loop().call_soon_threadsafe(closed.set_result, None)

    def _is_time(self) -> bool:
        """
        Say whether the lease must be renewed, or another worker buried.
        """
        now = time.monotonic()
        if now >= self._next_look:
            self._next_look = now + LOOK_EVERY
            return now >= self._next_tick or self._missed()
        return now >= self._next_tick

    def _missed(self) -> bool:
        try:
            return self._lease.missed()
        except OSError as error:  # the thread must outlive a folder that somebody took away
            _log.error("the ledger %s has lost its locks: %s", self._base.name, error)  # said each second
            return False

    def _shut(self) -> None:
        try:
            with self._base.turn():
                if self._connection is not None:
                    self._connection.close()
        except Exception as error:  # noqa: BLE001 # who waits for the end must not wait for ever
            _log.warning("the ledger %s is left open until this process ends: %s", self._base.name, error)

    def _gather(self) -> list[_Job] | None:
        """
        Wait for jobs or the next tick; None at the end.
        """
        with self._news:
            if not self._jobs and self._closing is None:
                self._news.wait(max(0.0, min(self._next_tick, self._next_look) - time.monotonic()))
            if self._closing is not None and not self._jobs:
                return None
            return self._together()

    def _together(self) -> list[_Job]:
        """
        Return the next jobs that share a transaction.
        """
        batch: list[_Job] = []
        while self._jobs and len(batch) < MOST_OPERATIONS:
            if self._jobs[0].needs.alone:
                return batch or [self._jobs.popleft()]
            batch.append(self._jobs.popleft())
        return batch

    def _do(self, batch: Sequence[_Job]) -> None:
        """
        Run *batch* in one transaction; when that fails, each in its own, so that a bad one fails alone.
        """
        error = self._failure(batch)
        if error is None:
            return
        if self._base.away(error):
            self._refuse(batch, error)
            return
        _log.debug("a batch of %d is done one by one: %s", len(batch), error)
        for job in batch:
            if (again := self._failure([job])) is not None:
                self._refuse([job], again)

    def _refuse(self, batch: Sequence[_Job], error: Exception) -> None:
        for job in batch:
            job.error = self._base.translated(error)

    def _failure(self, batch: Sequence[_Job]) -> Exception | None:
        """
        Try *batch* while its server is away, though not for ever; return what went wrong.
        """
        for attempt in itertools.count():
            try:
                self._transact(batch)
            except Exception as error:  # noqa: BLE001 # whatever one operation raises must not reach the others
                if not self._base.away(error) or not self._may_wait():
                    self._fate_unknown = False
                    return error
                _log.warning("the ledger %s is away: %s", self._base.name, self._base.translated(error))
                time.sleep(_PAUSES[min(attempt, len(_PAUSES) - 1)])
            else:
                self._away_since, self._fate_unknown = None, False
                return None
        raise AssertionError

    def _may_wait(self) -> bool:
        """
        Say whether a server that is away is waited for: with a COMMIT of unknown fate, as long as we run.
        """
        now = time.monotonic()
        if self._away_since is None:
            self._away_since = now
        return (self._fate_unknown and self._closing is None) or now - self._away_since < self._base.patience

    def _transact(self, batch: Sequence[_Job]) -> None:
        with self._base.turn():
            self._do_in_turn(batch)

    def _do_in_turn(self, batch: Sequence[_Job]) -> None:
        connection = self._opened()
        try:
            self._base.begin(connection, [job.needs for job in batch])
            for job in batch:
                job.result = job.error = None
                _attempt(connection, job)
        except BaseException as error:
            self._roll_back(error)
            raise
        try:
            self._fail("commit:before")
            connection.execute("COMMIT")
            self._fail("commit:after")
        except BaseException:
            self._fate_unknown = True
            self._reopen()
            raise
        self._base.tidy(connection, len(batch))

    def _commit_one(self, operation: Operation[T]) -> T:
        with self._base.turn():
            return self._one_in_turn(operation)

    def _one_in_turn(self, operation: Operation[T]) -> T:
        connection = self._opened()
        try:
            self._base.begin(connection, [ALONE])
            result = operation(connection)
            connection.execute("COMMIT")
        except BaseException as error:
            self._roll_back(error)
            raise
        return result

    def _beat(self) -> None:
        self._next_tick = time.monotonic() + self._lease.every
        try:
            self._commit_one(self._lease.renew)
            self._lease.renewed()
        except Exception as error:  # noqa: BLE001 # the next one may get through
            _log.warning("the ledger %s cannot be written: %s", self._base.name, self._base.translated(error))

    def _opened(self) -> Connection:
        if self._connection is None:
            self._connection = self._base.connect()
        return self._connection

    def _roll_back(self, error: BaseException) -> None:
        if self._base.away(error):
            self._reopen()
        if self._connection is None or not self._connection.in_transaction:
            return  # some errors have rolled it back already
        try:
            self._connection.execute("ROLLBACK")
        except Exception:  # noqa: BLE001 # then it is gone
            self._reopen()

    def _reopen(self) -> None:
        """
        Forget the connection: what it believes after a failed COMMIT is not to be trusted.
        """
        if self._connection is not None:
            self._connection = self._base.drop(self._connection)


def _attempt(connection: Connection, job: _Job) -> None:
    before = connection.total_changes
    try:
        job.result = job.operation(connection)
    except PenstockError as refusal:
        if connection.total_changes != before:
            raise  # it wrote before it refused: the batch must be undone and tried one by one
        job.error = refusal


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
