"""
The one thread that writes the bus file: many publishers share one commit, and so one wait for the disk.
"""

from __future__ import annotations

import asyncio
import logging
import sqlite3
import threading
import time
from collections.abc import Callable
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any, NamedTuple, TypeVar, cast

from bus.locks import Locks
from bus.logfile import LogFile, News
from bus.rosterfile import LEASE
from penstock.errors import Fenced, Unavailable

_log = logging.getLogger(__name__)

_FULL_GROUP = 1000  # messages per commit; more would only wait, while the event loop has nothing to do

LOOK_EVERY = 1.0  # seconds between looks for processes that died
_POLL = 0.01  # seconds between looks for what others published, while somebody waits for it

T = TypeVar("T")


class _Job(NamedTuple):
    work: Callable[[LogFile], Any]
    weight: int
    done: asyncio.Future[Any]


class Writer:
    """
    Runs jobs on the file in groups, each group one transaction.
    """

    def __init__(self, path: Path, locks: Locks, learn: Callable[[News], None]) -> None:
        self._path = path
        self._locks = locks
        self._learn = learn
        self._next_look = time.monotonic()
        self._next_renewal = self._next_look + LEASE / 3
        self._watched_until = 0.0
        with self._locks.turn():
            self._file: LogFile | None = LogFile(path, locks.process)
        learn(self._file.everything())
        self._jobs: SimpleQueue[_Job | None] = SimpleQueue()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread = threading.Thread(target=self._run, name="bus-writer", daemon=True)
        self._thread.start()

    def submit(self, work: Callable[[LogFile], T], weight: int = 1) -> asyncio.Future[T]:
        """
        Return a future of what *work* returns, done when it is durable; it fails with `Unavailable`.

        *weight* is about how many messages it writes.
        """
        self._loop = asyncio.get_running_loop()
        done: asyncio.Future[T] = self._loop.create_future()
        self._jobs.put(_Job(work, weight, done))
        return done

    def watch(self, seconds: float) -> None:
        """
        Look often for what other processes do, for that long.
        """
        now = time.monotonic()
        idle = now > self._watched_until
        self._watched_until = max(self._watched_until, now + seconds)
        if idle:
            self._loop = asyncio.get_running_loop()
            self._jobs.put(_Job(_nothing, 0, self._loop.create_future()))

    async def close(self) -> None:
        """
        Do what was submitted, then close the file.
        """
        self._jobs.put(None)
        await asyncio.to_thread(self._thread.join)

    def _run(self) -> None:
        while group := self._gather():
            if any(job.work is not _nothing for job in group):
                self._do(group)
            self._look()
        try:
            with self._locks.turn():
                self._withdraw()
        except Exception as error:  # noqa: BLE001  others will find this process gone
            _log.warning("%s could not be left in order: %s", self._path.name, error)

    def _withdraw(self) -> None:
        if self._file is not None:
            try:
                self._file.begin()
                self._file.rosters.withdraw()
                self._file.commit()
            finally:
                self._file.close()

    def _gather(self) -> list[_Job]:
        """
        Wait for a job and take those behind it along; nothing at all means the end.
        """
        group: list[_Job] = []
        room = _FULL_GROUP
        job = self._first()
        while job is not None:
            group.append(job)
            room -= job.weight
            if room <= 0:
                return group
            try:
                job = self._jobs.get_nowait()
            except Empty:
                return group
        if group:
            self._jobs.put(None)  # found again by the next call
        return group

    def _first(self) -> _Job | None:
        """
        Wait for a job; look about meanwhile.
        """
        while True:
            try:
                return self._jobs.get(timeout=_POLL if time.monotonic() < self._watched_until else LOOK_EVERY)
            except Empty:
                self._look()

    def _look(self) -> None:
        """
        Hear of what other processes did, now and then of whether they live; say that we do.
        """
        try:
            if self._file is not None and self._loop is not None and (news := self._file.catch_up()):
                self._report(self._learn, news)
            now = time.monotonic()
            if now >= self._next_look:
                self._next_look = now + LOOK_EVERY
                gone = self._locks.gone()
                if gone or now >= self._next_renewal:
                    self._next_renewal = now + LEASE / 3
                    self._keep_up(gone)
        except Exception as error:  # noqa: BLE001  the next look may see more
            _log.warning("the bus could not look at %s: %s", self._path.name, error)

    def _keep_up(self, gone: set[str]) -> None:
        with self._locks.turn():
            news, _ = self._commit([lambda file: file.rosters.keep_up(gone)])
        self._locks.forget(gone)
        if self._loop is not None:
            self._report(self._learn, news)

    def _do(self, group: list[_Job]) -> None:
        try:
            with self._locks.turn():
                self._do_in_turn(group)
        except Unavailable as error:
            self._report(self._fail, group, error)

    def _do_in_turn(self, group: list[_Job]) -> None:
        try:
            news, results = self._commit([job.work for job in group])
        except Exception as error:  # noqa: BLE001  the thread must outlive any failure, and every job must hear of it
            self._drop()
            _log.warning("the bus could not write to %s: %s", self._path.name, error)
            self._report(self._fail, group, error)
        else:
            self._report(self._succeed, group, news, results)
            self._fold()

    def _commit(self, works: list[Callable[[LogFile], Any]]) -> tuple[News, list[Any]]:
        """
        Do *works* in one transaction; after a failure the file is opened anew, and all it holds is news.
        """
        if self._file is None:
            self._file = LogFile(self._path, self._locks.process)
            self._report(self._learn, self._file.everything())
        self._file.begin()
        results = [_tried(work, self._file) for work in works]
        return self._file.commit(), results

    def _fold(self) -> None:
        if self._file is not None:
            try:
                self._file.fold()
            except sqlite3.Error as error:
                _log.warning("%s could not be folded, it is opened anew: %s", self._path.name, error)
                self._drop()

    def _drop(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None

    def _report(self, heard: Callable[..., None], *what: object) -> None:
        try:
            cast("asyncio.AbstractEventLoop", self._loop).call_soon_threadsafe(heard, *what)
        except RuntimeError:
            _log.warning("the event loop ended before it could hear what became of its messages")

    def _succeed(self, group: list[_Job], news: News, results: list[Any]) -> None:
        for job, result in zip(group, results, strict=True):
            if job.done.done():
                continue
            if isinstance(result, Fenced):
                job.done.set_exception(result)
            else:
                job.done.set_result(result)
        self._learn(news)

    def _fail(self, group: list[_Job], cause: Exception) -> None:
        for job in group:
            if not job.done.done() and job.work is not _nothing:  # nobody waits for a look
                error = Unavailable(f"the bus cannot write to {self._path.name!r}: {cause}")
                error.__cause__ = cause
                job.done.set_exception(error)


def _tried(work: Callable[[LogFile], Any], file: LogFile) -> Any:
    """
    Do *work*; a refusal, which comes before it writes, is its result: the others of the group go on.
    """
    try:
        return work(file)
    except Fenced as refusal:
        return refusal


def _nothing(_file: LogFile) -> None:
    """
    Only look about.
    """
