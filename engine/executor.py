"""
Many runs in flight, in order per lane, and no offset passed too early.

Intake: each pipeline reads its connection's topic in its own group. A message becomes an item of a
lane; the oldest ready head runs first. The position of a partition moves only over offsets whose run
is final or whose event is in the ledger (invariant I1); it is committed twice a second.
"""

from __future__ import annotations

import asyncio
import contextlib
import heapq
import itertools
import logging
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

from bus.contract import Bus, Message
from engine.intake import Intake, Item, Lane
from engine.patience import firmly
from engine.runner import Runner
from ledger.contract import Claim, Known, Ledger, PickedUp
from penstock.clock import Clock
from penstock.errors import Fenced, PenstockError
from schemas.events import Event

log = logging.getLogger(__name__)

IN_FLIGHT = 256  # runs at once, all pipelines together
FETCH = 500  # messages per fetch
FETCH_WAIT = 0.5  # seconds
COMMIT_EVERY = 0.5  # seconds
RELIEVE_EVERY = 1.0  # seconds
LANE_MOST = 64  # items of a lane kept in memory
HEAD_MOST = 60.0  # seconds a head may keep its offset back
PICK_UP_EVERY = 1.0  # seconds at most between looks at what is due
PICK_UP_MOST = 64  # waiting runs taken at once


