"""
What only Kafka has: settings nobody may change, other people's tools, brokers that go away.
"""

from __future__ import annotations

import ast
import asyncio
import logging
import uuid
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewPartitions, RecordsToDelete
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from cloudevents.core.bindings import kafka as kafka_binding
from cloudevents.core.formats.json import JSONFormat

from bus import Message, Outgoing, Partition, partition_of
from bus.broker import Broker
from bus.cluster import Cluster, Tls
from bus.kafka import KafkaBus
from bus.kafka_member import KafkaMember
from penstock.errors import Invalid, Unavailable, Unreachable
from schemas.events import Event

DAY = 86_400.0  # seconds
EVENT = Event(
    id="4711-1",
    source="https://acme.example",
    type="ticket.created",
    subject="4711",
    time=datetime(2026, 11, 24, tzinfo=UTC),
    data={"id": 4711},
    tenant="acme",
)


@pytest.fixture
def cluster(kafka: str) -> Cluster:
    return Cluster(servers=(kafka,), prefix=f"t{uuid.uuid4().hex[:12]}")


@pytest.fixture
def topic(cluster: Cluster) -> str:
    return f"{cluster.prefix}.events.helpdesk"


@pytest.fixture
async def bus(cluster: Cluster) -> AsyncIterator[KafkaBus]:
    opened = await KafkaBus.connect(cluster, partitions=4, keep=DAY)
    yield opened
    await opened.close()


@pytest.fixture
async def admin(kafka: str) -> AsyncIterator[AIOKafkaAdminClient]:
    client = AIOKafkaAdminClient(bootstrap_servers=kafka)
    await client.start()
    yield client
    await client.close()


def note(topic: str, value: str, key: str = "k") -> Outgoing:
    return Outgoing(topic=topic, key=key.encode(), value=value.encode())


async def drain(member: KafkaMember) -> list[Message]:
    found: list[Message] = []
    while batch := await member.fetch(100, wait=0.6):
        found += batch
    return found


async def test_nothing_commits_by_itself(bus: KafkaBus, topic: str) -> None:
    """Neither reading, nor leaving, nor the settings of any consumer move a stored position."""
    member = await bus.subscribe(topic, "g")
    consumer = member._consumer
    assert consumer is not None
    await bus.publish([note(topic, "x")])
    await bus.read(topic, 0, 0)
    await drain(member)
    settings = [consumer._enable_auto_commit, bus._looker._enable_auto_commit if bus._looker else None]
    await member.close()
    again = await bus.subscribe(topic, "g")

    assert [False, False] == settings
    assert {0} == set((await again.committed()).values())
    assert ["x"] == [message.value.decode() for message in await drain(again)]


def test_no_consumer_is_made_with_auto_commit() -> None:
    """In the room's source every consumer says how it commits, and no position is ever made up."""
    trees = [ast.parse(path.read_text()) for path in (Path(__file__).parents[2] / "bus").glob("*.py")]
    nodes = [node for tree in trees for node in ast.walk(tree)]
    calls = [node for node in nodes if isinstance(node, ast.Call)]
    made = [ast.unparse(call) for call in calls if ast.unparse(call.func) == "AIOKafkaConsumer"]
    subscribed = [call for call in calls if isinstance(call.func, ast.Attribute) and call.func.attr == "subscriber"]
    policies = [
        ast.unparse(node) for node in nodes if isinstance(node, ast.Attribute) and "AckPolicy" in ast.unparse(node)
    ]
    words = {node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str)}

    assert made
    assert all("enable_auto_commit=False, auto_offset_reset='none'" in call for call in made)
    assert ["AckPolicy.MANUAL"] * len(subscribed) == policies
    assert not {"latest", "earliest"} & words


async def test_the_producer_is_idempotent_and_waits_for_every_replica(bus: KafkaBus) -> None:
    """So a retry inside the client never appends twice."""
    assert bus._producer._txn_manager is not None
    assert -1 == bus._producer._sender._acks


