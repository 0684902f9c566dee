"""
One pipeline's side of the executor: its subscription, its lanes, and how far it may be committed.
"""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

from bus.contract import Message, Partition, Subscription
from engine.runner import Runner
from engine.watermark import Watermark
from ledger.contract import NewRun
from penstock.errors import PenstockError
from schemas.events import Event

WINDOW = 32_768  # messages received and not finished, per pipeline
WINDOW_BYTES = 64 * 1024 * 1024  # of memory they take, per pipeline
READ = 2  # times its size a message takes with the event that was read from it
ITEM = 4_000  # bytes an item takes beside that


@dataclass(slots=True, eq=False)
class Item:
    """
    One message on its way.
    """

    intake: Intake
    message: Message
    event: Event
    new: NewRun
    order: int
    """Arrival, over all pipelines: the oldest ready head runs first."""
    since: float
    """Monotonic seconds."""
    released: bool = False
    kept: bool = False
    """Whether the ledger has its run: only then may what came after it in its lane be offered there."""

    @property
    def body(self) -> bytes:
        """
        The event in structured JSON form.
        """
        return self.event.to_json()

    def passed(self) -> None:
        """
        Let the partition's position pass this message, once.
        """
        if not self.released:
            self.released = True
            self.intake.finish(self.message)


@dataclass(slots=True)
class Lane:
    """
    What is in memory of one lane.
    """

    queue: deque[Item] = field(default_factory=deque)
    running: Item | None = None
    spilling: bool = False
    """True while its queue moves into the ledger; nothing of it may start meanwhile."""

    @property
    def idle(self) -> bool:
        """
        Whether its next item may start.
        """
        return self.running is None and not self.spilling

    def withdraw(self, item: Item) -> None:
        """
        Take *item* out of the queue, if it is still there.
        """
        with contextlib.suppress(ValueError):
            self.queue.remove(item)


class Intake:
    """
    What a pipeline has received and not finished.
    """

    def __init__(self, runner: Runner) -> None:
        self.runner = runner
        self.subscription: Subscription | None = None
        self.lanes: dict[str, Lane] = {}
        self.inbox: list[Message] = []
        """Received, and not yet given to a lane."""
        self.marks: dict[Partition, Watermark] = {}
        self.held = 0
        """Messages received and not finished."""
        self.paused = False
        self.barred = False
        """Whether nothing is to be fetched, whatever room there is."""
        self.begun = False
        """Whether the ledger knows where the group began; nothing is fetched before."""
        self._held_bytes = 0
        self._assigned: set[Partition] = set()

    @property
    def settles(self) -> bool:
        """
        Whether its events wait for the end of their burst.
        """
        return self.runner.plan.settle is not None

    def receive(self, message: Message) -> bool:
        """
        Note a fetched message; False when it is already being worked on, or now another member's.
        """
        if message.source not in self._assigned:
            return False
        if not self.marks.setdefault(message.source, Watermark()).add(message.offset):
            return False
        self.held += 1
        self._held_bytes += _weight(message)
        return True

    def finish(self, message: Message) -> None:
        """
        Note that *message* needs no redelivery any more.
        """
        mark = self.marks.get(message.source)
        if mark is not None:
            mark.finish(message.offset)
        self._let_go(message)

    def regulate(self) -> None:
        """
        Pause fetching when the window is full, resume when half of it is free.
        """
        if self.subscription is None:
            return
        full = self.barred or self.held >= WINDOW or self._held_bytes >= WINDOW_BYTES
        low = not self.barred and self.held <= WINDOW // 2 and self._held_bytes <= WINDOW_BYTES // 2
        if full and not self.paused:
            self.subscription.pause(list(self._assigned))
            self.paused = True
        elif low and self.paused:
            self.subscription.resume(list(self._assigned))
            self.paused = False

    async def commit(self) -> dict[Partition, int]:
        """
        Store the positions that moved, and return them.
        """
        moved = {
            partition: mark.position
            for partition, mark in self.marks.items()
            if partition in self._assigned and mark.position is not None and mark.position != mark.committed
        }
        if moved and self.subscription is not None:
            await self.subscription.commit(moved)
            for partition, position in moved.items():
                if partition in self.marks:
                    self.marks[partition].committed = position
        return moved

    async def assigned(self, partitions: Sequence[Partition]) -> None:
        """
        Take partitions over.
        """
        self._assigned.update(partitions)
        if self.paused and self.subscription is not None:
            self.subscription.pause(partitions)

    async def revoked(self, partitions: Sequence[Partition]) -> None:
        """
        Withdraw what has not started, commit, forget; what runs goes on under its lane.
        """
        gone = set(partitions)
        self.inbox = [message for message in self.inbox if not self._withdrawn(message, gone)]
        for key, lane in list(self.lanes.items()):
            for item in [item for item in lane.queue if item.message.source in gone]:
                lane.withdraw(item)
                item.released = True
                self._let_go(item.message)
            if not lane.queue and lane.idle:
                self.lanes.pop(key, None)
        with contextlib.suppress(PenstockError):
            await self.commit()
        self._assigned -= gone
        for partition in gone:
            self.marks.pop(partition, None)

    def _withdrawn(self, message: Message, gone: set[Partition]) -> bool:
        if message.source not in gone:
            return False
        self._let_go(message)
        return True

    def _let_go(self, message: Message) -> None:
        self.held -= 1
        self._held_bytes -= _weight(message)
        if self.paused:
            self.regulate()  # at once: a paused fetch would notice only when it gave up waiting


def _weight(message: Message) -> int:
    """
    Return the bytes that holding *message* takes, about: an event of one kilobyte takes seven.
    """
    return READ * message.size + ITEM
