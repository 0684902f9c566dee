"""
The bus on a Kafka cluster: for several workers, and for others who read the same events.

FastStream's broker makes the consumers and owns their connection and security. A subscriber has no
handler: our `fetch` pulls from its consumer, because a handler would put a second queue, with
positions of its own, between Kafka and us. Auto-commit does not exist here: every consumer is made in
this room, with `AckPolicy.MANUAL` or `enable_auto_commit=False`.

A publish that is refused because of its own messages leaves nothing behind. When the cluster goes away
in the middle, some of its messages may be there, or come later: publish again, the identity of an
event tells.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping, Sequence
from typing import Any

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.coordinator.assignors.sticky.sticky_assignor import StickyPartitionAssignor
from aiokafka.errors import KafkaError
from faststream import AckPolicy
from faststream.kafka import KafkaBroker, Topic
from faststream.kafka.security import parse_security

from bus.broken_connections import tell_broken_connections
from bus.cluster import Cluster
from bus.contract import Lost, Message, Outgoing, Partition, Position, Rebalanced, Start, TopicFacts
from bus.kafka_member import CLOSE_WITHIN, LOOK_WITHIN, KafkaMember, read_as_message
from bus.knocking import CHECK, Tokens, knock
from bus.limits import MOST_MESSAGE_BYTES, check_message
from bus.mishaps import reason, told
from bus.partitioner import Partitioner
from bus.repartition import Repartition
from bus.standing import Standing, standing
from bus.starts import Starts
from bus.topics import Topics
from penstock.errors import Unavailable, Unreachable

CLIENT = "penstock"
CONNECT_WITHIN = 20.0  # seconds
PUBLISH_WITHIN = 30.0  # seconds
JOIN_WITHIN = 90.0  # seconds; longer than a rebalance may take
SESSION = 15_000  # ms without a sign of life after which a member's partitions go to others
HEARTBEAT = 500  # ms; also how soon a member hears that another joins
REBALANCE = 60_000  # ms the others wait for a member to finish
POLL_MOST = 3_600_000  # ms between two fetches: who waits for the ledger is not dead
FETCH_WAIT = 200  # ms a broker may wait for news; a resumed partition waits as long
_REQUEST_OVERHEAD = 1024 * 1024  # bytes


class KafkaBus:
    """
    A bus on *cluster*; topics it makes get *partitions*, and keep messages *keep* seconds.
    """

    def __init__(self, cluster: Cluster, *, partitions: int, keep: float) -> None:
        self._cluster = cluster
        self._partitions = partitions
        security = cluster.security()
        tokens = {"sasl_oauth_token_provider": Tokens(cluster.token)} if cluster.token else {}
        self._connection: dict[str, Any] = {
            "bootstrap_servers": list(cluster.servers),
            "client_id": CLIENT,
            **parse_security(security),
            **tokens,
        }
        tell_broken_connections()
        self._broker = KafkaBroker(
            list(cluster.servers), client_id=CLIENT, security=security, consumer_only=True, logger=None, **tokens
        )
        self._admin = AIOKafkaAdminClient(**self._connection)
        self._producer = self._new_producer()
        self._topics = Topics(self._admin, cluster, keep=keep)
        self._starts = Starts(self._admin, cluster, self._connection)
        self._partitioner = Partitioner()
        self._members: list[KafkaMember] = []
        self._looker: AIOKafkaConsumer | None = None
        self._looking = asyncio.Lock()
        self._closed = False

    @classmethod
    async def connect(cls, cluster: Cluster, *, partitions: int, keep: float) -> KafkaBus:
        """
        Open the bus; raises `Unreachable` when the cluster cannot be reached or does not let us in.
        """
        bus = cls(cluster, partitions=partitions, keep=keep)
        try:
            async with asyncio.timeout(CONNECT_WITHIN):
                await knock(cluster, bus._connection)
                await bus._admin.start()
                await bus._producer.start()
                await bus._broker.start()
        except Unreachable:
            await bus.close()
            raise
        except (KafkaError, OSError, TimeoutError) as error:
            await bus.close()
            raise Unreachable(f"Kafka at {cluster} cannot be used: {reason(error)}. {CHECK}") from error
        return bus

    async def ensure_topic(self, topic: str, partitions: int) -> None:
        """
        Create *topic*; raises `Invalid` when it exists with another partition count.
        """
        self._check()
        await self._topics.ensure(topic, partitions)

    async def facts(self, topic: str) -> TopicFacts | None:
        """
        Return what *topic* is; None when there is none.
        """
        self._check()
        return await self._topics.facts(topic)

    async def standing(self, topic: str, group: str) -> Standing | None:
        """
        Return how far *group* is in *topic*, without joining it; None when it was never there.
        """
        self._check()
        count = await self._topics.count(topic)
        name = f"{self._cluster.prefix}.{group}"
        return None if count is None else await standing(self._admin, self._connection, topic, name, count)

    async def add_partitions(self, topic: str, groups: Mapping[str, Mapping[int, int]], partitions: int) -> bool:
        """
        Give *topic* more partitions, when every group has read it to its end; False when there is no such topic.

        *groups* holds, by group, the positions that somebody else remembers: they count where Kafka has none.
        """
        self._check()
        names = {f"{self._cluster.prefix}.{group}": kept for group, kept in groups.items()}
        parts = (self._admin, self._cluster, self._connection)
        return await Repartition(*parts, topics=self._topics, starts=self._starts).add(topic, names, partitions)

    async def publish(self, messages: Sequence[Outgoing]) -> list[Position]:
        """
        Append *messages* and return when every replica in sync has them.
        """
        self._check()
        for message in messages:
            check_message(message)
        counts = {topic: await self._know(topic) for topic in {message.topic for message in messages}}
        async with told("take a message", within=PUBLISH_WITHIN):
            sent = [await self._send(message, counts[message.topic]) for message in messages]
            results = await asyncio.gather(*sent)
        return [Position(one.topic, one.partition, one.offset) for one in results]

    async def subscribe(
        self,
        topic: str,
        group: str,
        *,
        start: Start = "now",
        on_assigned: Rebalanced | None = None,
        on_revoked: Rebalanced | None = None,
        on_lost: Lost | None = None,
    ) -> KafkaMember:
        """
        Join *group* on *topic*; *start* matters only the first time a group is seen.
        """
        self._check()
        name = f"{self._cluster.prefix}.{group}"
        count = await self._know(topic)
        await self._starts.record(name, [Partition(topic, number) for number in range(count)], start)
        ears = {"on_assigned": on_assigned, "on_revoked": on_revoked}
        member = KafkaMember(self._cluster, topic, name, **ears, on_lost=on_lost)
        subscriber = self._broker.subscriber(Topic(topic, declare=False), **self._joining(name, member))
        async with told(f"let us join group {name!r}", within=JOIN_WITHIN):
            await subscriber.start()
        self._members.append(member)
        assert subscriber.consumer is not None
        try:
            await member.joined(subscriber.consumer, subscriber.stop, within=JOIN_WITHIN)
        except BaseException:
            await member.close()
            raise
        return member

    async def read(self, topic: str, partition: int, offset: int) -> Message | None:
        """
        Return one message for people to look at; None when it is not, or no longer, there.
        """
        self._check()
        count = await self._topics.count(topic)
        if count is None or not 0 <= partition < count or offset < 0:
            return None
        async with self._looking, told("show a message", within=LOOK_WITHIN):
            return await self._look(await self._look_with(), TopicPartition(topic, partition), offset)

    async def close(self) -> None:
        """
        Send what was accepted and leave every group.
        """
        if self._closed:
            return
        self._closed = True
        await asyncio.gather(*(member.close() for member in self._members))
        parts = [self._broker.stop(), self._producer.stop(), self._admin.close()]
        if self._looker is not None:
            parts.append(self._looker.stop())
        for part in parts:
            with contextlib.suppress(KafkaError, TimeoutError):
                async with asyncio.timeout(CLOSE_WITHIN):
                    await part

    # ---- parts ------------------------------------------------------------------------------

    def _new_producer(self) -> AIOKafkaProducer:
        return AIOKafkaProducer(
            **self._connection,
            acks="all",
            enable_idempotence=True,
            max_request_size=MOST_MESSAGE_BYTES + _REQUEST_OVERHEAD,
        )

    def _joining(self, group: str, member: KafkaMember) -> dict[str, Any]:
        return {
            "group_id": group,
            "group_instance_id": self._cluster.member,
            "batch": True,
            "ack_policy": AckPolicy.MANUAL,
            "auto_offset_reset": "none",
            "partition_assignment_strategy": (_sticky(),),
            "listener": member,
            "session_timeout_ms": SESSION,
            "heartbeat_interval_ms": HEARTBEAT,
            "rebalance_timeout_ms": REBALANCE,
            "max_poll_interval_ms": POLL_MOST,
            "fetch_max_wait_ms": FETCH_WAIT,
        }

    async def _send(self, message: Outgoing, partitions: int) -> asyncio.Future[Any]:
        sent: asyncio.Future[Any] = await self._producer.send(
            message.topic,
            value=message.value,
            key=message.key,
            partition=self._partitioner.choose(message.topic, message.key, partitions),
            headers=list(message.headers),
        )
        return sent

    async def _know(self, topic: str) -> int:
        count = await self._topics.count(topic)
        if count is None:
            await self._topics.ensure(topic, self._partitions)
            return self._partitions
        return count

    async def _look_with(self) -> AIOKafkaConsumer:
        if self._looker is None:
            looker = AIOKafkaConsumer(
                **self._connection, group_id=None, enable_auto_commit=False, auto_offset_reset="none"
            )
            await looker.start()
            self._looker = looker
        return self._looker

    async def _look(self, looker: AIOKafkaConsumer, place: TopicPartition, offset: int) -> Message | None:
        looker.assign([place])
        ends = await looker.end_offsets([place])
        firsts = await looker.beginning_offsets([place])
        if not firsts[place] <= offset < ends[place]:
            return None
        looker.seek(place, offset)
        found = (await looker.getmany(place, timeout_ms=int(LOOK_WITHIN * 1000), max_records=1)).get(place)
        return read_as_message(found[0]) if found and found[0].offset == offset else None

    def _check(self) -> None:
        if self._closed:
            message = "the bus is closed"
            raise Unavailable(message)


def _sticky() -> type[StickyPartitionAssignor]:
    """
    Return an assignor of one member's own: aiokafka keeps what a member had in the class.
    """
    return type("Sticky", (StickyPartitionAssignor,), {})
