"""
Where a consumer group begins on Kafka: stored in Kafka before its first member joins.

Kafka keeps the positions of a group as long as `offsets.retention.minutes` says (7 days by default)
after its last member left.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import CommitFailedError, KafkaError
from aiokafka.structs import OffsetAndMetadata

from bus.cluster import Cluster
from bus.contract import Partition, Start
from bus.mishaps import told
from penstock.errors import Invalid, Unavailable

START_WITHIN = 30.0  # seconds
_TRIES = 5
_TRY_AGAIN = 0.5  # seconds


class Starts:
    """
    Records the starting positions of groups.
    """

    def __init__(self, admin: AIOKafkaAdminClient, cluster: Cluster, connection: Mapping[str, Any]) -> None:
        self._admin = admin
        self._cluster = cluster
        self._connection = connection

    async def record(self, group: str, partitions: Sequence[Partition], start: Start) -> None:
        """
        Store where *group* begins, unless it is known; raises `Invalid` when it is known only in part.
        """
        for _ in range(_TRIES):
            missing = await self._missing(group, partitions)
            if not missing:
                return
            if len(missing) < len(partitions) and not _knows(start, missing):
                raise unplaced(self._cluster, group, missing)
            if await self._store(group, missing, start):
                return
            await asyncio.sleep(_TRY_AGAIN)
        raise Unavailable(f"Kafka did not take the starting positions of group {group!r}; another worker is joining")

    async def _missing(self, group: str, partitions: Sequence[Partition]) -> list[Partition]:
        wanted = [TopicPartition(*one) for one in partitions]
        async with told(f"look up the positions of group {group!r}", within=START_WITHIN):
            while (found := await self._look(group, wanted)) is None:  # noqa: ASYNC110  Kafka tells nobody
                await asyncio.sleep(_TRY_AGAIN)
        return [Partition(*one) for one in wanted if one not in found or found[one].offset < 0]

    async def _look(self, group: str, wanted: list[TopicPartition]) -> dict[TopicPartition, OffsetAndMetadata] | None:
        """
        Return what Kafka has; None while it is still finding out who keeps it.
        """
        try:
            return dict(await self._admin.list_consumer_group_offsets(group, partitions=wanted))
        except KafkaError as error:
            if not error.retriable:
                raise
            return None

    async def _store(self, group: str, missing: Sequence[Partition], start: Start) -> bool:
        """
        Store them in a group without members; False when it has one by now, who has stored them.
        """
        consumer = AIOKafkaConsumer(
            **self._connection, group_id=group, enable_auto_commit=False, auto_offset_reset="none"
        )
        partitions = [TopicPartition(*one) for one in missing]
        async with told(f"store the starting positions of group {group!r}", within=START_WITHIN):
            consumer.assign(partitions)
            await consumer.start()
            try:
                await consumer.commit(await offsets_at(consumer, partitions, start))
            except CommitFailedError:
                return False
            finally:
                await consumer.stop()
        return True


async def offsets_at(
    consumer: AIOKafkaConsumer, partitions: Collection[TopicPartition], start: Start
) -> dict[TopicPartition, int]:
    """
    Return the offsets of *start*; a time leads to the first message appended then or later, else to the end.
    """
    if start == "oldest":
        return dict(await consumer.beginning_offsets(partitions))
    ends: dict[TopicPartition, int] = dict(await consumer.end_offsets(partitions))
    if start == "now":
        return ends
    if isinstance(start, Mapping):
        # One that the log does not have any more is stored as it is: who reads from there sees what is lost.
        return {one: start.get(one.partition, ends[one]) for one in partitions}
    found = await consumer.offsets_for_times(dict.fromkeys(partitions, start))
    return {one: found[one].offset if found.get(one) else ends[one] for one in partitions}


def _knows(start: Start, missing: Collection[Partition]) -> bool:
    return isinstance(start, Mapping) and all(one.number in start for one in missing)


def unplaced(cluster: Cluster, group: str, missing: Collection[Partition]) -> Invalid:
    """
    Return the error for partitions where a known group has no position.
    """
    names = ", ".join(f"{one.topic}/{one.number}" for one in sorted(missing)[:3])
    topic = min(missing).topic
    numbers = ",".join(str(one.number) for one in sorted(missing))
    hint = (
        "partitions were added, or positions deleted; stop every worker, then `penstock bus repartition`; or let the "
        f"group read them from the start with kafka-consumer-groups.sh --bootstrap-server {cluster} --group {group} "
        f"--topic {topic}:{numbers} --reset-offsets --to-earliest --execute, and start again"
    )
    return Invalid(f"group {group!r} has no position in {names}", where=f"Kafka {cluster}", hint=hint)
