"""
More partitions for a topic whose every reader is at its end: only then no event can overtake another.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from aiokafka import TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewPartitions
from aiokafka.errors import for_code

from bus.cluster import Cluster
from bus.contract import Partition
from bus.mishaps import told
from bus.standing import ends_of
from bus.starts import Starts
from bus.topics import Topics
from penstock.errors import Invalid, Unavailable

ADD_WITHIN = 60.0  # seconds
_LOOK_AGAIN = 0.1  # seconds
_RUN_ONCE = "stop every worker, read it to its end with `penstock run --once`, and try again"


class Repartition:
    """
    Adds partitions to the topics of a cluster.
    """

    def __init__(
        self,
        admin: AIOKafkaAdminClient,
        cluster: Cluster,
        connection: Mapping[str, Any],
        *,
        topics: Topics,
        starts: Starts,
    ) -> None:
        self._admin = admin
        self._cluster = cluster
        self._connection = connection
        self._topics = topics
        self._starts = starts

    async def add(self, topic: str, groups: Mapping[str, Mapping[int, int]], partitions: int) -> bool:
        """
        Give *topic* so many *partitions*, which the groups that know it read from the start.

        *groups* says for each group what positions somebody else remembers, which count where Kafka has none.
        Return False when there is no such topic. Raises `Invalid` when a group is not at its end or has members.
        Done again after it was interrupted, it does what is left.
        """
        async with told(f"add partitions to {topic!r}", within=ADD_WITHIN):
            count = await self._topics.count(topic)
            if count is None:
                return False
            if count > partitions:
                hint = f"set `hub.bus.partitions` to {count} or more"
                raise Invalid(f"Kafka cannot take partitions away; {topic!r} has {count}", where="hub.bus", hint=hint)
            known = {name: await self._at_the_end(topic, name, count, kept) for name, kept in groups.items()}
            if count < partitions:
                await self._make(topic, partitions)
        for group, positions in known.items():
            if positions:
                begins = dict.fromkeys(range(partitions), 0) | positions
                await self._starts.record(group, [Partition(topic, number) for number in begins], begins)
        return True

    async def _at_the_end(self, topic: str, group: str, count: int, kept: Mapping[int, int]) -> dict[int, int]:
        """
        Return where *group* is in *topic*, nothing when it is new; raises `Invalid` when it has members or work.
        """
        places = [TopicPartition(topic, number) for number in range(count)]
        stored = dict(await self._admin.list_consumer_group_offsets(group, partitions=places))
        known = dict(kept) | {place.partition: one.offset for place, one in stored.items() if one.offset >= 0}
        if not known:
            return {}
        (described,) = (await self._admin.describe_consumer_groups([group]))[0].to_object()["groups"]
        if described["members"]:
            hint = "stop every worker; one with `hub.bus.member` counts as a member for 15 s after it stopped"
            raise Invalid(f"group {group!r} has {len(described['members'])} members", where=topic, hint=hint)
        ends = await ends_of(self._connection, places)
        left = sum(max(0, end - known.get(place.partition, 0)) for place, end in ends.items())
        if left:
            raise Invalid(f"group {group!r} has {left} messages to read", where=topic, hint=_RUN_ONCE)
        return known

    async def _make(self, topic: str, partitions: int) -> None:
        answer = await self._admin.create_partitions({topic: NewPartitions(total_count=partitions)})
        for _name, code, said in answer.topic_errors:
            if code:
                why = said or for_code(code).__name__
                raise Unavailable(f"Kafka refused to add partitions to {topic!r}: {why}")
        while await self._topics.anew(topic) != partitions:  # noqa: ASYNC110  Kafka tells nobody
            await asyncio.sleep(_LOOK_AGAIN)
