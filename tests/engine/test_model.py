"""
The executor and the ledger against a model of them: a lane is a list of events, and its first one runs.

The model knows nothing of offsets, fences or leases. Workers come, die, stop and share the partitions
anew, and after each step exactly those runs must be under way that the model says.
"""

from __future__ import annotations

import asyncio
import gc
from dataclasses import dataclass, field
from random import Random
from types import SimpleNamespace
from typing import Any, ClassVar

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from engine import Executor, Runner
from ledger.book import Book
from ledger.contract import Claim
from ledger.queries import queries
from schemas.events import Event
from tests.engine.bench import event, outgoing, planned
from tests.engine.simulation.access import MemberBus
from tests.engine.simulation.bus import Cluster
from tests.engine.simulation.clock import VirtualClock
from tests.engine.simulation.database import Database, Link
from tests.engine.simulation.loop import VirtualLoop
from tests.engine.simulation.process import Process
from tests.engine.simulation.store import InlineStore, InlineWriter, VirtualLease
from tests.engine.simulation.trace import Trace
from tests.ledger.conftest import audit

LANES = ("a", "b", "c")
SETTLES = 9.0  # seconds within which a dead member is put out, and what it held is taken over
LATER = 40.0  # seconds until a failed run is tried again
NEARLY = 3.0  # seconds around a due time in which a run may be under way or not
CASES, STEPS = 10, 20


@dataclass(eq=False)
class Puppet:
    """
    A runner whose runs end when, and how, the machine says.
    """

    ledger: Any
    process: Process
    under_way: dict[str, tuple[Process, asyncio.Future[str]]]
    ended: list[tuple[str, str, str]]
    plan: Any = field(default_factory=planned)
    offer: ClassVar[Any] = Runner.offer
    unreadable: ClassVar[Any] = Runner.unreadable

    def judge(self, _event: Event) -> None:
        """
        Want everything.
        """

    def opened(self, _gate: str) -> None:
        """
        Know no gates.
        """

    def pacer(self) -> None:
        """
        Ask at no pace.
        """

    async def handle(self, claim: Claim, item: Event, body: bytes, *, probing: str | None = None, **_more: Any) -> None:
        before = self.under_way.get(item.id)
        assert before is None or before[0].state != "runs", f"{item.id} runs twice"
        how = asyncio.get_running_loop().create_future()
        self.under_way[item.id] = (self.process, how)
        end = await how
        del self.under_way[item.id]
        if end == "breaks":
            raise RuntimeError("a bug")
        if end == "waits":
            due = item_due(asyncio.get_running_loop().time())
            await self.ledger.wait(claim, "retry", body, why="x", due_at=due, attempt=True)
            return
        self.ended.append((claim.lane, item.id, end))
        if end == "aside":
            await self.ledger.aside(claim, "parked", body, why="x")
        else:
            await self.ledger.finish(claim, "delivered")


def item_due(now: float) -> int:
    """
    Return when a run that failed is tried again, UTC ms.
    """
    from tests.engine.simulation.clock import BEGAN

    return BEGAN + int((now + LATER) * 1000)