async def test_a_topic_is_made_as_declared(bus: KafkaBus, topic: str, admin: AIOKafkaAdminClient) -> None:
    """Times are the broker's, messages live as long as `hub.keep`, and one of 16 MiB fits."""
    await bus.ensure_topic(topic, 4)
    answer = await admin.describe_configs([ConfigResource(ConfigResourceType.TOPIC, topic)])
    found = {row[0]: row[1] for row in answer[0].resources[0][4]}

    assert "LogAppendTime" == found["message.timestamp.type"]
    assert str(int(DAY * 1000)) == found["retention.ms"]
    assert 16 * 1024 * 1024 < int(found["max.message.bytes"])


async def test_a_foreign_consumer_reads_cloudevents(bus: KafkaBus, topic: str, kafka: str) -> None:
    """Also the CloudEvents SDK: `ce_` headers, the data alone as value; the key decides the partition as in Java."""
    key, headers, value = EVENT.to_kafka()
    await bus.publish([Outgoing(topic=topic, key=key, value=value, headers=headers)])
    consumer = AIOKafkaConsumer(topic, bootstrap_servers=kafka, auto_offset_reset="earliest", group_id=None)
    await consumer.start()
    async with asyncio.timeout(20):
        record = await consumer.getone()
    await consumer.stop()
    found = dict(record.headers)

    assert b'{"id":4711}' == record.value
    assert (b"application/json", b"1.0", b"4711-1") == (found["content-type"], found["ce_specversion"], found["ce_id"])
    assert (b"ticket.created", b"acme") == (found["ce_type"], found["ce_tenant"])
    assert partition_of(b"4711", 4) == record.partition
    assert EVENT == Event.from_kafka(list(record.headers), record.value)
    theirs = kafka_binding.from_binary(
        kafka_binding.KafkaMessage(headers=found, key=record.key, value=record.value), JSONFormat()
    )
    assert ("4711-1", "ticket.created", {"id": 4711}) == (theirs.get_id(), theirs.get_type(), theirs.get_data())


async def test_kafkas_own_consumer_reads_cloudevents(bus: KafkaBus, topic: str, broker: Broker) -> None:
    """The tool people have at hand shows key, headers and data."""
    key, headers, value = EVENT.to_kafka()
    await bus.publish([Outgoing(topic=topic, key=key, value=value, headers=headers)])
    words = ["--bootstrap-server", broker.address, "--topic", topic, "--from-beginning", "--max-messages", "1"]
    shown = ["--property", "print.headers=true", "--property", "print.key=true"]
    said = await asyncio.to_thread(broker.tool, "org.apache.kafka.tools.consumer.ConsoleConsumer", *words, *shown)

    assert "ce_type:ticket.created" in said
    assert '4711\t{"id":4711}' in said


async def test_added_partitions_are_refused_with_what_mends_it(
    bus: KafkaBus, cluster: Cluster, topic: str, admin: AIOKafkaAdminClient
) -> None:
    """The next start says which number to write, and a group says which positions to set."""
    await (await bus.subscribe(topic, "g")).close()
    await admin.create_partitions({topic: NewPartitions(total_count=6)})
    async with asyncio.timeout(10):
        while True:
            second = await KafkaBus.connect(cluster, partitions=4, keep=DAY)
            count = await second._topics.count(topic)
            if count == 6:
                break
            await second.close()

    with pytest.raises(Invalid, match=r"6 partitions, not 4.*set `hub.bus.partitions` back to 6"):
        await second.ensure_topic(topic, 4)
    with pytest.raises(Invalid, match=rf"no position in {topic}/4.*--topic {topic}:4,5 --reset-offsets --to-earliest"):
        await second.subscribe(topic, "g")
    await second.close()


