"""
The ledger's own writer without its thread: batches, single retries and commits of unknown fate as they are.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, TypeVar

from ledger import writer as writer_module
from ledger.connection import Connection, Operation
from ledger.lease import Lease
from ledger.locks import NONE, Locks
from ledger.queries import queries
from ledger.writer import Writer
from penstock.errors import Unavailable
from tests.engine.simulation.database import Link

T = TypeVar("T")
_BURY = "UPDATE workers SET state = 'dead' WHERE worker <> :worker AND state = 'alive' AND lease_until < :clock"
HICCUP = 0.003  # seconds from which a read is worth a pause of its own: most find everything in memory


class InlineWriter(Writer):
    """
    Commits what was submitted after a delay, inside the event loop.
    """

    def __init__(self, link: Link, lease: Lease, *, fail: Callable[[str], None], delay: Callable[[], float]):
        super().__init__(link, lease=lease, fail=fail)
        self._delay = delay
        self._draining = False

    def begin(self, first: Operation[Any]) -> None:
        """
        Run *first*; from now on the lease has to be renewed by `keep_alive`.
        """
        try:
            self._commit_one(first)
        except Exception as error:
            raise self._base.translated(error) from error
        self._lease.renewed()

    async def keep_alive(self) -> None:
        """
        Renew the lease for ever.
        """
        while True:
            await asyncio.sleep(self._lease.every)
            self._beat()

    def submit(self, operation: Operation[T], needs: Locks = NONE) -> asyncio.Future[T]:
        if self._closing is not None:
            raise Unavailable("the ledger is closed")
        loop = asyncio.get_running_loop()
        done: asyncio.Future[T] = loop.create_future()
        self._jobs.append(writer_module._Job(operation, needs, done, loop))
        if not self._draining:
            self._draining = True
            loop.call_later(self._delay(), self._drain)
        return done

    def _drain(self) -> None:
        self._draining = False
        batch = self._together()
        if batch:
            self._do(batch)
            writer_module._deliver(batch)
        if self._jobs and not self._draining:
            self._draining = True
            asyncio.get_running_loop().call_later(self._delay(), self._drain)

    async def close(self) -> None:
        while self._jobs:
            await asyncio.sleep(0.01)
        self._closing = asyncio.get_running_loop().create_future()


class InlineStore:
    """
    What a `Book` needs of a store.
    """

    def __init__(self, writer: InlineWriter, link: Link, delay: Callable[[], float]) -> None:
        self._writer = writer
        self._link = link
        self._delay = delay
        self.secret = link.database.secret
        self.closed = False

    def write(self, operation: Operation[T], needs: Locks = NONE) -> asyncio.Future[T]:
        return self._writer.submit(operation, needs)

    async def read(self, operation: Operation[T]) -> T:
        pause = self._delay()
        await asyncio.sleep(pause if pause > HICCUP else 0)
        try:
            self._link.reach()
        except Exception as error:
            raise self._link.translated(error) from error
        return operation(self._link.connect())

    look = read

    async def close(self) -> None:
        self.closed = True
        await self._writer.close()


class VirtualLease(Lease):
    """
    The lease of a worker on a server whose clock is the virtual one.
    """

    def __init__(self, seconds: float, name: str, now: Callable[[], float]) -> None:
        self._time = now
        super().__init__(seconds, name)

    def bury(self, connection: Connection, *, calm: bool) -> None:
        if calm:
            connection.execute(_BURY, {"worker": self.worker, "clock": int(self.now() * 1000)})
            connection.execute(queries["forget_workers"])

    def now(self) -> float:
        return self._time()

    def _named(self) -> dict[str, object]:
        return super()._named() | {"lease_until": int((self.now() + self._seconds) * 1000)}
