"""
The topics of a Kafka cluster: made as declared, never changed.
"""

from __future__ import annotations

import asyncio
from typing import Any

from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import TopicAlreadyExistsError, for_code

from bus.cluster import Cluster
from bus.contract import TopicFacts
from bus.limits import MOST_MESSAGE_BYTES, check_topic
from bus.mishaps import told
from bus.topic_ids import topic_id
from penstock.errors import Invalid, Unavailable

ADMIN_WITHIN = 30.0  # seconds
_LOOK_AGAIN = 0.05  # seconds between looks at a topic that is being made
_OVERHEAD = 1024 * 1024  # bytes a batch of one message may have around it: key, headers, framing


class Topics:
    """
    What topics there are, and how many partitions each has.
    """

    def __init__(self, admin: AIOKafkaAdminClient, cluster: Cluster, *, keep: float) -> None:
        self._admin = admin
        self._cluster = cluster
        self._keep = keep
        self._counts: dict[str, int] = {}
        self._making = asyncio.Lock()

    async def ensure(self, topic: str, partitions: int) -> None:
        """
        Create *topic*; raises `Invalid` when it exists with another partition count.
        """
        async with self._making:
            count = await self._look(topic)
            if count is None:
                check_topic(topic, partitions)
                await self._make(topic, partitions)
                return
        if count != partitions:
            raise self._changed(topic, count, partitions)

    async def count(self, topic: str) -> int | None:
        """
        Return the partition count of *topic*; None when there is no such topic.
        """
        if topic not in self._counts:
            await self._look(topic)
        return self._counts.get(topic)

    async def anew(self, topic: str) -> int | None:
        """
        Return the partition count of *topic* at this moment; None when there is no such topic.
        """
        return await self._look(topic)

    async def facts(self, topic: str) -> TopicFacts | None:
        """
        Return what *topic* is at this moment; None when there is none.
        """
        count = await self.anew(topic)
        if count is None:
            return None
        async with told("tell topics apart", within=ADMIN_WITHIN):
            return TopicFacts(count, await topic_id(self._admin, topic))

    async def _look(self, topic: str) -> int | None:
        async with told("list its topics", within=ADMIN_WITHIN):
            # All of them: asking for one by name would make it on clusters that create topics by themselves.
            found = await self._admin.describe_topics()
        ready = {each["topic"]: _ready(each) for each in found if not each["error_code"]}
        if ready.get(topic):
            self._counts[topic] = ready[topic]
            return ready[topic]
        return None

    async def _make(self, topic: str, partitions: int) -> None:
        settings = {
            "message.timestamp.type": "LogAppendTime",
            "retention.ms": str(int(self._keep * 1000)),
            "max.message.bytes": str(MOST_MESSAGE_BYTES + _OVERHEAD),
        }
        new = NewTopic(topic, partitions, -1, replica_assignments={}, topic_configs=settings)
        async with told(f"create the topic {topic!r}", within=ADMIN_WITHIN):
            answer = (await self._admin.create_topics([new])).to_object()["topic_errors"][0]
            if answer["error_code"] not in {0, TopicAlreadyExistsError.errno}:
                error = for_code(answer["error_code"])
                raise Unavailable(
                    f"Kafka refused to create the topic {topic!r}: {answer.get('error_message') or error.__name__}; "
                    f"create it by hand with {partitions} partitions and message.timestamp.type=LogAppendTime"
                )
            while (count := await self._look(topic)) is None:  # noqa: ASYNC110  Kafka tells nobody
                await asyncio.sleep(_LOOK_AGAIN)
        if count != partitions:  # somebody else made it meanwhile
            raise self._changed(topic, count, partitions)

    def _changed(self, topic: str, count: int, wanted: int) -> Invalid:
        hint = f"set `hub.bus.partitions` back to {count}"
        if count < wanted:
            hint += ", or add them: stop every worker, `penstock run --once`, then `penstock bus repartition`"
        message = f"topic {topic!r} has {count} partitions, not {wanted}; keys would change places"
        return Invalid(message, where=f"Kafka {self._cluster}", hint=hint)


def _ready(described: dict[str, Any]) -> int:
    """
    Return how many partitions a topic has, 0 while one of them has no leader yet.
    """
    partitions = described["partitions"]
    return len(partitions) if all(each["leader"] >= 0 for each in partitions) else 0
