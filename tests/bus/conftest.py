"""
The buses under test, each by name; what `implementation` returns can be closed and opened again.
"""

from __future__ import annotations

import asyncio
import itertools
import uuid
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import pytest

import bus as room
from bus import Bus, Message, Outgoing, Position, Subscription
from bus.cluster import Cluster
from bus.kafka import KafkaBus
from penstock.clock import ManualClock, SystemClock
from tests.bus.issuer import Issuer

DAY = 86_400.0  # seconds
PARTITIONS = 4


class Memory:
    """
    Opens buses without a file; what one held is gone with it.
    """

    def __init__(self, _folder: Path, clock: ManualClock, _request: pytest.FixtureRequest) -> None:
        self.clock = clock

    async def open(self) -> Bus:
        return room.MemoryBus(partitions=PARTITIONS, keep=DAY, clock=self.clock)


class Embedded:
    """
    Opens the same file again and again.
    """

    def __init__(self, folder: Path, clock: ManualClock) -> None:
        self.path = folder / "bus.db"
        self.clock = clock

    def open(self) -> room.EmbeddedBus:
        return room.EmbeddedBus(self.path, partitions=PARTITIONS, keep=DAY, clock=self.clock)


class Local:
    """
    Opens a file bus as the others are opened.
    """

    def __init__(self, folder: Path, clock: ManualClock, _request: pytest.FixtureRequest) -> None:
        self._file = Embedded(folder, clock)

    async def open(self) -> Bus:
        return self._file.open()


class Shared:
    """
    Opens a file twice, as two processes do.
    """

    def __init__(self, folder: Path, clock: ManualClock, _request: pytest.FixtureRequest) -> None:
        self._file = Embedded(folder, clock)

    async def open(self) -> Bus:
        return Split(self._file.open(), self._file.open())


class Split:
    """
    Two buses on one file, seen as one: one publishes, members are in the other and in it by turns.
    """

    def __init__(self, publishing: room.EmbeddedBus, other: room.EmbeddedBus) -> None:
        self._publishing = publishing
        self._other = other
        self._turns = itertools.cycle((other, publishing))

    async def ensure_topic(self, topic: str, partitions: int) -> None:
        await next(self._turns).ensure_topic(topic, partitions)

    async def publish(self, messages: Sequence[Outgoing]) -> list[Position]:
        return await self._publishing.publish(messages)

    async def subscribe(self, topic: str, group: str, **more: Any) -> Subscription:
        return await next(self._turns).subscribe(topic, group, **more)

    async def read(self, topic: str, partition: int, offset: int) -> Message | None:
        return await self._publishing.read(topic, partition, offset)

    async def close(self) -> None:
        await self._other.close()
        await self._publishing.close()


class OnKafka:
    """
    Opens a real Kafka, with consumer groups of its own.
    """

    def __init__(self, _folder: Path, _clock: ManualClock, request: pytest.FixtureRequest) -> None:
        prefix = f"t{uuid.uuid4().hex[:12]}"
        self.cluster = Cluster(servers=(request.getfixturevalue("kafka"),), prefix=prefix)

    async def open(self) -> Bus:
        return await KafkaBus.connect(self.cluster, partitions=PARTITIONS, keep=DAY)


class BrokersClock(ManualClock):
    """
    The time as a broker on this machine has it: going forward takes a moment.
    """

    def now_ms(self) -> int:
        return SystemClock().now_ms()

    async def advance(self, _seconds: float) -> None:
        await asyncio.sleep(0.02)


Implementation = Memory | Local | Shared | OnKafka


@pytest.fixture(params=["memory", "embedded", "shared", "kafka"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def clock(request: pytest.FixtureRequest) -> ManualClock:
    if "kind" in request.fixturenames and request.getfixturevalue("kind") == "kafka":
        return BrokersClock()
    return ManualClock()


@pytest.fixture
def implementation(request: pytest.FixtureRequest, kind: str, tmp_path: Path, clock: ManualClock) -> Implementation:
    made: type[Implementation] = {"memory": Memory, "embedded": Local, "shared": Shared, "kafka": OnKafka}[kind]
    return made(tmp_path, clock, request)


@pytest.fixture
async def bus(implementation: Implementation) -> AsyncIterator[Bus]:
    opened = await implementation.open()
    yield opened
    await opened.close()


@pytest.fixture
def embedded(tmp_path: Path, clock: ManualClock) -> Embedded:
    return Embedded(tmp_path, clock)


@pytest.fixture
def issuer() -> type[Issuer]:
    """
    A token endpoint in memory.
    """
    return Issuer
