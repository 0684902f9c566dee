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
from collections.abc import Callable, Coroutine, Mapping, Sequence
from functools import partial
from typing import Any

from bus.contract import Bus, Message, Partition
from engine.intake import Intake, Item, Lane
from engine.patience import firmly, for_ever
from engine.relief import Relief
from engine.runner import Runner
from engine.slots import Slots
from ledger.contract import Claim, Known, Ledger, PickedUp
from penstock.clock import Clock
from penstock.errors import Fenced, PenstockError
from schemas.entries import Verdict
from schemas.events import Event

log = logging.getLogger(__name__)

IN_FLIGHT = 256  # runs at once, all pipelines together
FETCH = 500  # messages per fetch
FETCH_WAIT = 0.5  # seconds
COMMIT_EVERY = 0.5  # seconds
RELIEVE_EVERY = 1.0  # seconds
PICK_UP_EVERY = 1.0  # seconds at most between looks at what is due
PICK_UP_MOST = 64  # waiting runs taken at once
LOOK_AGAIN = 0.05  # seconds until a look at what was due and could not be had
AFTER_UNFORESEEN = 5.0  # seconds until a run whose end could not be kept is taken up again

Party = tuple[str, str]
"""Who takes places: a pipeline's new events, or those of its runs that waited."""


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
        self._slots = Slots(in_flight, 2 * len(runners))
        self._ready: dict[str, list[tuple[int, str]]] = {name: [] for name in self._intakes}
        self._order = itertools.count()
        self._tasks: set[asyncio.Task[None]] = set()
        self._loops: list[asyncio.Task[None]] = []
        self._relief = Relief(self._intakes, clock=clock, admit=self._admit, go_on=self._go_on)
        self._wake = asyncio.Event()
        self._stopping = False

    # ---- life -------------------------------------------------------------------------------

    async def start(self) -> None:
        """
        Join every group, then begin to fetch, run, pick up and commit.
        """
        for name, intake in self._intakes.items():
            topic = self._topic(intake.runner.plan.connection)
            known = await self._ledger.positions(name, topic)
            intake.subscription = await self._bus.subscribe(
                topic, name, start=known or "now", on_assigned=intake.assigned, on_revoked=intake.revoked
            )
        works: list[tuple[str, Callable[[], Coroutine[Any, Any, None]], float]]
        works = [(f"fetching for {name}", partial(self._fetch, one), 0.0) for name, one in self._intakes.items()]
        works += [
            ("picking up", self._pick_up, 0.0),
            ("committing", self._commit, COMMIT_EVERY),
            ("relieving", self._relief.look, RELIEVE_EVERY),
        ]
        loops = (for_ever(self._clock, what, work, every=every) for what, work, every in works)
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

    async def _fetch(self, intake: Intake) -> None:
        if not intake.inbox:
            assert intake.subscription is not None
            if not intake.begun:
                await self._remember(intake, await intake.subscription.committed())
                intake.begun = True
            intake.regulate()
            messages = await intake.subscription.fetch(FETCH, wait=FETCH_WAIT)
            intake.inbox = [message for message in messages if intake.receive(message)]
        if intake.inbox:
            await self._take_in(intake)
        elif intake.paused:
            await self._clock.sleep(LOOK_AGAIN)

    async def _take_in(self, intake: Intake) -> None:
        """
        Give each message of the inbox its lane, or its end; after an error the inbox is still there.
        """
        found = [(message, await self._read(intake, message)) for message in list(intake.inbox)]
        known = await firmly(self._clock, lambda: self._ledger.recognise([item.new.run for _, item in found if item]))
        horizon = await firmly(self._clock, self._ledger.horizon)
        left, intake.inbox = set(map(id, intake.inbox)), []
        ends: list[Coroutine[Any, Any, None]] = []
        for message, item in found:
            if item is None or id(message) not in left:  # no event, or withdrawn meanwhile
                continue
            if item.new.run in known:
                ends.append(self._seen(item, known[item.new.run]))
            elif (judged := self._judge(item, horizon)) is not None:
                ends.append(self._concluded(item, *judged))
            else:
                self._enqueue(item)
        self._dispatch()
        for result in await asyncio.gather(*ends, return_exceptions=True):
            if isinstance(result, Exception):
                log.error("an event's end could not be kept; it is read again at the next start", exc_info=result)

    async def _read(self, intake: Intake, message: Message) -> Item | None:
        try:
            event = Event.from_kafka(list(message.headers), message.value)
        except ValueError as error:
            why = f"The message is not a CloudEvent: {str(error).splitlines()[0]}"
            await firmly(self._clock, lambda: self._ledger.conclude(intake.runner.unreadable(message), "dead", why))
            if message in intake.inbox:
                intake.inbox.remove(message)
                intake.finish(message)
            return None
        new = intake.runner.offer(event, message)
        return Item(intake, message, event, new, next(self._order), self._clock.monotonic())

    def _judge(self, item: Item, horizon: int) -> tuple[Verdict, str] | None:
        if item.message.timestamp_ms < horizon:
            return "stale", "it is older than what the ledger remembers, and may have run already"
        return item.intake.runner.judge(item.event)

    async def _seen(self, item: Item, known: Known) -> None:
        if known.state == "running":  # adopt it: whoever runs it may die without its event
            await self._admit(item)
        await firmly(self._clock, lambda: self._ledger.redelivered([item.new.run]))
        item.passed()

    async def _concluded(self, item: Item, verdict: Verdict, why: str) -> None:
        await firmly(self._clock, lambda: self._ledger.conclude(item.new, verdict, why, body=item.body))
        item.passed()

    async def _admit(self, item: Item) -> None:
        await firmly(self._clock, lambda: self._ledger.admit(item.new, item.body, reason="behind"))
        self._wake.set()

    # ---- lanes ------------------------------------------------------------------------------

    def _enqueue(self, item: Item) -> None:
        lane = item.intake.lanes.setdefault(item.new.lane, Lane())
        lane.queue.append(item)
        if lane.idle and len(lane.queue) == 1:
            self._offer(item)

    def _offer(self, item: Item) -> None:
        heapq.heappush(self._ready[item.new.pipeline], (item.order, item.new.lane))

    def _dispatch(self) -> None:
        """
        Start the oldest ready heads of the pipelines that may take a slot.
        """
        while not self._stopping:
            open_ones = [name for name, heap in self._ready.items() if heap and self._slots.open_to((name, "new"))]
            if not open_ones:
                return
            name = min(open_ones, key=lambda name: self._ready[name][0])
            _, key = self._ready[name][0]
            heapq.heappop(self._ready[name])
            lane = self._intakes[name].lanes.get(key)
            if lane is None or not lane.idle or not lane.queue:
                continue
            lane.running = lane.queue.popleft()
            self._spawn((name, "new"), self._work(lane, lane.running))

    def _spawn(self, party: Party, work: Coroutine[Any, Any, None]) -> None:
        self._slots.take(party)
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(partial(self._ended, party))

    def _ended(self, party: Party, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._slots.give_back(party)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("a run ended unforeseen", exc_info=error)
        self._wake.set()
        self._dispatch()

    async def _work(self, lane: Lane, item: Item) -> None:
        try:
            await self._run(item)
            item.passed()
        except Exception:
            log.exception("run %s could not begin", item.new.run)
            await self._clock.sleep(AFTER_UNFORESEEN)
            lane.queue.appendleft(item)
        finally:
            lane.running = None
            self._go_on(item.intake, item.new.lane)

    def _go_on(self, intake: Intake, key: str) -> None:
        """
        Offer the next item of a lane, or forget the lane.
        """
        lane = intake.lanes.get(key)
        if lane is None or not lane.idle:
            return
        if lane.queue:
            self._offer(lane.queue[0])
            self._dispatch()
        else:
            del intake.lanes[key]

    async def _run(self, item: Item) -> None:
        """
        Offer one item to the ledger; return when its offset may be passed.
        """
        outcome = await firmly(self._clock, lambda: self._ledger.claim(item.new))
        if isinstance(outcome, Known) and outcome.state != "running":
            return
        if not isinstance(outcome, Claim) or not await self._handle(outcome, item.event, item.body):
            await self._admit(item)

    async def _handle(self, claim: Claim, event: Event, body: bytes, *, probing: str | None = None) -> bool:
        """
        Take a claimed run to its next state; False when it has none, because the lane was lost or given up.
        """
        try:
            await self._intakes[claim.pipeline].runner.handle(claim, event, body, probing=probing)
        except Fenced:
            return False
        except Exception:
            log.exception("the end of run %s could not be kept", claim.run, extra={"penstock.run": claim.run})
            await self._clock.sleep(AFTER_UNFORESEEN)
            await firmly(self._clock, lambda: self._ledger.give_up(claim))
            self._wake.set()
            return False
        return True

    # ---- waiting ----------------------------------------------------------------------------

    async def _pick_up(self) -> None:
        """
        Start the waiting runs that are due, as far as there are slots; rest until there may be more.
        """
        self._wake.clear()
        places = {name: found for name in self._intakes if (found := self._slots.open_to((name, "waited")))}
        due = await self._ledger.next_due(list(places)) if places else None
        left = PICK_UP_EVERY if due is None else (due - self._clock.now_ms()) / 1000
        if left > 0:
            await self._rest(left)
        elif not await self._resume_some(list(places), min(*places.values(), PICK_UP_MOST)):
            await self._rest(LOOK_AGAIN)

    async def _resume_some(self, names: Sequence[str], most: int) -> int:
        party = ("", "picking up")
        self._slots.take(party, most)  # so that nobody else takes them meanwhile
        try:
            found = await self._ledger.pick_up(names, most)
        finally:
            self._slots.give_back(party, most)
        for picked in found:
            self._spawn((picked.claim.pipeline, "waited"), self._resume(picked))
        self._dispatch()
        return len(found)

    async def _rest(self, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(min(seconds, PICK_UP_EVERY)):
                await self._wake.wait()

    async def _resume(self, picked: PickedUp) -> None:
        try:
            event = Event.from_json(picked.body)
        except ValueError as error:
            why = f"The event that was kept cannot be read any more: {str(error).splitlines()[0]}"
            with contextlib.suppress(Fenced):
                await firmly(self._clock, lambda: self._ledger.finish(picked.claim, "dead", why=why, body=picked.body))
            return
        await self._handle(picked.claim, event, picked.body, probing=picked.gate if picked.probe else None)

    # ---- positions --------------------------------------------------------------------------

    async def _commit(self) -> None:
        for name, intake in self._intakes.items():
            try:
                if moved := await intake.commit():
                    await self._remember(intake, moved)
            except PenstockError as error:
                log.warning("the positions of %s cannot be stored: %s", name, error)

    async def _remember(self, intake: Intake, positions: Mapping[Partition, int]) -> None:
        """
        Keep positions in the ledger too: a bus may forget a group that was away too long.
        """
        plan = intake.runner.plan
        kept = {partition.number: position for partition, position in positions.items()}
        await self._ledger.keep_positions(plan.name, self._topic(plan.connection), kept)
