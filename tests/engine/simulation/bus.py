"""
A bus that keeps the bus' contract and nothing more: groups, rebalances, evictions, redelivery.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from contextvars import copy_context
from dataclasses import dataclass, field
from random import Random

from bus.contract import Message, Outgoing, Partition, Rebalanced
from bus.partitioner import partition_of
from bus.roster import share
from penstock.errors import Fenced, Unavailable
from tests.engine.simulation.clock import BEGAN
from tests.engine.simulation.process import Process
from tests.engine.simulation.trace import Trace

SESSION = 3.0  # seconds without a sign of life after which a member is put out
EAGER = 0.3  # share of worlds in which a rebalance takes everything from everybody first

Committed = Callable[[str, Mapping[Partition, int]], None]


@dataclass(eq=False)
class Group:
    """
    One pipeline's readers, and how far they have read.
    """

    name: str
    topic: str
    positions: dict[Partition, int] = field(default_factory=dict)
    members: list[Member] = field(default_factory=list)
    changing: asyncio.Lock = field(default_factory=asyncio.Lock)
    begun: bool = False


class Cluster:
    """
    The brokers: they live outside every process.
    """

    def __init__(
        self, loop: asyncio.AbstractEventLoop, random: Random, trace: Trace, *, partitions: int, committed: Committed
    ) -> None:
        self.loop = loop
        self.random = random
        self.trace = trace
        self.partitions = partitions
        self.committed = committed
        self.logs: dict[Partition, list[Message]] = {}
        self.groups: dict[tuple[str, str], Group] = {}
        self.down = False
        self.refused = 0
        """So many of the next commits fail; every other one only after it took effect."""
        self.eager = random.random() < EAGER
        self._context = copy_context()
        self._watching: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """
        Watch for members that give no sign of life.
        """
        self._watching.append(self.loop.create_task(self._watch()))

    def append(self, outgoing: Outgoing) -> Message:
        """
        Append a message, as a publisher outside does.
        """
        number = partition_of(outgoing.key or b"", self.partitions)
        log = self.logs.setdefault(Partition(outgoing.topic, number), [])
        message = Message(
            topic=outgoing.topic,
            partition=number,
            offset=len(log),
            key=outgoing.key,
            value=outgoing.value,
            headers=tuple(outgoing.headers),
            timestamp_ms=BEGAN + int(self.loop.time() * 1000),
        )
        log.append(message)
        for (_, topic), group in self.groups.items():
            if topic == outgoing.topic:
                for member in group.members:
                    member.news.set()
        return message

    def end(self, partition: Partition) -> int:
        """
        Return the offset of the next message.
        """
        return len(self.logs.get(partition, ()))

    async def rebalance(self, group: Group) -> None:
        """
        Share the partitions out anew: what moves is revoked first, then assigned.

        The brokers do it: that the member who asked dies meanwhile does not stop them.
        """
        await asyncio.wait([self.loop.create_task(self._rebalance(group), context=self._context)])

    async def _rebalance(self, group: Group) -> None:
        async with group.changing:
            await self._share(group)

    async def _share(self, group: Group) -> None:
        partitions = [Partition(group.topic, number) for number in range(self.partitions)]
        plan: list[tuple[Member, list[Partition]]] = []
        while group.members and (not plan or any(member not in group.members for member, _ in plan)):
            held: list[list[Partition]] = [[] if self.eager else list(one.next) for one in group.members]
            shares = share(partitions, held)
            if self.eager:
                self.random.shuffle(shares)
            plan = list(zip(group.members, shares, strict=True))
            for member, mine in plan:
                gone = [one for one in member.next if self.eager or one not in mine]
                await self._tell(member, member.on_revoked, gone)
                member.forget(gone)
            for member, mine in plan:
                if member in group.members:
                    new = {one: group.positions.get(one, 0) for one in mine if one not in member.next}
                    member.held.update(new)
                    member.next.update(new)
                    await self._tell(member, member.on_assigned, list(new))
                    member.held.difference_update(new)
                    member.news.set()
        self.trace("rebalanced", group.name, {m.process.name: sorted(p.number for p in s) for m, s in plan})

    async def _tell(self, member: Member, callback: Rebalanced | None, partitions: Sequence[Partition]) -> None:
        """
        Let the member's own process call back; one that gives no sign of life is put out.
        """
        if callback is None or not partitions or member not in member.group.members:
            return
        member.held.update(partitions)
        member.telling = True
        work = member.call_back(callback, partitions)
        waited = 0.0
        while not work.done():
            await asyncio.wait([work], timeout=0.5)
            waited = waited + 0.5 if member.process.state != "runs" else 0.0
            if waited >= SESSION:
                self.put_out(member)
                break
        member.telling = False

    def put_out(self, member: Member) -> None:
        """
        Take a member for dead: what it read and did not commit is read again by others.
        """
        if member in member.group.members:
            member.group.members.remove(member)
            member.out = True
            self.trace("put out of", member.group.name, member.process.name)

    async def _watch(self) -> None:
        silent: dict[Member, float] = {}
        while True:
            await asyncio.sleep(0.5)
            for group in self.groups.values():
                for member in list(group.members):
                    if member.process.state == "runs":
                        silent.pop(member, None)
                    else:
                        silent[member] = silent.get(member, 0.0) + 0.5
                        if silent[member] >= SESSION and not group.changing.locked():
                            self.put_out(member)
                            await self.rebalance(group)


class Member:
    """
    One subscription; `bus.contract.Subscription`.
    """

    def __init__(
        self,
        cluster: Cluster,
        group: Group,
        process: Process,
        on_assigned: Rebalanced | None,
        on_revoked: Rebalanced | None,
    ) -> None:
        self.cluster = cluster
        self.group = group
        self.process = process
        self.on_assigned = on_assigned
        self.on_revoked = on_revoked
        self.next: dict[Partition, int] = {}
        self.held: set[Partition] = set()
        self.paused: set[Partition] = set()
        self.news = asyncio.Event()
        self.out = False
        self.telling = False
        self.closed = False
        self._last: asyncio.Task[None] | None = None
        self._sending = asyncio.Lock()
        self._lives = 0
        """How often it was put out and came again: what it sent before counts no more."""

    async def fetch(self, most: int, *, wait: float) -> list[Message]:
        await asyncio.sleep(self.cluster.random.random() * 0.004)
        self._reach()
        if self.out:
            if self.cluster.random.random() < 0.5 and (stale := self._take(most)):
                return stale  # it was in its buffer before it was put out
            await self._rejoin()
        self.news.clear()
        if not (found := self._take(most)):
            try:
                async with asyncio.timeout(wait):
                    await self.news.wait()
            except TimeoutError:
                return []
            found = [] if self.out else self._take(most)
        return found

    def _take(self, most: int) -> list[Message]:
        found: list[Message] = []
        for partition in sorted(self.next, key=lambda _: self.cluster.random.random()):
            if partition in self.paused or partition in self.held:
                continue
            at = self.next[partition]
            new = self.cluster.logs.get(partition, [])[at : at + most - len(found)]
            self.next[partition] = at + len(new)
            found.extend(new)
        return found

    def pause(self, partitions: Sequence[Partition]) -> None:
        self.paused.update(partitions)

    def resume(self, partitions: Sequence[Partition]) -> None:
        self.paused.difference_update(partitions)
        self.news.set()

    async def commit(self, positions: Mapping[Partition, int]) -> None:
        life = self._lives
        async with self._sending:  # one connection: no commit overtakes another
            await self._commit(positions, life)

    async def _commit(self, positions: Mapping[Partition, int], life: int) -> None:
        await asyncio.sleep(self.cluster.random.random() * 0.01)
        self._reach()
        if self.out or life != self._lives or any(partition not in self.next for partition in positions):
            raise Fenced("another member reads this partition now")
        if self.group.changing.locked() and not self.telling and self.cluster.random.random() < 0.5:
            raise Unavailable("the group is rebalancing")
        late = False
        if self.cluster.refused > 0:
            self.cluster.refused -= 1
            if late := bool(self.cluster.refused % 2):
                raise Unavailable("the coordinator is loading")
            late = True
        self.cluster.committed(self.group.name, positions)
        self.group.positions.update(positions)
        if late:
            raise Unavailable("the commit was sent and not answered")

    async def committed(self) -> dict[Partition, int]:
        await asyncio.sleep(0.001)
        self._reach()
        return {one: self.group.positions[one] for one in self.next if one in self.group.positions}

    async def lag(self) -> dict[Partition, int]:
        return {one: self.cluster.end(one) - at for one, at in (await self.committed()).items()}

    async def seek_to_time(self, at_ms: int) -> None:
        raise AssertionError("the executor never seeks")

    async def close(self) -> None:
        if not self.closed:
            self.closed = True
            if self in self.group.members:
                self.group.members.remove(self)
                self.next.clear()
                await self.cluster.rebalance(self.group)

    def forget(self, partitions: Sequence[Partition]) -> None:
        """
        Read *partitions* no longer.
        """
        for partition in partitions:
            self.next.pop(partition, None)
        self.paused.difference_update(partitions)
        self.held.difference_update(partitions)

    def call_back(self, callback: Rebalanced, partitions: Sequence[Partition]) -> asyncio.Task[None]:
        """
        Call back in the member's own process, after the callbacks before.
        """

        async def call(before: asyncio.Task[None] | None) -> None:
            if before is not None:
                await asyncio.wait([before])
            await callback(partitions)

        self._last = self.cluster.loop.create_task(call(self._last), context=self.process.context())
        return self._last

    async def _rejoin(self) -> None:
        """
        Learn what was lost meanwhile, and join again as somebody new.
        """
        if self._last is not None:  # as a client does: no callback of the life before reaches into the next one
            await asyncio.wait([self._last])
        gone = list(self.next)
        if self.on_revoked is not None and gone:
            await self.call_back(self.on_revoked, gone)
        self.forget(gone)
        self.out = False
        self._lives += 1
        self.group.members.append(self)
        await self.cluster.rebalance(self.group)

    def _reach(self) -> None:
        if self.closed or self.cluster.down:
            raise Unavailable("no broker answers")
