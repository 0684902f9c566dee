"""
What happens to the topics and positions of a real broker behind our back: nothing is lost, or it is said.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest
from aiokafka import TopicPartition
from aiokafka.admin import RecordsToDelete

import ledger as ledger_room
from bus import Outgoing
from bus.broker import Broker
from bus.cluster import Cluster
from bus.kafka import KafkaBus
from engine import Executor
from engine.topics import Topics
from ledger import Ledger, TopicEntry
from penstock.clock import SystemClock
from penstock.errors import Invalid
from tests.engine.bench import ScriptedRunner, event

DAY = 86_400.0  # seconds
GROUPS = "org.apache.kafka.tools.consumer.group.ConsumerGroupCommand"
TOPICS = "org.apache.kafka.tools.TopicCommand"


@dataclass
class Place:
    """
    A hub's topic on a broker, and a ledger that outlives the hub.
    """

    broker: Broker
    ledger: Ledger
    prefix: str
    count: int = 0

    @property
    def topic(self) -> str:
        return f"{self.prefix}.desk"

    @contextlib.asynccontextmanager
    async def bus(self) -> AsyncIterator[KafkaBus]:
        cluster = Cluster(servers=(self.broker.address,), prefix=self.prefix)
        opened = await KafkaBus.connect(cluster, partitions=2, keep=DAY)
        try:
            yield opened
        finally:
            await opened.close()

    def topics(self, bus: KafkaBus, partitions: int = 2) -> Topics:
        return Topics(bus, self.ledger, partitions=partitions, readers={self.topic: ["p"]})

    async def publish(self, bus: KafkaBus, count: int) -> None:
        for _ in range(count):
            key, headers, value = event(self.count, f"k{self.count % 5}").to_kafka()
            await bus.publish([Outgoing(topic=self.topic, key=key, value=value, headers=headers)])
            self.count += 1

    async def work(self, bus: KafkaBus, runner: ScriptedRunner, until: int) -> None:
        """
        Run until *until* runs have ended, and a moment longer: something may come that must not.
        """
        executor = Executor(
            [runner],  # type: ignore[list-item]
            bus=bus,
            ledger=self.ledger,
            clock=SystemClock(),
            topic=lambda name: f"{self.prefix}.{name}",
        )
        await executor.start()
        async with asyncio.timeout(60):
            while len(runner.log) < until:
                await asyncio.sleep(0.02)
        await asyncio.sleep(0.3)
        await executor.stop(5.0)

    async def tool(self, name: str, *words: str) -> str:
        return await asyncio.to_thread(self.broker.tool, name, "--bootstrap-server", self.broker.address, *words)


@pytest.fixture
async def place(broker: Broker) -> AsyncIterator[Place]:
    opened = await ledger_room.open(None, clock=SystemClock())
    yield Place(broker, opened, f"t{uuid.uuid4().hex[:12]}")
    await opened.close()


async def first_days(place: Place, runner: ScriptedRunner) -> None:
    """
    A hub that has worked, was stopped, and has three events to read.
    """
    async with place.bus() as bus:
        await place.topics(bus).prepare(taking=True)
        await place.ledger.keep_positions("p", place.topic, {0: 0, 1: 0})
        await place.publish(bus, 10)
        await place.work(bus, runner, 10)
        await place.publish(bus, 3)


def numbers(runner: ScriptedRunner) -> list[int]:
    return [int(name.removeprefix("e")) for _, name in runner.log]


async def test_deleted_offsets_lose_and_repeat_nothing(place: Place) -> None:
    """`kafka-consumer-groups --delete-offsets`: the ledger knows where the pipeline was."""
    runner = ScriptedRunner(place.ledger)
    await first_days(place, runner)
    await place.tool(GROUPS, "--group", f"{place.prefix}.p", "--topic", place.topic, "--delete-offsets")
    async with place.bus() as bus:
        await place.topics(bus).prepare(taking=True)
        await place.work(bus, runner, 13)

    assert list(range(13)) == sorted(numbers(runner))


async def test_a_topic_made_anew_is_read_from_its_start(place: Place, caplog: pytest.LogCaptureFixture) -> None:
    """Also when it is longer by now than the old one was: its id is another, so the old positions mean nothing."""
    runner = ScriptedRunner(place.ledger)
    await first_days(place, runner)
    await place.tool(TOPICS, "--topic", place.topic, "--delete")
    await place.tool(TOPICS, "--topic", place.topic, "--create", "--partitions", "2", "--replication-factor", "1")
    async with place.bus() as bus:
        await place.publish(bus, 30)
        with caplog.at_level(logging.ERROR):
            await place.topics(bus).prepare(taking=True)
        await place.work(bus, runner, 40)

    assert list(range(13, 43)) == sorted(numbers(runner)[10:])
    assert f"topic '{place.topic}' was made anew" in caplog.text


async def test_added_partitions_stop_the_start_until_nothing_can_be_overtaken(place: Place) -> None:
    """`kafka-topics --alter`: refused; read to the end without taking anything in; then recorded; order is kept."""
    runner = ScriptedRunner(place.ledger)
    await first_days(place, runner)
    await place.tool(TOPICS, "--topic", place.topic, "--alter", "--partitions", "5")
    async with place.bus() as bus:
        with pytest.raises(
            Invalid, match=r"had 2 partitions and has 5 now.*run --once`, then `penstock bus repartition"
        ):
            await place.topics(bus, 5).prepare(taking=True)
        with pytest.raises(Invalid, match=r"has 3 messages to read.*penstock run --once"):
            await bus.add_partitions(place.topic, {"p": await place.ledger.positions("p", place.topic)}, 5)
        await place.topics(bus, 5).prepare(taking=False)
        await place.work(bus, runner, 13)
        assert await bus.add_partitions(place.topic, {"p": await place.ledger.positions("p", place.topic)}, 5)
        await place.ledger.keep_topic(place.topic, TopicEntry(partitions=5, identity=""))
        await place.topics(bus, 5).prepare(taking=True)
        await place.publish(bus, 10)
        await place.work(bus, runner, 23)

    assert list(range(23)) == sorted(numbers(runner))
    lanes = {lane: [int(name[1:]) for key, name in runner.log if key == lane] for lane, _ in runner.log}
    assert [] == [lane for lane, found in lanes.items() if found != sorted(found)]


async def test_partitions_are_added_only_without_members(place: Place) -> None:
    """A worker that runs would go on with the old places; a topic that is not there is no error."""
    async with place.bus() as bus:
        await place.topics(bus).prepare(taking=True)
        member = await bus.subscribe(place.topic, "p", start="oldest")
        with pytest.raises(Invalid, match="has 1 members.*stop every worker"):
            await bus.add_partitions(place.topic, {"p": {}}, 5)
        await member.close()
        assert await bus.add_partitions(place.topic, {"p": {}, "new": {}}, 5)
        with pytest.raises(Invalid, match=r"cannot take partitions away.*`hub\.bus\.partitions` to 5"):
            await bus.add_partitions(place.topic, {"p": {}}, 4)

        assert not await bus.add_partitions(f"{place.topic}.other", {"p": {}}, 5)
        facts = await bus.facts(place.topic)
        assert facts is not None
        assert 5 == facts.partitions


async def test_what_kafka_deleted_before_it_was_read_is_counted(place: Place, caplog: pytest.LogCaptureFixture) -> None:
    """The pipeline goes on at the oldest that is left; how many were lost stays in the ledger."""
    runner = ScriptedRunner(place.ledger)
    await first_days(place, runner)
    async with place.bus() as bus:
        gone = {TopicPartition(place.topic, number): RecordsToDelete(before_offset=-1) for number in (0, 1)}
        await bus._admin.delete_records(gone)
        await place.publish(bus, 4)
        with caplog.at_level(logging.ERROR):
            await place.work(bus, runner, 14)
    (loss,) = await place.ledger.losses(0)

    assert (3, "p", place.topic) == (loss.messages, loss.pipeline, loss.topic)
    assert [13, 14, 15, 16] == sorted(numbers(runner)[10:])
    assert "older than Kafka keeps" in caplog.text


async def test_offsets_forgotten_and_messages_gone_are_counted_too(place: Place) -> None:
    """Kafka has neither the position nor what lay there; the ledger's position shows the gap."""
    runner = ScriptedRunner(place.ledger)
    await first_days(place, runner)
    await place.tool(GROUPS, "--group", f"{place.prefix}.p", "--topic", place.topic, "--delete-offsets")
    async with place.bus() as bus:
        gone = {TopicPartition(place.topic, number): RecordsToDelete(before_offset=-1) for number in (0, 1)}
        await bus._admin.delete_records(gone)
        await place.publish(bus, 2)
        await place.work(bus, runner, 12)

    assert [3] == [loss.messages for loss in await place.ledger.losses(0)]
    assert [13, 14] == sorted(numbers(runner)[10:])


async def test_a_topic_has_kafkas_own_id(place: Place) -> None:
    """The same as long as it lives; none without a topic."""
    async with place.bus() as bus:
        before = await bus.facts(place.topic)
        await bus.ensure_topic(place.topic, 2)
        first, second = await bus.facts(place.topic), await bus.facts(place.topic)
    shown = await place.tool(TOPICS, "--topic", place.topic, "--describe")

    assert before is None
    assert first is not None
    assert first == second
    assert uuid.UUID(first.identity).bytes == _unfolded(shown.split("TopicId: ")[1].split()[0])


def _unfolded(text: str) -> bytes:
    import base64

    return base64.urlsafe_b64decode(text + "==")
