"""
One `penstock run`: the real executor, runners, AI layer and ledger, in a simulated process.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any

import ai
from engine import Executor, Gates, Runner
from ledger.book import Book
from penstock.secrets import Secrets
from tests.engine.simulation import model
from tests.engine.simulation.clock import VirtualClock
from tests.engine.simulation.database import Away, Database, Link
from tests.engine.simulation.plans import ACTIONS, CONNECTIONS, plans
from tests.engine.simulation.process import Process
from tests.engine.simulation.store import InlineStore, InlineWriter, VirtualLease
from tests.engine.simulation.systems import Client

LEASE = 5.0  # seconds
IN_FLIGHT = 24


class Worker:
    """
    Everything that dies together.
    """

    def __init__(
        self, process: Process, *, clock: VirtualClock, database: Database, delay: Callable[[], float]
    ) -> None:
        self.process = process
        self.link = Link(database)
        self.unsure: deque[str] = deque()
        """What the next commits do: fail `before` they take effect, or after it."""
        self.lease = VirtualLease(LEASE, process.name, clock.monotonic)
        self._clock = clock
        self._writer = InlineWriter(self.link, self.lease, fail=self._fail, delay=delay)
        store: Any = InlineStore(self._writer, self.link, delay)
        self.book = Book(store, self.lease, clock=clock)
        self.executor: Executor | None = None
        self.alive: asyncio.Task[None] | None = None
        self.stopping = False

    async def start(self, *, bus: Any, http: model.ModelHttp, clients: Mapping[str, Client]) -> None:
        """
        Open the ledger, join the groups, begin to run. Raises what a start would.
        """
        self._writer.begin(lambda connection: self.lease.begin(connection, self._clock.now_ms()))
        self.alive = asyncio.create_task(self._writer.keep_alive())
        gates = Gates(self.book, self._clock)
        await gates.load()
        models = {name: model.spec(name) for name in CONNECTIONS}
        layer = ai.open(models, http=http, ledger=self.book, secrets=Secrets({}), clock=self._clock)
        runners = [
            Runner(
                plan,
                connectors=clients,
                ai=layer,
                ledger=self.book,
                http=http,
                clock=self._clock,
                gates=gates,
            )
            for plan in plans().values()
        ]
        self.executor = Executor(
            runners, bus=bus, ledger=self.book, clock=self._clock, topic=lambda name: f"t.{name}", in_flight=IN_FLIGHT
        )
        await self.executor.start()

    async def stop(self) -> None:
        """
        Stop as a person asks it to.
        """
        assert self.executor is not None
        await self.executor.stop(4.0)
        if self.alive is not None:
            self.alive.cancel()
        await self.book.close()

    @property
    def idle(self) -> bool:
        """
        Whether nothing is received and not finished.
        """
        return self.executor is not None and not self.executor.held and not self.executor.running

    def _fail(self, point: str) -> None:
        if self.unsure and point == f"commit:{self.unsure[0]}":
            self.unsure.popleft()
            raise Away


def client_pipelines(connection: str) -> dict[str, str]:
    """
    Return which pipeline uses which action of a connection.
    """
    return {ACTIONS[name]: name for name, where in CONNECTIONS.items() if where == connection}
