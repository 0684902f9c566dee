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
import logging
from collections.abc import Callable, Coroutine, Mapping, Sequence
from functools import partial
from typing import Any

from bus.contract import Bus, Partition
from engine.arrivals import Arrivals
from engine.holds import Holds
from engine.intake import Intake, Item, Lane
from engine.patience import firmly, for_ever
from engine.pauses import LOOK_EVERY as PAUSES_EVERY
from engine.pauses import Pauses
from engine.relief import Relief
from engine.resignation import LOOK_EVERY, Resignation
from engine.runner import Runner
from engine.settling import Settling
from engine.slots import Seats, Slots
from engine.topics import lost_by
from engine.turnstile import Turnstile
from engine.waiting import Waiting
from engine.watch import Watch
from ledger.contract import Claim, Known, Ledger, PickedUp
from ledger.pausing import gate_of
from penstock.clock import Clock
from penstock.errors import Fenced, PenstockError
from penstock.metrics import Instruments
from schemas.events import Event

log = logging.getLogger(__name__)

IN_FLIGHT = 256  # runs at once, all pipelines together
FETCH = 500  # messages per fetch
FETCH_WAIT = 0.5  # seconds
COMMIT_EVERY = 0.5  # seconds
RELIEVE_EVERY = 1.0  # seconds
LOOK_AGAIN = 0.05  # seconds until a paused pipeline is looked at again
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
        holds: Holds | None = None,
        watch: Watch | None = None,
    ) -> None:
        self._holds = holds or Holds(ledger, clock)
        self._watch = watch or Watch(Instruments(), clock)
        self._intakes = {runner.plan.name: Intake(runner) for runner in runners}
        self._bus = bus
        self._ledger = ledger
        self._clock = clock
        self._topic = topic
        self._slots = Slots(in_flight, 2 * len(runners))
        self._seats = Seats(self._slots, in_flight)
        self._ready: dict[str, list[tuple[int, str]]] = {name: [] for name in self._intakes}
        self._tasks: set[asyncio.Task[None]] = set()
        self._loops: list[asyncio.Task[None]] = []
        self._relief = Relief(self._intakes, clock=clock, admit=self._put_off, go_on=self._go_on)
        self._settling = Settling(ledger, clock, self._watch)
        self._resignation = Resignation(runners, ledger=ledger, clock=clock)
        self._pauses = Pauses(ledger)
        self._turnstile = Turnstile({one.plan.name: one.pacer for one in runners}, clock, self._look_again)
        self._waiting = Waiting(
            self._intakes,
            ledger=ledger,
            clock=clock,
            room=self._room,
            slots=self._slots,
            holds=self._holds,
            start=self._pick_up,
            dispatch=self._dispatch,
        )
        self._arrivals = Arrivals(
            ledger, clock, self._watch, admit=self._admit, enqueue=self._enqueue, enqueued=self._dispatch
        )
        self._stopping = False

    # ---- life -------------------------------------------------------------------------------

    async def start(self) -> None:
        """
        Join every group, then begin to fetch, run, pick up and commit.
        """
        await self._pauses.look()
        for name, intake in self._intakes.items():
            plan = intake.runner.plan
            topic = self._topic(plan.connection)
            start = await self._ledger.positions(name, topic) or plan.start.at(self._clock.now_ms())
            intake.subscription = await self._bus.subscribe(
                topic,
                name,
                start=start,
                on_assigned=intake.assigned,
                on_revoked=intake.revoked,
                on_lost=lost_by(name, ledger=self._ledger, clock=self._clock),
            )
            await self._settling.resume(plan)
        works: list[tuple[str, Callable[[], Coroutine[Any, Any, None]], float]]
        works = [(f"fetching for {name}", partial(self._fetch, one), 0.0) for name, one in self._intakes.items()]
        works += [
            ("picking up", self._waiting.look, 0.0),
            ("committing", self._commit, COMMIT_EVERY),
            ("relieving", self._relief.look, RELIEVE_EVERY),
            ("looking for pauses", self._pauses.look, PAUSES_EVERY),
            ("giving up", self._resignation.look, LOOK_EVERY),
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
        await self._turnstile.close()
        await self._commit()
        for name, intake in self._intakes.items():
            if intake.subscription is not None:
                try:
                    await intake.subscription.close()
                except PenstockError as error:
                    log.warning("%s could not leave its group, and is put out of it later: %s", name, error)

    @property
    def running(self) -> int:
        """
        How many runs are in flight.
        """
        return len(self._tasks)

    @property
    def held(self) -> int:
        """
        How many received messages are not finished, those aside that stand still for want of money.
        """
        return sum(intake.held for name, intake in self._intakes.items() if not self._holds.paused(name))

    # ---- intake -----------------------------------------------------------------------------

    async def _fetch(self, intake: Intake) -> None:
        if not intake.inbox:
            assert intake.subscription is not None
            if not intake.begun:
                await self._remember(intake, await intake.subscription.committed())
                intake.begun = True
            intake.barred = self._holds.paused(intake.runner.plan.name)
            intake.regulate()
            messages = await intake.subscription.fetch(FETCH, wait=FETCH_WAIT)
            intake.inbox = [message for message in messages if intake.receive(message)]
        if intake.inbox:
            await self._arrivals.take_in(intake)
        elif intake.paused:
            await self._clock.sleep(LOOK_AGAIN)

    async def _admit(self, item: Item) -> None:
        await firmly(self._clock, lambda: self._ledger.admit(item.new, item.body, reason="behind"))
        item.kept = True
        self._waiting.wake()

    async def _put_off(self, item: Item) -> None:
        """
        Put an item that does not run from here into the ledger, as its pipeline waits.
        """
        if not item.intake.settles:
            await self._admit(item)
            return
        await self._settling.join(item)
        item.kept = True
        self._waiting.wake()

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
            open_ones = [name for name, heap in self._ready.items() if heap and self._may_start(name)]
            if not open_ones:
                return
            name = min(open_ones, key=lambda name: self._ready[name][0])
            _, key = self._ready[name][0]
            heapq.heappop(self._ready[name])
            lane = self._intakes[name].lanes.get(key)
            if lane is None or not lane.idle or not lane.queue:
                continue
            lane.running = lane.queue.popleft()
            self._spawn((name, "new"), lane.running.new.run, self._work(lane, lane.running))

    def _may_start(self, name: str) -> bool:
        return bool(self._room((name, "new"))) and not self._holds.paused(name)

    def _room(self, party: Party) -> int:
        """
        Return how many runs of *party* may begin: for want of places, or of turns at their model.
        """
        name, kind = party
        places = self._slots.open_to(party)
        asks = kind == "waited" or not self._intakes[name].settles  # what settles only goes to the ledger
        return min(places, self._turnstile.room(name)) if places and asks else places

    def _look_again(self) -> None:
        self._waiting.wake()
        self._dispatch()

    def _spawn(self, party: Party, run: str, work: Coroutine[Any, Any, None]) -> None:
        self._turnstile.begins(party[0], run)
        task = asyncio.create_task(work)
        self._tasks.add(task)
        self._seats.take(task, party)
        task.add_done_callback(partial(self._ended, party, run))

    def _ended(self, party: Party, run: str, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._turnstile.ended(party[0], run)
        self._seats.leave(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("a run ended unforeseen", exc_info=error)
        self._room_came()

    def _leaving(self) -> None:
        """
        Free the place of the run that is under way here: another may ask its model while the ledger keeps the end.
        """
        if self._seats.leave_early(asyncio.current_task()):
            self._room_came()

    def _room_came(self) -> None:
        self._waiting.room_came()
        self._dispatch()

    async def _work(self, lane: Lane, item: Item) -> None:
        try:
            await self._run(item)
            item.passed()
        except Exception as error:
            foreseen = isinstance(error, Fenced)  # we were called dead; our next lease claims it
            log.log(
                logging.WARNING if foreseen else logging.ERROR,
                "run %s could not begin: %s",
                item.new.run,
                error,
                exc_info=not foreseen,
            )
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
        if item.intake.settles:
            await self._put_off(item)
            return
        name = item.new.pipeline
        if name in self._pauses:
            await firmly(
                self._clock, lambda: self._ledger.admit(item.new, item.body, reason="pause", gate=gate_of(name))
            )
            return
        outcome = await firmly(self._clock, lambda: self._ledger.claim(item.new))
        item.kept |= isinstance(outcome, Claim)
        if isinstance(outcome, Known) and outcome.state != "running":
            return
        if not isinstance(outcome, Claim) or not await self._handle(outcome, item.event, item.body):
            await self._admit(item)

    async def _handle(self, claim: Claim, event: Event, body: bytes, *, probing: str | None = None) -> bool:
        """
        Take a claimed run to its next state; False when it has none, because the lane was lost or given up.
        """
        self._watch.began(claim)
        try:
            runner = self._intakes[claim.pipeline].runner
            if not await runner.handle(claim, event, body, probing=probing, leaving=self._leaving):
                self._waiting.wake()
        except Fenced:
            return False
        except Exception:
            log.exception("the end of run %s could not be kept", claim.run, extra={"penstock.run": claim.run})
            await self._clock.sleep(AFTER_UNFORESEEN)
            await firmly(self._clock, lambda: self._ledger.give_up(claim))
            self._waiting.wake()
            return False
        return True

    def _pick_up(self, picked: PickedUp) -> None:
        if picked.gate is not None and not picked.probe:  # else it would wait there again, at once and for ever
            self._intakes[picked.claim.pipeline].runner.opened(picked.gate)
        self._spawn((picked.claim.pipeline, "waited"), picked.claim.run, self._resume(picked))

    async def _resume(self, picked: PickedUp) -> None:
        try:
            event = Event.from_json(picked.body)
        except ValueError as error:
            why = f"The event that was kept cannot be read any more: {str(error).splitlines()[0]}"
            with contextlib.suppress(Fenced):
                await firmly(self._clock, lambda: self._ledger.finish(picked.claim, "dead", why=why, body=picked.body))
                self._watch.ended(picked.claim, "dead")
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
