"""
The members of consumer groups in this process: who reads which partition, and from where.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Mapping, Sequence

from bus.contract import Message, Partition, Rebalanced
from bus.log import Log, Seat, fenced
from penstock.errors import Unavailable

_log = logging.getLogger(__name__)

_ID_BYTES = 16


class Group:
    """
    The members that one consumer group on one topic has here.
    """

    def __init__(self, log: Log, topic: str, name: str) -> None:
        self.log = log
        self.topic = topic
        self.name = name
        self.members: list[Member] = []
        self._changing = asyncio.Lock()

    async def join(self, member: Member) -> None:
        """
        Give *member* its share of the partitions, as far as they are free or another member's here.
        """
        self.members.append(member)
        await self.balance()

    async def leave(self, member: Member) -> None:
        """
        Hand the partitions of *member* to those who stay.
        """
        async with self._changing:
            if member in self.members:
                self.members.remove(member)
                member.drop(member.assigned)
                await self.log.leave(member.seat)
        await self.balance()

    async def balance(self) -> None:
        """
        Give up what others should read, and take what is ours, until nothing moves.
        """
        async with self._changing:
            while self.members and await self._step():
                pass

    def wake(self) -> None:
        """
        Let every waiting fetch look again.
        """
        for member in self.members:
            member.wake()

    def abandon(self) -> None:
        """
        End with the bus.
        """
        for member in self.members:
            member.abandon()

    async def _step(self) -> bool:
        """
        Look at the shares once; True when something was given up, which others here may want.
        """
        shares = await self.log.settle(self.name, self.topic, [member.seat.member for member in self.members])
        held = {
            member: {Partition(self.topic, one): epoch for one, epoch in shares[member.seat.member].held.items()}
            for member in self.members
            if member.seat.member in shares
        }
        freed = False
        for member, mine in held.items():
            leaving = [Partition(self.topic, number) for number in shares[member.seat.member].leaving]
            await member.revoke(
                [one for one in member.assigned if one in leaving or member.epoch(one) != mine.get(one)]
            )
            if leaving:
                await self.log.release(member.seat, leaving)
                freed = True
            for one in leaving:
                del mine[one]
        stored = self.log.positions(self.name, self.topic)
        for member, mine in held.items():
            new = {one: epoch for one, epoch in mine.items() if one not in member.assigned}
            await member.assign({one: stored.get(one, 0) for one in new}, new)
        return freed


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
        self.seat = Seat(group.name, group.topic, secrets.token_bytes(_ID_BYTES))
        self._epochs: dict[Partition, int] = {}
        """For the how manieth time somebody reads each assigned partition."""
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

    def epoch(self, partition: Partition) -> int | None:
        """
        Return under which epoch *partition* is read here.
        """
        return self._epochs.get(partition)

    async def fetch(self, most: int, *, wait: float) -> list[Message]:
        """
        Return up to *most* messages, waiting up to *wait* seconds for the first.
        """
        until = asyncio.get_running_loop().time() + wait
        self._group.log.watch(wait)
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
            raise fenced(self.seat, lost)
        if positions:
            await self._group.log.store(self.seat, positions, {one: self._epochs[one] for one in positions})

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
            self._epochs.pop(partition, None)
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

    async def assign(self, positions: Mapping[Partition, int], epochs: Mapping[Partition, int]) -> None:
        """
        Take partitions over at their stored *positions*.
        """
        if positions:
            self._held.update(positions)  # nothing is fetched before the callback has heard of it
            self._next.update(positions)
            self._epochs.update(epochs)
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