async def test_a_position_behind_the_end_is_not_believed(
    bus: KafkaBus, topic: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Then the log was made anew, and everything in it is new; we say so and read it from its start."""
    member = await bus.subscribe(topic, "g")
    source = Partition(topic, (await bus.publish([note(topic, "new")]))[0].partition)
    await member.commit({source: 99})
    await member.close()
    with caplog.at_level(logging.WARNING):
        found = await drain(await bus.subscribe(topic, "g"))

    assert ["new"] == [message.value.decode() for message in found]
    assert "made anew" in caplog.text


async def test_losing_unread_messages_is_said(
    bus: KafkaBus, topic: str, admin: AIOKafkaAdminClient, caplog: pytest.LogCaptureFixture
) -> None:
    """What Kafka deleted before it was read is gone: the group goes on at the oldest kept, and the log names it."""
    await (await bus.subscribe(topic, "sleepers")).close()
    position = (await bus.publish([note(topic, f"{number}") for number in range(3)]))[0]
    await admin.delete_records({TopicPartition(topic, position.partition): RecordsToDelete(before_offset=2)})
    with caplog.at_level(logging.WARNING):
        found = await drain(await bus.subscribe(topic, "sleepers"))

    assert ["2"] == [message.value.decode() for message in found]
    assert "older than Kafka keeps" in caplog.text


async def test_a_quick_restart_of_a_named_worker_moves_nothing(cluster: Cluster, topic: str) -> None:
    """With `hub.bus.member` the group waits for it: the other worker's share stays as it was."""
    moved: list[Partition] = []

    async def watch(partitions: object) -> None:
        moved.append(partitions)  # type: ignore[arg-type]

    others = await KafkaBus.connect(cluster, partitions=4, keep=DAY)
    named = Cluster(servers=cluster.servers, prefix=cluster.prefix, member="worker-1")
    first = await KafkaBus.connect(named, partitions=4, keep=DAY)
    await first.subscribe(topic, "g")
    await others.subscribe(topic, "g", on_revoked=watch)
    moved.clear()
    await first.close()
    second = await KafkaBus.connect(named, partitions=4, keep=DAY)
    member = await second.subscribe(topic, "g")
    mine = await member.committed()
    await second.close()
    await others.close()

    assert [] == moved
    assert 2 == len(mine)


async def test_a_broker_that_goes_away_is_unavailable_and_comes_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Publish and commit say so in time; afterwards everything accepted is there, once and in order."""
    monkeypatch.setattr("bus.kafka.PUBLISH_WITHIN", 2.0)
    monkeypatch.setattr("bus.kafka_member.COMMIT_WITHIN", 2.0)
    broker = started(tmp_path / "kafka")
    cluster = Cluster(servers=(broker.address,), prefix="p")
    bus = await KafkaBus.connect(cluster, partitions=1, keep=DAY)
    member = await bus.subscribe("t", "g")
    await bus.publish([note("t", "before")])
    await asyncio.to_thread(broker.stop)
    with pytest.raises(Unavailable, match="take a message"):
        await bus.publish([note("t", "during")])
    with pytest.raises(Unavailable):
        await member.commit({Partition("t", 0): 0})
    monkeypatch.setattr("bus.kafka.CONNECT_WITHIN", 2.0)
    with pytest.raises(Unreachable, match="cannot be used"):
        await KafkaBus.connect(cluster, partitions=1, keep=DAY)
    await asyncio.to_thread(broker.start)
    async with asyncio.timeout(60):
        while True:
            try:
                await bus.publish([note("t", "after")])
                break
            except Unavailable:
                continue
        values: list[str] = []
        while "after" not in values:
            try:
                values += [message.value.decode() for message in await member.fetch(10, wait=1)]
            except Unavailable:
                continue
    await bus.close()
    broker.stop()

    assert "before" == values[0]
    assert "after" == values[-1]
    assert values == sorted(set(values), key=["before", "during", "after"].index)


def started(folder: Path) -> Broker:
    broker = Broker(folder)
    try:
        broker.start()
    except Unreachable as error:
        pytest.skip(str(error))
    return broker


async def test_an_address_where_nobody_answers_is_unreachable() -> None:
    """The message names the address and the keys to look at."""
    with pytest.raises(Unreachable, match=r"127\.0\.0\.1:1 cannot be used.*hub\.bus\.kafka"):
        await KafkaBus.connect(Cluster(servers=("127.0.0.1:1",)), partitions=1, keep=DAY)


def test_tls_files_that_cannot_be_used_are_named(tmp_path: Path) -> None:
    """The message says which."""
    with pytest.raises(Invalid, match="none.pem"):
        Tls(ca=tmp_path / "none.pem").context()


@pytest.mark.parametrize("text", ["", "kafka", "kafka:9092, other"])
def test_servers_that_are_no_addresses_are_refused(text: str) -> None:
    """Each is host:port."""
    with pytest.raises(Invalid, match=r"hub\.bus\.kafka"):
        Cluster.servers_of(text)


def test_servers_are_split_at_commas() -> None:
    """With or without spaces."""
    assert ("a:1", "b:2") == Cluster.servers_of("a:1, b:2,")
