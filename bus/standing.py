"""
How far a consumer group is, seen from outside it.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any, NamedTuple

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient

from bus.mishaps import told

LOOK_WITHIN = 20.0  # seconds


class Standing(NamedTuple):
    """
    What a group has before it, and what it will never see.
    """

    lag: int
    """Messages it has yet to read."""
    gone: int
    """Messages that were deleted before it read them, since it last stored a position."""


async def standing(
    admin: AIOKafkaAdminClient, connection: Mapping[str, Any], topic: str, group: str, partitions: int
) -> Standing | None:
    """
    Return how far *group* is in *topic*; None when Kafka does not know it there.
    """
    places = [TopicPartition(topic, number) for number in range(partitions)]
    async with told(f"say how far group {group!r} is", within=LOOK_WITHIN), onlooker(connection) as consumer:
        found = await admin.list_consumer_group_offsets(group, partitions=places)
        stored = {place: one.offset for place, one in found.items() if one.offset >= 0}
        if not stored:
            return None
        firsts, ends = await consumer.beginning_offsets(places), await consumer.end_offsets(places)
    lag = sum(max(0, ends[one] - max(at, firsts[one])) for one, at in stored.items())
    return Standing(lag, sum(max(0, firsts[one] - at) for one, at in stored.items()))


@contextlib.asynccontextmanager
async def onlooker(connection: Mapping[str, Any]) -> AsyncIterator[AIOKafkaConsumer]:
    """
    Give a consumer that belongs to no group.
    """
    consumer = AIOKafkaConsumer(**connection, group_id=None, enable_auto_commit=False, auto_offset_reset="none")
    await consumer.start()
    try:
        yield consumer
    finally:
        await consumer.stop()


async def ends_of(connection: Mapping[str, Any], places: Sequence[TopicPartition]) -> dict[TopicPartition, int]:
    """
    Return the offset after the last message of each partition.
    """
    async with onlooker(connection) as consumer:
        return dict(await consumer.end_offsets(places))
