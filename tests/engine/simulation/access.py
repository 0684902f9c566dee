"""
A process' way to the brokers.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

from bus.contract import Lost, Message, Outgoing, Partition, Position, Rebalanced, Start, TopicFacts
from penstock.errors import Unavailable
from tests.engine.simulation.bus import Cluster, Group, Member
from tests.engine.simulation.process import Process, current


class MemberBus:
    """
    `bus.contract.Bus` for one process.
    """

    def __init__(self, cluster: Cluster, process: Process) -> None:
        self._cluster = cluster
        self._process = process

    async def ensure_topic(self, topic: str, partitions: int) -> None:
        """
        Topics are there.
        """

    async def facts(self, topic: str) -> TopicFacts | None:
        return TopicFacts(self._cluster.partitions, topic)

    async def publish(self, messages: Sequence[Outgoing]) -> list[Position]:
        raise AssertionError("the executor publishes nothing")

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
        await asyncio.sleep(0.002)
        cluster = self._cluster
        if cluster.down:
            raise Unavailable("no broker answers")
        found = cluster.groups.setdefault((group, topic), Group(group, topic))
        if not found.begun:
            found.begun = True
            kept: Mapping[int, int] = start if isinstance(start, Mapping) else {}
            for number in range(cluster.partitions):
                one = Partition(topic, number)
                found.positions[one] = kept.get(number, cluster.end(one))
        member = Member(cluster, found, current(), on_assigned, on_revoked)
        found.members.append(member)
        await cluster.rebalance(found)
        return member

    async def read(self, topic: str, partition: int, offset: int) -> Message | None:
        log = self._cluster.logs.get(Partition(topic, partition), [])
        return log[offset] if offset < len(log) else None

    async def close(self) -> None:
        """
        Nothing of ours is open.
        """
