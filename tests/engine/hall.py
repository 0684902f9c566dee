"""
The real executor over real runners, a real ledger and a bus, on a clock that tests move.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any

import bus as bus_room
import ledger as ledger_room
from bus.contract import Bus
from engine import Executor, Gates, Runner
from ledger.contract import Ledger, RunQuery
from penstock.clock import ManualClock
from schemas.events import Event
from tests.engine.bench import outgoing

PARTITIONS = 4
PATIENCE = 60.0  # seconds of the wall clock after which a test gives up
TURN = 0.01  # seconds of the wall clock that other threads get between two moves of the clock


@dataclass
class Hall:
    """
    Where workers come and go while bus, ledger and the desk stay.
    """

    world: Any
    place: Any
    """Where the ledger is."""
    clock: ManualClock
    bus: Bus
    ledger: Ledger
    executors: list[Executor] = field(default_factory=list)

    def runner(self, name: str = "p", *, ledger: Ledger | None = None, **changes: Any) -> Runner:
        """
        Return a runner of a pipeline called *name*.
        """
        self.world.gates = Gates(ledger or self.ledger, self.clock)
        runner: Runner = self.world.runner(ledger or self.ledger, **changes)
        runner.plan = dataclasses.replace(runner.plan, name=name)
        for part in (runner._judging, runner._delivering, runner._delivering._writing):
            part._plan = runner.plan
        return runner

    @contextlib.asynccontextmanager
    async def working(
        self, *runners: Any, ledger: Ledger | None = None, in_flight: int = 50
    ) -> AsyncIterator[Executor]:
        """
        Run *runners* until the block ends; then the worker is gone as if killed.
        """
        executor = Executor(
            runners,
            bus=self.bus,
            ledger=ledger or self.ledger,
            clock=self.clock,
            topic=lambda name: f"t.{name}",
            in_flight=in_flight,
        )
        await executor.start()
        self.executors.append(executor)
        try:
            yield executor
        finally:
            self.executors.remove(executor)
            await kill(executor)

    async def give(self, *events: Event) -> None:
        await self.bus.publish([outgoing(event) for event in events])

    async def passes(self, seconds: float, step: float = 1.0) -> None:
        """
        Let time pass in steps, and everybody do what they have to do in each.
        """
        left = seconds
        while left > 0:
            await self.clock.advance(min(step, left))
            left -= step
            await self.turn()

    async def turn(self) -> None:
        for executor in self.executors:
            executor._waiting.wake()
        await asyncio.sleep(TURN)

    async def until(self, condition: Callable[[], bool], *, moving: float = 0.0) -> None:
        """
        Wait until *condition* is true; the clock moves *moving* seconds a turn.
        """
        async with asyncio.timeout(PATIENCE):
            while not condition():
                await self.clock.advance(moving)
                await self.turn()

    async def idle(self) -> None:
        """
        Wait until everything that came in has its place in the ledger or its end.
        """
        async with asyncio.timeout(PATIENCE):
            while not all([await self._has_read_all(one) for one in self.executors]):
                await self.turn()

    async def _has_read_all(self, executor: Executor) -> bool:
        await executor._commit()
        subscriptions = [intake.subscription for intake in executor._intakes.values()]
        behind = [sum((await one.lag()).values()) for one in subscriptions if one is not None]
        return executor.held == 0 and not any(behind)

    async def ends(self, pipeline: str = "p") -> dict[str, str]:
        """
        Return verdict or state of every event by its id.
        """
        runs = await self.ledger.runs(RunQuery(pipeline=pipeline, limit=5000))
        return {run.event_id: run.verdict or run.state for run in runs}

    async def ended(self, *, moving: float = 0.0, **expected: str) -> None:
        """
        Wait until the events have come to what is expected of them; the clock moves *moving* seconds a turn.
        """
        wanted = {name.replace("_", ""): end for name, end in expected.items()}
        found: dict[str, str] = {}
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(PATIENCE):
                while (found := await self.ends()) != wanted:
                    await self.clock.advance(moving)
                    await self.turn()
        assert wanted == found, sorted(wanted.items() ^ found.items())

    async def reopen(self) -> None:
        """
        Close the ledger and open it again, as a new process does.
        """
        await self.ledger.close()
        self.ledger = await ledger_room.open(self.place, clock=self.clock)
        self.world.ledger = self.world.model.ledger = self.ledger


async def kill(executor: Executor) -> None:
    """
    Stop a worker where it stands; nothing more is committed.
    """
    executor._stopping = True
    tasks = [*executor._loops, *executor._tasks]
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    for intake in executor._intakes.values():
        intake.marks.clear()
        if intake.subscription is not None:
            await intake.subscription.close()


async def open_hall(world: Any, place: Any) -> Hall:
    """
    Return a hall whose ledger is at *place*; *world* loses its own clock and ledger to it.
    """
    clock = ManualClock()
    ledger = await ledger_room.open(place, clock=clock)
    bus = bus_room.open(None, partitions=PARTITIONS, keep=7 * 86_400.0, clock=clock)
    await bus.ensure_topic("t.desk", PARTITIONS)
    await world.ledger.close()
    world.clock, world.ledger, world.model.ledger = clock, ledger, ledger
    return Hall(world, place, clock, bus, ledger)
