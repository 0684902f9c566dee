"""
The buses under test, each by name; what `implementation` returns can be closed and opened again.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

import bus as room
from bus import Bus
from bus.cluster import Cluster
from bus.kafka import KafkaBus
from penstock.clock import ManualClock, SystemClock

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


Implementation = Memory | Local | OnKafka


@pytest.fixture(params=["memory", "embedded", "kafka"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def clock(request: pytest.FixtureRequest) -> ManualClock:
    if "kind" in request.fixturenames and request.getfixturevalue("kind") == "kafka":
        return BrokersClock()
    return ManualClock()


@pytest.fixture
def implementation(request: pytest.FixtureRequest, kind: str, tmp_path: Path, clock: ManualClock) -> Implementation:
    made: type[Implementation] = {"memory": Memory, "embedded": Local, "kafka": OnKafka}[kind]
    return made(tmp_path, clock, request)


@pytest.fixture
async def bus(implementation: Implementation) -> AsyncIterator[Bus]:
    opened = await implementation.open()
    yield opened
    await opened.close()


@pytest.fixture
def embedded(tmp_path: Path, clock: ManualClock) -> Embedded:
    return Embedded(tmp_path, clock)
