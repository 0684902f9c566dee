"""
A hub under fire: source, workers, desk and model, and the faults between them.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import shutil
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import ledger as ledger_room
from connectors.double import serving
from console.places import LEDGER
from console.testing import HubProcess, overlay
from ledger.contract import Ledger, RunQuery
from penstock.clock import SystemClock
from tests.crash.crew import STARTS_WITHIN, Slot, environment, logs, urls
from tests.crash.desk import HUB, SECRET, TOKEN, Desk
from tests.crash.faults import Fault, faults
from tests.crash.ground import Combination, Ground, ground
from tests.crash.journal import Journal
from tests.crash.judge import CLASSES, SETTLES, judge
from tests.crash.model import PIPELINES, Model
from tests.crash.money import count, place, told
from tests.crash.nursery import ForkedHub, Nursery
from tests.crash.report import Report
from tests.crash.source import Source
from tests.crash.strikes import Strikes

LEASE = 4.0  # seconds, where a hub takes 30
WORKERS = 2  # processes side by side; one that is stopped has its replacement beside it
RATE = 4.0  # events a second
AT_ONCE = 2  # faults
QUIET_WITHIN = 300.0  # seconds from the last fault until nothing is left to do
PROGRESS = 8  # effects between two faults
PROGRESS_WITHIN = 60.0  # seconds they may take; an outage may last longer
FAULT_WITHIN = 90.0  # seconds on average, however busy the machine
BACKLOG = 24  # events under way, from which the source holds back: a slow machine is not what is tried here
UNDER_WAY = {"running", "waiting"}
MOST_RUNS = 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """
    What is to be run.
    """

    combination: Combination
    faults: int
    seed: str
    workers: int = WORKERS
    rate: float = RATE
    first_point: int = 0
    """The failpoint to begin with: several short runs together strike at all of them."""
    module: str = "penstock"
    """What a worker runs: another one for a hub that is made to fail."""


async def run(order: Order, folder: Path) -> Report:
    """
    Run a scene in *folder* until its faults are over and everything is done; judge it.
    """
    begun = time.monotonic()
    hub = folder / "hub"
    async with ground(order.combination, folder, hub / ".penstock") as under, _scene(order, folder, under) as scene:
        async with asyncio.timeout(FAULT_WITHIN * max(order.faults, 10)):
            await scene.strike()
        await scene.calm_down()
        async with scene.ledger() as ledger:
            runs = await ledger.runs(RunQuery(limit=MOST_RUNS))
            details = [detail for run in runs if (detail := await ledger.detail(run.run)) is not None]
            money = await count(ledger, details, scene.model.calls, PIPELINES.values())
        parked = [place(run.event_id) for run in runs if run.state == "aside"]
        for line in logs(hub):
            scene.journal.surprise(line)
        return Report(
            combination=str(order.combination),
            seed=order.seed,
            workers=order.workers,
            seconds=time.monotonic() - begun,
            faults=dict(scene.journal.counts),
            points=dict(scene.journal.points),
            deliveries_again=scene.source.again,
            judgement=judge(folder, parked=parked, told=told(details)),
            money=money,
            surprises=scene.journal.surprises,
            verdicts=dict(Counter(run.verdict or run.reason or run.state for run in runs)),
            folder=str(folder),
        )


@contextlib.asynccontextmanager
async def _scene(order: Order, folder: Path, under: Ground) -> AsyncIterator[Scene]:
    desk = Desk(calls=folder / "desk.jsonl", random=Random(f"desk {order.seed}"))
    random = Random(f"model {order.seed}")
    model = Model(log=folder / "model.jsonl", random=random)
    async with Nursery() as nursery, model, serving(desk) as url:
        scene = Scene(order, folder, under, nursery, desk, model, url)
        try:
            yield scene
        finally:
            await scene.close()


class Scene:
    """
    Everything that takes part.
    """

    def __init__(
        self, order: Order, folder: Path, under: Ground, nursery: Nursery, desk: Desk, model: Model, url: str
    ) -> None:
        self._order = order
        self._folder = folder
        self._ground = under
        self._nursery = nursery
        self._desk_url = url
        self._desk = desk
        self.model = model
        self.journal = Journal(folder / "faults.jsonl")
        self.slots = [
            Slot(number, self._open_life, journal=self.journal, shaky_since=under.shaky_since)
            for number in range(order.workers)
        ]
        self.strikes = Strikes(
            slots=self.slots,
            ground=under,
            desk=desk,
            model=model,
            journal=self.journal,
            lease=LEASE,
            random=Random(f"strikes {order.seed}"),
        )
        self.source = Source(
            lambda: urls(self.slots, self.strikes.stopped),
            behind=self._behind,
            rate=order.rate,
            random=Random(f"source {order.seed}"),
            log=folder / "source.jsonl",
        )
        self._hub = self._make_hub()
        self._end = asyncio.Event()
        self._tasks = [asyncio.create_task(slot.keep()) for slot in self.slots]

    # ---- workers --------------------------------------------------------------------------

    def _open_life(self, name: str) -> HubProcess:
        env = environment(name, token=f"{TOKEN}{name}", hook=SECRET, key=self.model.admit(name), lease=LEASE)
        return ForkedHub(self._nursery, self._hub, env=env, name=name, module=self._order.module)

    def _make_hub(self) -> Path:
        place = overlay(HUB, self._folder / "hub", self._changes(), pipelines=list(PIPELINES.values()))
        shutil.copytree(HUB / "connectors", place / "connectors")
        return place

    def _changes(self) -> Mapping[str, Any]:
        changes: dict[str, Any] = {"connections.desk.url": self._desk_url, "models.small.url": self.model.openai_url}
        if self._ground.broker is not None:
            bus = {"kafka": self._ground.broker.address, "partitions": 6, "member": "${env:MEMBER}"}
            changes["hub.bus"] = bus
        if self._ground.dsn is not None:
            changes["hub.ledger"] = self._ground.dsn
        return changes

    # ---- acts -----------------------------------------------------------------------------

    async def strike(self) -> None:
        """
        Let events come, and faults, until there were enough of them.
        """
        async with asyncio.timeout(STARTS_WITHIN):
            for slot in self.slots:
                await slot.steady()
        self._tasks.append(asyncio.create_task(self.source.run(self._end)))
        order = self._order
        coming = faults(order.combination, order.seed, disk=self._ground.disk is not None, first=order.first_point)
        while (missing := order.faults - self.journal.faults) > 0:
            await self._some(itertools.islice(coming, missing))

    async def _some(self, coming: Iterable[Fault]) -> None:
        """
        Carry faults out, a few at once.
        """
        under_way: set[asyncio.Task[None]] = set()
        for fault in coming:
            await self._progress(fault.pause)
            if len(under_way) >= AT_ONCE:
                over, under_way = await asyncio.wait(under_way, return_when=asyncio.FIRST_COMPLETED)
                await asyncio.gather(*over)
            if self.journal.faults >= self._order.faults:
                break
            under_way.add(asyncio.create_task(self.strikes.carry_out(fault)))
        await asyncio.gather(*under_way)

    async def _progress(self, seconds: float) -> None:
        """
        Wait for *seconds*, and until something was done since the last fault: deaths alone prove nothing.
        """
        before, late = self._desk.effects, time.monotonic() + PROGRESS_WITHIN
        await asyncio.sleep(seconds)
        while self._desk.effects < before + PROGRESS and time.monotonic() < late:
            await asyncio.sleep(0.05)

    def _behind(self) -> bool:
        return self.source.made - self._desk.effects / (len(CLASSES) - len(SETTLES)) > BACKLOG

    async def calm_down(self) -> None:
        """
        Let everything end: the source first, then what is under way, then the workers.
        """
        self._end.set()
        try:
            async with asyncio.timeout(QUIET_WITHIN):
                await self._tasks[-1]
                while not await self._quiet():
                    await asyncio.sleep(1.0)
        except TimeoutError:
            self.journal.surprise(f"not everything was done {QUIET_WITHIN:g} s after the last fault")
        for slot in self.slots:
            await slot.close()

    async def _quiet(self) -> bool:
        async with self.ledger() as ledger:
            counts = await ledger.counts()
        done = sum(number for (_, state), number in counts.items() if state not in UNDER_WAY)
        return sum(counts.values()) == done >= self.source.accepted * len(PIPELINES)

    @contextlib.asynccontextmanager
    async def ledger(self) -> AsyncIterator[Ledger]:
        """
        Open the ledger to read.
        """
        server = self._ground.server
        place = server.dsn if server else self._folder / "hub/.penstock" / LEDGER
        opened = await ledger_room.open(place, clock=SystemClock(), read_only=True)
        try:
            yield opened
        finally:
            await opened.close()

    async def close(self) -> None:
        """
        End what is left.
        """
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for life in [slot.life for slot in self.slots if slot.life is not None] + self.strikes.stopped:
            life.hub.kill_at_once()