class ExecutorMachine(RuleBasedStateMachine):
    """
    Workers, events and accidents at random.
    """

    @initialize(seed=st.integers(0, 1 << 30))
    def start(self, seed: int) -> None:
        gc.disable()
        self.loop = VirtualLoop(Random(seed))
        self.clock = VirtualClock(self.loop)
        self.database = Database(lambda _row: None)
        self.cluster = Cluster(
            self.loop, Random(seed), Trace(self.loop), partitions=3, committed=lambda _group, _positions: None
        )
        self.cluster.start()
        self.random = Random(seed)
        self.workers: list[Any] = []
        self.under_way: dict[str, tuple[Process, asyncio.Future[str]]] = {}
        self.ended: list[tuple[str, str, str]] = []
        self.lanes: dict[str, list[str]] = {lane: [] for lane in LANES}
        self.order: dict[str, list[str]] = {lane: [] for lane in LANES}
        self.due: dict[str, float] = {}
        self.number = 0
        self.boot()
        self.settle()

    # ---- what happens -----------------------------------------------------------------------

    @rule(lane=st.sampled_from(LANES), often=st.integers(1, 3))
    def publish(self, lane: str, often: int) -> None:
        for _ in range(often):
            item = event(self.number, lane)
            self.number += 1
            self.cluster.append(outgoing(item))
            self.lanes[lane].append(item.id)
            self.order[lane].append(item.id)
        self.settle()

    @precondition(lambda self: self.order and any(self.order.values()))
    @rule(data=st.data())
    def publish_again(self, data: Any) -> None:
        lane = data.draw(st.sampled_from([lane for lane in LANES if self.order[lane]]))
        name = data.draw(st.sampled_from(self.order[lane]))
        self.cluster.append(outgoing(event(int(name[1:]), lane)))
        self.settle()

    @precondition(lambda self: self.running())
    @rule(data=st.data(), how=st.sampled_from(["delivered", "delivered", "aside", "waits", "breaks"]))
    def end(self, data: Any, how: str) -> None:
        name = data.draw(st.sampled_from(sorted(self.running())))
        self.under_way[name][1].set_result(how)
        lane = next(lane for lane in LANES if name in self.lanes[lane])
        if how in ("delivered", "aside"):
            self.lanes[lane].remove(name)
        elif how == "waits":
            self.due[name] = self.loop.time() + LATER
        self.settle()

    @rule()
    def die(self) -> None:
        worker = self.random.choice(self.alive())
        worker.process.state = "dead"
        self.database.connection.execute(queries["end_worker"], {"worker": worker.lease.worker})
        self.boot()
        self.settle()

    @rule()
    def restart(self) -> None:
        worker = self.random.choice(self.alive())
        self.boot()
        stopping = self.loop.create_task(self.stop(worker), context=worker.process.context())
        self.loop.run_until_complete(asyncio.wait([stopping], timeout=60))
        assert stopping.done()
        worker.process.state = "dead"
        self.settle()

    @precondition(lambda self: len(self.alive()) < 3)
    @rule()
    def join(self) -> None:
        self.boot()
        self.settle()

    @rule(seconds=st.sampled_from([1.0, 20.0, 45.0]))
    def sleep(self, seconds: float) -> None:
        self.pass_time(seconds)
        self.settle()

    # ---- workers ----------------------------------------------------------------------------

    def boot(self) -> None:
        process = Process(f"w{len(self.workers)}", len(self.workers))
        link = Link(self.database)
        lease = VirtualLease(30.0, process.name, self.loop.time)
        writer = InlineWriter(link, lease, fail=lambda _point: None, delay=self.delay)
        store: Any = InlineStore(writer, link, self.delay)
        book = Book(store, lease, clock=self.clock)
        runner: Any = Puppet(book, process, self.under_way, self.ended)
        executor = Executor(
            [runner],
            bus=MemberBus(self.cluster, process),
            ledger=book,
            clock=self.clock,
            topic=lambda name: f"t.{name}",
            in_flight=20,
        )
        self.workers.append(SimpleNamespace(process=process, lease=lease, writer=writer, book=book, executor=executor))
        self.loop.create_task(self.run(self.workers[-1]), context=process.context())

    async def run(self, worker: Any) -> None:
        worker.writer.begin(lambda connection: worker.lease.begin(connection, self.clock.now_ms()))
        worker.alive = asyncio.create_task(worker.writer.keep_alive())
        await worker.executor.start()

    async def stop(self, worker: Any) -> None:
        await worker.executor.stop(1.0)
        worker.alive.cancel()
        await worker.book.close()

    def delay(self) -> float:
        return self.random.random() * 0.01

    def alive(self) -> list[Any]:
        return [worker for worker in self.workers if worker.process.state == "runs"]

    def running(self) -> set[str]:
        return {name for name, (process, how) in self.under_way.items() if process.state == "runs" and not how.done()}

    # ---- what must be -----------------------------------------------------------------------

    def settle(self) -> None:
        """
        Give everybody time, then compare.
        """
        self.pass_time(SETTLES)
        now = self.loop.time()
        heads = {lane[0] for lane in self.lanes.values() if lane}
        must = {name for name in heads if self.due.get(name, 0.0) <= now - NEARLY}
        may = {name for name in heads if self.due.get(name, 0.0) <= now}

        assert must <= self.running() <= may

    def pass_time(self, seconds: float) -> None:
        self.loop.run_until_complete(asyncio.sleep(seconds))

    def teardown(self) -> None:
        if hasattr(self, "loop"):
            try:
                self.finish()
            finally:
                self.bury()

    def finish(self) -> None:
        """
        Let everything end; each lane must have ended in its order, and nothing be left.
        """
        for _ in range(400):
            if not any(self.lanes.values()):
                break
            for name in self.running():
                self.under_way[name][1].set_result("delivered")
                lane = next(lane for lane in LANES if name in self.lanes[lane])
                self.lanes[lane].remove(name)
            self.pass_time(SETTLES)
        self.pass_time(SETTLES)
        audit(self.database.connection)  # type: ignore[arg-type]
        left = self.database.rows("SELECT event_id FROM runs WHERE state NOT IN ('final', 'aside')")
        ends = {lane: [name for key, name, _ in self.ended if key == lane] for lane in LANES}

        assert [] == left
        assert self.order == ends
        for group in self.cluster.groups.values():
            assert {one: self.cluster.end(one) for one in group.positions} == group.positions

    def bury(self) -> None:
        for worker in self.workers:
            worker.executor._stopping = True
            self.loop.thaw(worker.process)
        self.database.down = True
        for _ in range(50):
            if not (tasks := asyncio.all_tasks(self.loop)):
                break
            for task in tasks:
                task.cancel()
            self.loop.run_until_complete(asyncio.wait(tasks, timeout=0.1))
        self.loop.close()
        self.database.connection.close()
        gc.enable()


TestExecutor = ExecutorMachine.TestCase
TestExecutor.settings = settings(max_examples=CASES, stateful_step_count=STEPS, deadline=None)
