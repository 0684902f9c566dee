"""
The one thread that writes the bus file: many publishers share one commit, and so one wait for the disk.
"""

from __future__ import annotations

import asyncio
import logging
import sqlite3
import threading
from collections.abc import Callable
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any, NamedTuple, TypeVar, cast

from bus.logfile import LogFile, News
from penstock.errors import Unavailable

_log = logging.getLogger(__name__)

_FULL_GROUP = 1000  # messages per commit; more would only wait, while the event loop has nothing to do

T = TypeVar("T")


class _Job(NamedTuple):
    work: Callable[[LogFile], Any]
    weight: int
    done: asyncio.Future[Any]


class Writer:
    """
    Runs jobs on the file in groups, each group one transaction.
    """

    def __init__(self, path: Path, learn: Callable[[News], None]) -> None:
        self._path = path
        self._learn = learn
        self._file: LogFile | None = LogFile(path)
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

    async def close(self) -> None:
        """
        Do what was submitted, then close the file.
        """
        self._jobs.put(None)
        await asyncio.to_thread(self._thread.join)

    def _run(self) -> None:
        while group := self._gather():
            self._do(group)
        if self._file is not None:
            self._file.close()

    def _gather(self) -> list[_Job]:
        """
        Wait for a job and take those behind it along; nothing at all means the end.
        """
        group: list[_Job] = []
        room = _FULL_GROUP
        job = self._jobs.get()
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

    def _do(self, group: list[_Job]) -> None:
        try:
            news, results = self._commit(group)
        except Exception as error:  # noqa: BLE001  the thread must outlive any failure, and every job must hear of it
            self._drop()
            _log.warning("the bus could not write to %s: %s", self._path.name, error)
            self._report(self._fail, group, error)
        else:
            self._report(self._succeed, group, news, results)
            self._fold()

    def _commit(self, group: list[_Job]) -> tuple[News, list[Any]]:
        """
        Do *group* in one transaction; after a failure the file is opened anew, and all it holds is news.
        """
        if self._file is None:
            self._file = LogFile(self._path)
            self._report(self._learn, self._file.everything())
        self._file.begin()
        results = [job.work(self._file) for job in group]
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
            if not job.done.done():
                job.done.set_result(result)
        self._learn(news)

    def _fail(self, group: list[_Job], cause: Exception) -> None:
        for job in group:
            if not job.done.done():
                error = Unavailable(f"the bus cannot write to {self._path.name!r}: {cause}")
                error.__cause__ = cause
                job.done.set_exception(error)
