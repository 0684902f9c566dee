"""
The buses under test, each by name; what `implementation` returns can be closed and opened again.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

import bus as room
from bus import Bus
from penstock.clock import ManualClock

DAY = 86_400.0  # seconds
PARTITIONS = 4


class Memory:
    """
    Opens buses without a file; what one held is gone with it.
    """

    def __init__(self, _folder: Path, clock: ManualClock) -> None:
        self.clock = clock

    def open(self) -> Bus:
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


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture(params=[Memory, Embedded], ids=["memory", "embedded"])
def implementation(request: pytest.FixtureRequest, tmp_path: Path, clock: ManualClock) -> Memory | Embedded:
    made: Memory | Embedded = request.param(tmp_path, clock)
    return made


@pytest.fixture
async def bus(implementation: Memory | Embedded) -> AsyncIterator[Bus]:
    opened = implementation.open()
    yield opened
    await opened.close()


@pytest.fixture
def embedded(tmp_path: Path, clock: ManualClock) -> Embedded:
    return Embedded(tmp_path, clock)