class Executor:
    """
    Runs every pipeline's events over one pool of slots.
    """

    def __init__(
        self,
        runners: Sequence[Runner],
        *,
        bus: Bus,
        ledger: Ledger,
        clock: Clock,
        topic: Callable[[str], str],
        in_flight: int = IN_FLIGHT,
    ) -> None:
        self._intakes = {runner.plan.name: Intake(runner) for runner in runners}
        self._bus = bus
        self._ledger = ledger
        self._clock = clock
        self._topic = topic
        self._free = in_flight
        self._ready: list[tuple[int, str, str]] = []
        self._order = itertools.count()
        self._tasks: set[asyncio.Task[None]] = set()
        self._loops: list[asyncio.Task[None]] = []
        self._wake = asyncio.Event()
        self._quiet = asyncio.Event()
        self._stopping = False

    # ---- life -------------------------------------------------------------------------------

    async def start(self) -> None:
        """
        Join every group, then begin to fetch, run, pick up and commit.
        """
        for name, intake in self._intakes.items():
            topic = self._topic(intake.runner.plan.connection)
            intake.subscription = await self._bus.subscribe(
                topic, name, on_assigned=intake.assigned, on_revoked=intake.revoked
            )
        loops = [self._fetching(intake) for intake in self._intakes.values()]
        loops += [
            self._picking_up(),
            self._every(COMMIT_EVERY, self._commit),
            self._every(RELIEVE_EVERY, self._relieve),
        ]
        self._loops = [asyncio.create_task(loop) for loop in loops]

    async def stop(self, grace: float = 20.0) -> None:
        """
        Start nothing more, let what runs finish for *grace* seconds, store the positions, leave.
        """
        self._stopping = True
        for loop in self._loops:
            loop.cancel()
        await asyncio.gather(*self._loops, return_exceptions=True)
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=grace)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        with contextlib.suppress(PenstockError):
            await self._commit()
        for intake in self._intakes.values():
            if intake.subscription is not None:
                await intake.subscription.close()

    @property
    def running(self) -> int:
        """
        How many runs are in flight.
        """
        return len(self._tasks)

    @property
    def held(self) -> int:
        """
        How many received messages are not finished.
        """
        return sum(intake.held for intake in self._intakes.values())

    # ---- intake -----------------------------------------------------------------------------

    async def _fetching(self, intake: Intake) -> None:
        assert intake.subscription is not None
        while True:
            try:
                intake.regulate()
                messages = await intake.subscription.fetch(FETCH, wait=FETCH_WAIT)
                if messages:
                    await self._take_in(intake, messages)
                elif intake.paused:
                    await self._clock.sleep(0.05)
            except PenstockError as error:
                log.warning("fetching for %s: %s", intake.runner.plan.name, error)
                await self._clock.sleep(1.0)

    async def _take_in(self, intake: Intake, messages: Sequence[Message]) -> None:
        items = [item for message in messages if (item := await self._read(intake, message))]
        known = await firmly(self._clock, lambda: self._ledger.recognise([item.new.run for item in items]))
        ends: list[Coroutine[Any, Any, None]] = []
        for item in items:
            if item.new.run in known:
                ends.append(self._seen(item, known[item.new.run]))
            elif (judged := intake.runner.judge(item.event)) is not None:
                verdict, why = judged
                ends.append(self._concluded(item, verdict, why))
            else:
                self._enqueue(item)
        await asyncio.gather(*ends)
        self._dispatch()

    async def _read(self, intake: Intake, message: Message) -> Item | None:
        if not intake.receive(message):
            return None
        try:
            event = Event.from_kafka(list(message.headers), message.value)
        except ValueError as error:
            why = f"The message is not a CloudEvent: {str(error).splitlines()[0]}"
            await firmly(self._clock, lambda: self._ledger.conclude(intake.runner.unreadable(message), "dead", why))
            intake.finish(message)
            return None
        new = intake.runner.offer(event, message)
        return Item(intake, message, event, new, next(self._order), self._clock.monotonic())

    async def _seen(self, item: Item, known: Known) -> None:
        if known.state == "running":  # adopt it: whoever runs it may die without its event
            await self._admit(item)
        await firmly(self._clock, lambda: self._ledger.redelivered([item.new.run]))
        item.passed()

    async def _concluded(self, item: Item, verdict: Any, why: str) -> None:
        await firmly(self._clock, lambda: self._ledger.conclude(item.new, verdict, why, body=item.body))
        item.passed()

    async def _admit(self, item: Item) -> None:
        await firmly(self._clock, lambda: self._ledger.admit(item.new, item.body, reason="behind"))

    # ---- lanes ------------------------------------------------------------------------------

    def _enqueue(self, item: Item) -> None:
        lane = item.intake.lanes.setdefault(item.new.lane, Lane())
        lane.queue.append(item)
        if lane.idle and len(lane.queue) == 1:
            self._offer(item)

    def _offer(self, item: Item) -> None:
        heapq.heappush(self._ready, (item.order, item.new.pipeline, item.new.lane))

    def _dispatch(self) -> None:
        """
        Start the oldest ready heads while there are free slots.
        """
        while self._free > 0 and self._ready and not self._stopping:
            _, pipeline, key = heapq.heappop(self._ready)
            lane = self._intakes[pipeline].lanes.get(key)
            if lane is None or not lane.idle or not lane.queue:
                continue
            lane.running = lane.queue.popleft()
            self._spawn(self._work(lane, lane.running))

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        self._free -= 1
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._free += 1
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("a run ended unforeseen", exc_info=error)
        self._wake.set()
        if not self._stopping:
            self._dispatch()

    async def _work(self, lane: Lane, item: Item) -> None:
        passed = False
        try:
            await self._run(item)
            item.passed()
            passed = True
        finally:
            lane.running = None
            if passed:
                self._next(item, lane)

    def _next(self, item: Item, lane: Lane) -> None:
        if lane.spilling:
            return
        if lane.queue:
            self._offer(lane.queue[0])
        else:
            item.intake.lanes.pop(item.new.lane, None)

    async def _run(self, item: Item) -> None:
        """
        Offer one item to the ledger; return when its offset may be passed.
        """
        outcome = await firmly(self._clock, lambda: self._ledger.claim(item.new))
        if isinstance(outcome, Known) and outcome.state != "running":
            return
        if not isinstance(outcome, Claim):
            await self._admit(item)
            return
        try:
            await item.intake.runner.handle(outcome, item.event, item.body)
        except Fenced:
            await self._admit(item)

    # ---- waiting ----------------------------------------------------------------------------

    async def _picking_up(self) -> None:
        names = list(self._intakes)
        while True:
            self._wake.clear()
            try:
                found = await self._ledger.pick_up(names, min(self._free, PICK_UP_MOST)) if self._free > 0 else []
                for picked in found:
                    self._spawn(self._resume(picked))
                await asyncio.sleep(0)
                if not found:
                    await self._until_due(names)
            except PenstockError as error:
                log.warning("picking up: %s", error)
                await self._clock.sleep(1.0)

    async def _until_due(self, names: Sequence[str]) -> None:
        due = await self._ledger.next_due(names)
        pause = PICK_UP_EVERY if due is None else min(max((due - self._clock.now_ms()) / 1000, 0.01), PICK_UP_EVERY)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._wake.wait(), pause)

    async def _resume(self, picked: PickedUp) -> None:
        runner = self._intakes[picked.claim.pipeline].runner
        event = Event.from_json(picked.body)
        with contextlib.suppress(Fenced):
            await runner.handle(picked.claim, event, picked.body, probing=picked.gate if picked.probe else None)

    # ---- relief -----------------------------------------------------------------------------

    async def _relieve(self) -> None:
        """
        Move long lanes and what waits behind an old head into the ledger, to release their offsets.
        """
        now = self._clock.monotonic()
        for intake in self._intakes.values():
            for lane in list(intake.lanes.values()):
                head = lane.running
                old = head is not None and now - head.since > HEAD_MOST
                if lane.queue and not lane.spilling and head is not None and (old or len(lane.queue) > LANE_MOST):
                    await self._spill(intake, lane)
                if old and head is not None and lane.running is head and not head.released:
                    await self._admit(head)  # its event is safe now; its own end still decides its verdict
                    head.passed()

    async def _spill(self, intake: Intake, lane: Lane) -> None:
        lane.spilling = True
        key = lane.queue[0].new.lane
        try:
            while lane.queue:
                item = lane.queue[0]
                await self._admit(item)
                item.passed()
                lane.queue.popleft()
        finally:
            lane.spilling = False
            if lane.running is None:
                if lane.queue:
                    self._offer(lane.queue[0])
                else:
                    intake.lanes.pop(key, None)
            self._wake.set()

    # ---- positions --------------------------------------------------------------------------

    async def _commit(self) -> None:
        for intake in self._intakes.values():
            await intake.commit()

    async def _every(self, seconds: float, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        while True:
            await self._clock.sleep(seconds)
            try:
                await work()
            except PenstockError as error:
                log.warning("%s: %s", getattr(work, "__name__", "work"), error)
