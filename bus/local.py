"""
Topics, groups and waiting, on whatever `Log` it is given.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Collection, Mapping, Sequence

from bus.contract import Lost, Message, Outgoing, Partition, Position, Rebalanced, Start, TopicFacts
from bus.limits import check_message, check_topic
from bus.log import Log, Placed
from bus.members import Group, Member
from bus.partitioner import Partitioner
from penstock.clock import Clock
from penstock.errors import Invalid, PenstockError, Unavailable

_log = logging.getLogger(__name__)

_SWEEP_EVERY = 600.0  # seconds
_BALANCE_AGAIN = 1.0  # seconds
_SWEEP_CHUNK = 1000  # messages deleted per transaction, so that publishers never wait long


class LocalBus:
    """
    The part of a bus that is the same in memory and in a file.
    """

    def __init__(self, log: Log, *, partitions: int, keep: float, clock: Clock) -> None:
        self._log = log
        self._partitions = partitions
        self._keep = keep
        self._clock = clock
        self._partitioner = Partitioner()
        self._choices: dict[str, list[Partition]] = {}
        self._groups: dict[tuple[str, str], Group] = {}
        self._losers: dict[tuple[str, str], Lost] = {}
        self._creating = asyncio.Lock()
        self._closed = False
        self._sweeper: asyncio.Task[None] | None = None
        self._balancing: asyncio.Task[None] | None = None
        self._shifted = asyncio.Event()
        log.listen(self._wake, self._shifted.set)

    async def ensure_topic(self, topic: str, partitions: int) -> None:
        """
        Create *topic*; raises `Invalid` when it exists with another partition count.
        """
        self._check()
        async with self._creating:
            if topic not in self._log.topics:
                check_topic(topic, partitions)
                await self._log.create(topic, partitions)
        if self._log.topics[topic] != partitions:
            message = f"topic {topic!r} has {self._log.topics[topic]} partitions, not {partitions}"
            hint = "the count is fixed when a topic is made, or keys would change places: set it back"
            raise Invalid(message, hint=hint)

    async def facts(self, topic: str) -> TopicFacts | None:
        """
        Return how many partitions *topic* has; nobody makes one anew here.
        """
        self._check()
        count = self._log.topics.get(topic)
        return None if count is None else TopicFacts(count, "")

    async def publish(self, messages: Sequence[Outgoing]) -> list[Position]:
        """
        Append *messages*, all or none, and return when they are durable.
        """
        self._check()
        self._begin_sweeping()
        for message in messages:
            if message.topic not in self._log.topics:
                await self._know(message.topic)
        placed = [self._place(message) for message in messages]
        return await self._log.append(placed) if placed else []

    async def subscribe(
        self,
        topic: str,
        group: str,
        *,
        start: Start = "now",
        on_assigned: Rebalanced | None = None,
        on_revoked: Rebalanced | None = None,
        on_lost: Lost | None = None,
    ) -> Member:
        """
        Join *group* on *topic*; *start* matters only the first time a group is seen.
        """
        self._check()
        self._begin_sweeping()
        await self._know(topic)
        await self._record_start(topic, group, start)
        joined = self._groups.setdefault((topic, group), Group(self._log, topic, group))
        if on_lost is not None:
            self._losers[topic, group] = on_lost
        member = Member(joined, on_assigned=on_assigned, on_revoked=on_revoked)
        self._balancing = self._balancing or asyncio.create_task(self._balance_on())
        await joined.join(member)
        return member

    async def read(self, topic: str, partition: int, offset: int) -> Message | None:
        """
        Return one message for people to look at; None when it is not, or no longer, there.
        """
        self._check()
        source = Partition(topic, partition)
        if source not in self._log.spans or offset < 0:
            return None
        found = await self._log.read({source: offset}, 1)
        return found[0] if found and found[0].offset == offset else None

    async def sweep(self) -> int:
        """
        Delete what is older than the bus keeps messages; return how many went.
        """
        self._check()
        before = self._clock.now_ms() - int(self._keep * 1000)
        gone = 0
        for partition in list(self._log.spans):
            while deleted := await self._log.trim(partition, before, _SWEEP_CHUNK):
                gone += deleted
                await self._tell_of_unread(partition, deleted)
        return gone

    async def close(self) -> None:
        """
        Finish what was accepted and close; whoever still waits gets `Unavailable`.
        """
        if self._closed:
            return
        self._closed = True
        tasks = [task for task in (self._sweeper, self._balancing) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for group in self._groups.values():
            group.abandon()
        await self._log.close()

    async def _know(self, topic: str) -> None:
        if topic not in self._log.topics:
            await self.ensure_topic(topic, self._partitions)

    def _place(self, message: Outgoing) -> Placed:
        check_message(message)
        choices = self._choices.get(message.topic) or self._list(message.topic)
        return choices[self._partitioner.choose(message.topic, message.key, len(choices))], message

    def _list(self, topic: str) -> list[Partition]:
        self._choices[topic] = [Partition(topic, number) for number in range(self._log.topics[topic])]
        return self._choices[topic]

    async def _record_start(self, topic: str, group: str, start: Start) -> None:
        async with self._creating:
            known = self._log.positions(group, topic)
            missing = [one for one in self._list(topic) if one not in known]
            positions = {one: await self._starting(one, start) for one in missing}
            if positions:
                await self._log.start(group, positions)

    async def _starting(self, partition: Partition, start: Start) -> int:
        span = self._log.spans[partition]
        if start == "now":
            return span.end
        if start == "oldest":
            return span.first
        if isinstance(start, Mapping):
            known = start.get(partition.number, span.end)
            return known if span.first <= known <= span.end else span.first
        return await self._log.offset_at(partition, start)

    def _begin_sweeping(self) -> None:
        if self._sweeper is None:
            self._sweeper = asyncio.create_task(self._sweep_on())

    async def _sweep_on(self) -> None:
        while True:
            await self._clock.sleep(_SWEEP_EVERY)
            try:
                await self.sweep()
            except Unavailable as error:
                _log.warning("old messages stay until the next sweep: %s", error)

    async def _balance_on(self) -> None:
        """
        Follow the members of other processes that come and go.
        """
        while True:
            await self._shifted.wait()
            self._shifted.clear()
            for group in list(self._groups.values()):
                try:
                    await group.balance()
                except PenstockError as error:
                    _log.warning("the members of group %r stay as they are for now: %s", group.name, error)
                    await self._clock.sleep(_BALANCE_AGAIN)
                    self._shifted.set()

    async def _tell_of_unread(self, partition: Partition, deleted: int) -> None:
        first = self._log.spans[partition].first
        for group, position in self._log.readers(partition).items():
            lost = first - max(position, first - deleted)
            if lost > 0:
                said = "group %r had not read %s/%d up to offset %d, and it is older than the bus keeps messages"
                _log.warning(said, group, partition.topic, partition.number, first)
                if (told := self._losers.get((partition.topic, group))) is not None:
                    await told(partition, lost)

    def _wake(self, topics: Collection[str]) -> None:
        for (topic, _), group in self._groups.items():
            if topic in topics:
                group.wake()

    def _check(self) -> None:
        if self._closed:
            message = "the bus is closed"
            raise Unavailable(message)
