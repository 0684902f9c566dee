"""
One world from one seed: events, workers, systems, and what befalls them, until nothing moves any more.
"""

from __future__ import annotations

import asyncio
import gc
import random
import secrets
from collections.abc import Callable, Coroutine
from contextlib import ExitStack, suppress
from random import Random
from typing import Any
from unittest import mock

from engine import executor as executor_module
from engine import relief, waiting
from ledger.connection import Connection
from penstock.errors import PenstockError
from tests.engine.simulation.access import MemberBus
from tests.engine.simulation.bus import Cluster
from tests.engine.simulation.clock import VirtualClock
from tests.engine.simulation.database import Database
from tests.engine.simulation.faults import Faults
from tests.engine.simulation.journal import Journal
from tests.engine.simulation.judge import Judge
from tests.engine.simulation.loop import VirtualLoop
from tests.engine.simulation.model import ModelHttp
from tests.engine.simulation.plans import CONNECTIONS
from tests.engine.simulation.process import Process
from tests.engine.simulation.source import Source
from tests.engine.simulation.systems import Client, System
from tests.engine.simulation.trace import Trace
from tests.engine.simulation.wire import Line, Wire
from tests.engine.simulation.worker import Worker, client_pipelines

PARTITIONS = 4
PATIENCE = 240.0  # virtual seconds after the last fault and event until everything must have ended
SMALLER = {
    (executor_module, "FETCH_WAIT"): 3.0,
    (executor_module, "COMMIT_EVERY"): 1.0,
    (executor_module, "PAUSES_EVERY"): 10.0,
    (waiting, "PICK_UP_EVERY"): 2.0,
    (waiting, "LOOK_AGAIN"): 0.3,
    (executor_module, "FETCH"): 60,
    (relief, "LANE_MOST"): 6,
    (relief, "HEAD_MOST"): 3.0,
}
"""
Bounds that a small world has to reach.
"""


class World:
    """
    Everything, and the end of it.
    """

    def __init__(self, seed: int, audit: Callable[[Connection], None]) -> None:
        self.seed = seed
        self.random = Random(seed)
        self.loop = VirtualLoop(Random(seed + 1))
        self.clock = VirtualClock(self.loop)
        self.trace = Trace(self.loop)
        self.journal = Journal()
        self.judge = Judge(self, audit)
        self.database = Database(self.judge.kept)
        self.cluster = Cluster(
            self.loop, Random(seed + 2), self.trace, partitions=PARTITIONS, committed=self.judge.committed
        )
        self.wire = Wire(self.loop, Random(seed + 3))
        self.systems = {name: self._system(name) for name in sorted({*CONNECTIONS.values()})}
        self.model = Line("model")
        self.source = Source(self)
        self.faults = Faults(self)
        self.workers: list[Worker] = []
        self.over = False

    def run(self) -> None:
        """
        Live it through; raises `AssertionError` when something that must hold does not.
        """
        with ExitStack() as stack:
            for (module, name), value in SMALLER.items():
                stack.enter_context(mock.patch.object(module, name, value))
            stack.enter_context(mock.patch.object(secrets, "token_bytes", self.random.randbytes))
            stack.enter_context(mock.patch.object(secrets, "token_hex", lambda size: self.random.randbytes(size).hex()))
            random.seed(self.seed)
            gc.disable()  # a world is small, and soon over
            try:
                self.loop.run_until_complete(self._live())
            finally:
                self._bury()
                gc.enable()

    async def _live(self) -> None:
        self.cluster.start()
        for _ in range(self.random.choice((1, 2, 2, 3))):
            self.boot()
        await asyncio.sleep(2.0)
        await self.source.publish(self.faults.run())
        self.trace("FAULT none any more")
        until = self.loop.time() + PATIENCE
        while self.loop.time() < until:
            await asyncio.sleep(2.0)
            if self.judge.settled():
                break
        self.judge.at_the_end()

    # ---- workers ----------------------------------------------------------------------------

    def boot(self) -> Worker:
        """
        Start another worker.
        """
        number = len(self.workers) + 1
        process = Process(f"w{number}", number)
        draw = Random(self.seed * 1000 + number).random
        worker = Worker(process, clock=self.clock, database=self.database, delay=lambda: _delay(draw))
        self.workers.append(worker)
        self.loop.create_task(self._main(worker), context=process.context())
        return worker

    async def _main(self, worker: Worker) -> None:
        http = ModelHttp(self.model, self.wire, self.journal, self.loop.time)
        clients = {name: Client(system, self.wire, client_pipelines(name)) for name, system in self.systems.items()}
        try:
            await worker.start(bus=MemberBus(self.cluster, worker.process), http=http, clients=clients)
        except PenstockError as error:
            self.trace("did not start:", error)
            worker.process.state = "dead"
            self.outside(self.faults.replace(worker, after=1.0))

    def outside(self, work: Coroutine[Any, Any, None]) -> None:
        """
        Do something that belongs to no process.
        """
        self.loop.create_task(work, context=self.faults.context)

    @property
    def running(self) -> list[Worker]:
        """
        The workers that live and are awake.
        """
        return [worker for worker in self.workers if worker.process.state == "runs"]

    def _system(self, name: str) -> System:
        return System(Line(name), self.journal, self.loop.time, self._changed)

    def _changed(self, system: System, event: Any) -> None:
        self.source.append(system.line.name, event)

    # ---- the end ----------------------------------------------------------------------------

    def _bury(self) -> None:
        """
        End every task: what was dead must not run on because its memory is freed.
        """
        self.database.down = True
        for worker in self.workers:
            worker.process.fate_at = -1
            if worker.executor is not None:
                worker.executor._stopping = True
            self.loop.thaw(worker.process)
        for _ in range(50):
            tasks = asyncio.all_tasks(self.loop)
            if not tasks:
                break
            for task in tasks:
                task.cancel()
            with suppress(asyncio.CancelledError):
                self.loop.run_until_complete(asyncio.wait(tasks, timeout=0.1))
        self.loop.close()
        self.database.connection.close()


def _delay(draw: Callable[[], float]) -> float:
    """
    Return seconds until a commit: mostly quick, at times a disk's hiccup.
    """
    return draw() * (0.004 if draw() < 0.98 else 0.3)
