"""
Consumer groups inside one process: who reads which partition, and from where.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Mapping, Sequence

from bus.contract import Message, Partition, Rebalanced
from bus.log import Log
from penstock.errors import Fenced, Unavailable

_log = logging.getLogger(__name__)


class Group:
    """
    The members of one consumer group on one topic.
    """

    def __init__(self, log: Log, topic: str, name: str) -> None:
        self.log = log
        self.topic = topic
        self.name = name
        self.members: list[Member] = []
        self._changing = asyncio.Lock()

    async def join(self, member: Member) -> None:
        """
        Give *member* its share of the partitions.
        """
        async with self._changing:
            self.members.append(member)
            await self._rebalance()

    async def leave(self, member: Member) -> None:
        """
        Hand the partitions of *member* to those who stay.
        """
        async with self._changing:
            if member in self.members:
                self.members.remove(member)
                member.drop(member.assigned)
                await self._rebalance()

    def wake(self) -> None:
        """
        Let every waiting fetch look again.
        """
        for member in self.members:
            member.wake()

    def abandon(self) -> None:
        """
        End with the bus: nobody takes over.
        """
        for member in self.members:
            member.abandon()

    async def _rebalance(self) -> None:
        if not self.members:
            return
        partitions = [Partition(self.topic, number) for number in range(self.log.topics[self.topic])]
        shares = share(partitions, [member.assigned for member in self.members])
        for member, mine in zip(self.members, shares, strict=True):
            await member.revoke([partition for partition in member.assigned if partition not in mine])
        stored = self.log.positions(self.name, self.topic)
        for member, mine in zip(self.members, shares, strict=True):
            await member.assign({one: stored.get(one, 0) for one in mine if one not in member.assigned})


def share(partitions: Sequence[Partition], held: Sequence[Iterable[Partition]]) -> list[list[Partition]]:
    """
    Divide *partitions* evenly among the members, moving as few as possible of what they *held*.
    """
    least, spare = divmod(len(partitions), len(held))
    shares: list[list[Partition]] = []
    for current in map(list, held):
        most = least + (1 if spare and len(current) > least else 0)
        spare -= most - least
        shares.append(current[:most])
    kept = {partition for mine in shares for partition in mine}
    free = [partition for partition in partitions if partition not in kept]
    while free:
        min(shares, key=len).append(free.pop(0))
    return shares


class Member:
    """
    One subscription of a group.
    """

    def __init__(
        self,
        group: Group,
        *,
        on_assigned: Rebalanced | None = None,
        on_revoked: Rebalanced | None = None,
    ) -> None:
        self._group = group
        self._on_assigned = on_assigned
        self._on_revoked = on_revoked
        self._next: dict[Partition, int] = {}
        """The next offset to fetch of each assigned partition; its order is the order of turns."""
        self._paused: set[Partition] = set()
        self._held: set[Partition] = set()
        """Coming or going: assigned, but not fetched until its callback is through."""
        self._news = asyncio.Event()
        self._closed = False
        self._failed: Exception | None = None

    @property
    def assigned(self) -> list[Partition]:
        """
        The partitions this member reads.
        """
        return list(self._next)

    async def fetch(self, most: int, *, wait: float) -> list[Message]:
        """
        Return up to *most* messages, waiting up to *wait* seconds for the first.
        """
        until = asyncio.get_running_loop().time() + wait
        while True:
            self._check()
            self._news.clear()
            if found := await self._take(most):
                return found
            try:
                async with asyncio.timeout_at(until):
                    await self._news.wait()
            except TimeoutError:
                return []

    def pause(self, partitions: Sequence[Partition]) -> None:
        """
        Stop fetching *partitions*.
        """
        self._paused.update(partitions)

    def resume(self, partitions: Sequence[Partition]) -> None:
        """
        Fetch *partitions* again.
        """
        self._paused.difference_update(partitions)
        self.wake()

    async def commit(self, positions: Mapping[Partition, int]) -> None:
        """
        Store the next offset to read per partition; raises `Fenced` when another member reads one of them now.
        """
        self._check()
        if lost := sorted(partition for partition in positions if partition not in self._next):
            names = ", ".join(f"{one.topic}/{one.number}" for one in lost)
            message = f"group {self._group.name!r} gave {names} to another member; drop what was read from there"
            raise Fenced(message)
        if positions:
            await self._group.log.store(self._group.name, positions)

    async def committed(self) -> dict[Partition, int]:
        """
        Return the stored next offset per assigned partition.
        """
        self._check()
        stored = self._group.log.positions(self._group.name, self._group.topic)
        return {partition: stored[partition] for partition in self._next if partition in stored}

    async def lag(self) -> dict[Partition, int]:
        """
        Return how many messages lie after the stored position, per assigned partition.
        """
        spans = self._group.log.spans
        stored = await self.committed()
        return {one: max(0, spans[one].end - max(at, spans[one].first)) for one, at in stored.items()}

    async def seek_to_time(self, at_ms: int) -> None:
        """
        Read next the first message appended at or after *at_ms*, in every assigned partition.
        """
        self._check()
        for partition in self.assigned:
            offset = await self._group.log.offset_at(partition, at_ms)
            if partition in self._next:
                self._next[partition] = offset
        self.wake()

    async def close(self) -> None:
        """
        Leave the group.
        """
        if not self._closed:
            self._closed = True
            self.wake()
            await self._group.leave(self)

    def abandon(self) -> None:
        """
        End with the bus: nobody takes over.
        """
        self._closed = True
        self.wake()

    def wake(self) -> None:
        """
        Let a waiting fetch look again.
        """
        self._news.set()

    def drop(self, partitions: Sequence[Partition]) -> None:
        """
        Forget *partitions*, and that they were paused.
        """
        for partition in partitions:
            self._next.pop(partition, None)
        self._paused.difference_update(partitions)
        self._held.difference_update(partitions)

    async def revoke(self, partitions: Sequence[Partition]) -> None:
        """
        Give *partitions* up, once the callback has finished with them; until then they can be committed.
        """
        if partitions:
            self._held.update(partitions)
            await self._tell(self._on_revoked, partitions)
            self.drop(partitions)

    async def assign(self, positions: Mapping[Partition, int]) -> None:
        """
        Take partitions over at their stored *positions*.
        """
        if positions:
            self._held.update(positions)  # nothing is fetched before the callback has heard of it
            self._next.update(positions)
            await self._tell(self._on_assigned, list(positions))
            self._held.difference_update(positions)
            self.wake()

    async def _take(self, most: int) -> list[Message]:
        spans = self._group.log.spans
        wanted = {one: at for one, at in self._next.items() if at < spans[one].end and self._open(one)}
        if not wanted or most <= 0:
            return []
        found = await self._group.log.read(wanted, most)
        # A seek, a pause or a rebalance may have happened while the disk was read; what it touched is not ours to give.
        given = [m for m in found if self._next.get(m.source) == wanted[m.source] and self._open(m.source)]
        if len(given) < len(found):
            self.wake()
        for partition, offset in {message.source: message.offset + 1 for message in given}.items():
            del self._next[partition]
            self._next[partition] = offset  # now last in turn
        return given

    def _open(self, partition: Partition) -> bool:
        return partition not in self._paused and partition not in self._held

    def _check(self) -> None:
        if self._failed is not None:
            raise self._failed
        if self._closed:
            message = f"the subscription of {self._group.name!r} to {self._group.topic!r} is closed"
            raise Unavailable(message)

    async def _tell(self, callback: Rebalanced | None, partitions: Sequence[Partition]) -> None:
        if callback is None:
            return
        try:
            await callback(partitions)
        except Exception as error:  # noqa: BLE001  one member's mistake must not break another's rebalance
            _log.exception("a rebalance callback of group %r failed", self._group.name)
            self._failed = error
            self.wake()
