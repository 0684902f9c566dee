"""
What befalls a world: each kind of fault, when it comes, and how it ends.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from contextvars import copy_context
from typing import TYPE_CHECKING

from tests.engine.simulation.process import Process
from tests.engine.simulation.worker import LEASE, Worker

if TYPE_CHECKING:
    from tests.engine.simulation.world import World

FEWEST, MOST = 3, 9
SPAN = 24.0  # seconds within which they come
STEPS = 400  # callbacks until a process that is marked meets its fate, at most


class Faults:
    """
    Draws and lives through the faults of one world.
    """

    def __init__(self, world: World) -> None:
        self._world = world
        self.context = copy_context()
        self._fates: dict[Process, Callable[[], None]] = {}
        self.kinds: dict[str, Callable[[], Awaitable[None]]] = {
            "kill": self.kill,
            "freeze": self.freeze,
            "stop": self.stop,
            "join": self.join,
            "rebalance": self.rebalance,
            "ledger away": self.ledger_away,
            "ledger cut": self.ledger_cut,
            "unsure commits": self.unsure_commits,
            "bus away": self.bus_away,
            "commits refused": self.commits_refused,
            "model trouble": self.model_trouble,
            "system trouble": self.system_trouble,
            "answers lost": self.answers_lost,
            "slow lanes": self.slow_lanes,
        }
        self.had: list[str] = []
        world.loop.on_fate(self._meet)

    async def run(self) -> None:
        """
        Live through all of them, then see that somebody is there to finish.
        """
        world, draw = self._world, self._world.random
        times = sorted(draw.random() * SPAN for _ in range(draw.randint(FEWEST, MOST)))
        began = world.loop.time()
        under_way: list[asyncio.Task[None]] = []
        for at in times:
            await asyncio.sleep(max(0.0, began + at - world.loop.time()))
            kind = draw.choice(sorted(self.kinds))
            self.had.append(kind)
            under_way.append(asyncio.ensure_future(self.kinds[kind]()))
        await asyncio.gather(*under_way)
        if not world.running:
            world.boot()

    async def replace(self, _worker: Worker, *, after: float) -> None:
        """
        Start another worker for one that is gone.
        """
        await asyncio.sleep(after)
        self._world.boot()

    # ---- processes --------------------------------------------------------------------------

    async def kill(self) -> None:
        """
        `kill -9`, and a new one after a while.
        """
        if worker := self._some():
            await self._hit(worker, self._die)
            await self.replace(worker, after=self._world.random.random() * 6)

    async def freeze(self) -> None:
        """
        Stop a process for longer than its lease, while another one runs.
        """
        draw = self._world.random
        if worker := self._some():
            await self._hit(worker, self._sleep)
            await self.replace(worker, after=draw.random() * 2)
            await asyncio.sleep(draw.choice((1.0, LEASE * 1.5, LEASE * 3)) * (0.5 + draw.random()))
            if worker.process.state == "frozen":
                self._tell("thaws", worker.process.name)
                worker.process.blows.append(self._world.loop.time())
                self._world.loop.thaw(worker.process)

    async def stop(self) -> None:
        """
        Stop one cleanly, and start another.
        """
        if worker := self._some():
            self._tell("stop", worker.process.name)
            worker.stopping, began = True, self._world.loop.time()
            work = self._world.loop.create_task(worker.stop(), context=worker.process.context())
            await asyncio.wait([work], timeout=20.0)
            if work.done() and worker.process.state == "runs":
                if self._world.database.away_since(began) or worker.link.cut:
                    worker.process.blows.append(self._world.loop.time())  # it could not keep what it was told
                worker.process.state = "dead"
                self._world.boot()

    async def join(self) -> None:
        """
        Let one more come.
        """
        self._tell("joins", self._world.boot().process.name)

    async def rebalance(self) -> None:
        """
        Share every group's partitions out anew, all at once.
        """
        draw, cluster = self._world.random, self._world.cluster
        self._tell("rebalance")
        was, cluster.eager = cluster.eager, True
        for group in list(cluster.groups.values()):
            await asyncio.sleep(draw.random() * 0.1)
            await cluster.rebalance(group)
        cluster.eager = was

    def _some(self) -> Worker | None:
        ready = [
            worker
            for worker in self._world.running
            if worker.executor is not None and worker.executor._loops and not worker.stopping
        ]
        return self._world.random.choice(ready) if ready else None

    async def _hit(self, worker: Worker, fate: Callable[[Worker], None]) -> None:
        """
        Let *fate* come now, or in the middle of what *worker* does next.
        """
        process, draw = worker.process, self._world.random
        if draw.random() < 0.4:
            fate(worker)
            return
        done = asyncio.Event()
        self._fates[process] = lambda: (fate(worker), done.set())[0]
        if draw.random() < 0.4:
            process.nap = self._fates.pop(process)
        else:
            process.fate_at = process.steps + draw.randint(1, STEPS)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(SPAN):  # it may have stopped meanwhile
                await done.wait()

    def _meet(self, process: Process) -> None:
        if fate := self._fates.pop(process, None):
            fate()

    def _die(self, worker: Worker) -> None:
        self._tell("kill", worker.process.name)
        worker.process.blows.append(self._world.loop.time())
        worker.process.state = "dead"

    def _sleep(self, worker: Worker) -> None:
        if worker.process.state == "runs":
            self._tell("freezes", worker.process.name)
            worker.process.blows.append(self._world.loop.time())
            worker.process.state = "frozen"

    # ---- ledger and bus ---------------------------------------------------------------------

    async def ledger_away(self) -> None:
        """
        Nobody reaches the ledger for a while.
        """
        self._tell("ledger away")
        self._world.database.leave()
        await self._a_while(8.0)
        self._world.database.come_back(self._world.loop.time())

    async def ledger_cut(self) -> None:
        """
        One worker does not reach the ledger, at times for longer than its lease.
        """
        if worker := self._some():
            self._tell("ledger cut", worker.process.name)
            worker.link.cut = True
            until = self._world.loop.time() + LEASE * 3 * self._world.random.random()
            while self._world.loop.time() < until:
                worker.process.blows.append(self._world.loop.time())  # what it is told, it cannot keep
                await asyncio.sleep(0.5)
            worker.link.cut = False
            worker.process.blows.append(self._world.loop.time())

    async def unsure_commits(self) -> None:
        """
        Commits fail, before or after they took effect.
        """
        if worker := self._some():
            self._tell("unsure commits", worker.process.name)
            draw = self._world.random
            worker.unsure.extend(draw.choice(("before", "after", "after")) for _ in range(draw.randint(1, 12)))

    async def bus_away(self) -> None:
        """
        No broker answers.
        """
        self._tell("bus away")
        self._world.cluster.down = True
        await self._a_while(5.0)
        self._world.cluster.down = False

    async def commits_refused(self) -> None:
        """
        Positions cannot be stored, or are stored and nobody is told.
        """
        self._tell("commits refused")
        self._world.cluster.refused = self._world.random.randint(1, 8)

    # ---- systems ----------------------------------------------------------------------------

    async def model_trouble(self) -> None:
        """
        The model is down, busy or mute.
        """
        await self._trouble(self._world.model)

    async def system_trouble(self) -> None:
        """
        One system is.
        """
        await self._trouble(
            self._world.random.choice(sorted(self._world.systems.values(), key=lambda s: s.line.name)).line
        )

    async def answers_lost(self) -> None:
        """
        Requests take effect, and nobody is told.
        """
        lines = [self._world.model, *(system.line for system in self._world.systems.values())]
        line = self._world.random.choice(sorted(lines, key=lambda one: one.name))
        self._tell("answers lost", line.name)
        line.losing += self._world.random.randint(1, 5)

    async def slow_lanes(self) -> None:
        """
        Everything about some records takes long.
        """
        slow = {str(self._world.random.choice((1, 2, 3, 4, 5))) for _ in range(2)}
        self._tell("slow", sorted(slow))
        self._world.wire.slow |= slow
        await self._a_while(15.0)
        self._world.wire.slow -= slow

    async def _trouble(self, line: object) -> None:
        kind = self._world.random.choice(("refuses", "busy", "mute"))
        self._tell(line.name, kind)
        line.trouble = kind
        await self._a_while(6.0)
        line.trouble = ""

    async def _a_while(self, most: float) -> None:
        await asyncio.sleep(most * (0.1 + 0.9 * self._world.random.random()))

    def _tell(self, what: str, *more: object) -> None:
        self._world.trace(f"FAULT {what}", *more)
