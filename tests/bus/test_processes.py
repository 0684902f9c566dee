"""
Members of one group in several processes: one that is killed, one that is stopped and comes back.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from bus import EmbeddedBus, Outgoing, Partition, rosterfile
from penstock.clock import ManualClock

TOPIC = "penstock.events.helpdesk"
CHILD = Path(__file__).with_name("member_child.py")
OVER = "UPDATE process SET until_ms = 0 WHERE name <> ?"
WITHIN = 60.0  # seconds a busy machine may take


@pytest.fixture
async def bus(tmp_path: Path, clock: ManualClock) -> AsyncIterator[EmbeddedBus]:
    opened = EmbeddedBus(tmp_path / "bus.db", partitions=4, keep=86_400.0, clock=clock)
    yield opened
    await opened.close()


@asynccontextmanager
async def child(path: Path) -> AsyncIterator[asyncio.subprocess.Process]:
    """
    Start a process whose member has read everything, and has stopped itself.
    """
    environment = os.environ | {"PYTHONPATH": str(CHILD.parents[2])}
    process = await asyncio.create_subprocess_exec(
        sys.executable, str(CHILD), str(path), TOPIC, stdout=asyncio.subprocess.PIPE, env=environment
    )
    try:
        assert await told(process) == "read 4"
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def told(process: asyncio.subprocess.Process) -> str:
    assert process.stdout is not None
    async with asyncio.timeout(WITHIN):
        return (await process.stdout.readline()).decode().strip()


async def publish(bus: EmbeddedBus) -> None:
    await bus.publish([Outgoing(topic=TOPIC, key=None, value=b"%d" % number) for number in range(4)])


async def test_the_partitions_of_a_process_that_was_killed_go_to_others(bus: EmbeddedBus, tmp_path: Path) -> None:
    """
    Its lock proves it dead, long before its lease ends; what it had not committed is read again.
    """
    await publish(bus)
    async with child(tmp_path / "bus.db") as process:
        survivor = await bus.subscribe(TOPIC, "g")
        assert survivor.assigned == []
        process.kill()
        found = []
        async with asyncio.timeout(rosterfile.LEASE / 2):
            while len(found) < 4:
                found += await survivor.fetch(10, wait=1.0)

    assert sorted(message.value for message in found) == [b"0", b"1", b"2", b"3"]


async def test_a_process_that_was_stopped_for_its_lease_cannot_commit(bus: EmbeddedBus, tmp_path: Path) -> None:
    """
    Others read and commit meanwhile; woken, its commit is refused, and it gets its share anew.
    """
    await publish(bus)
    async with child(tmp_path / "bus.db") as process:
        other = await bus.subscribe(TOPIC, "g")
        await bus._log._writer.submit(lambda file: file._connection.execute(OVER, (bus._log._locks.process,)))
        await bus._log._writer.submit(lambda file: file.rosters.keep_up(()))
        found = []
        async with asyncio.timeout(WITHIN):
            while len(found) < 4:
                found += await other.fetch(10, wait=1.0)
        await other.commit({message.source: message.offset + 1 for message in found})
        process.send_signal(signal.SIGCONT)
        assert await told(process) == "fenced"
        assert sum((await other.committed()).values()) == 4
        following = asyncio.create_task(_follow(other))
        assert await told(process) == "shares"
        following.cancel()


async def _follow(member) -> None:
    while True:
        await member.fetch(10, wait=0.1)


async def test_what_another_process_makes_is_known_here(bus: EmbeddedBus, tmp_path: Path, clock: ManualClock) -> None:
    """
    A topic, messages and positions made through one bus serve at the other.
    """
    other = EmbeddedBus(tmp_path / "bus.db", partitions=4, keep=86_400.0, clock=clock)
    await bus.ensure_topic("t", 2)
    await other.ensure_topic("t", 2)
    first = await other.subscribe("t", "g")
    await bus.publish([Outgoing(topic="t", key=None, value=b"x") for _ in range(2)])
    read = await first.fetch(10, wait=10)
    read += await first.fetch(10, wait=0.5) if len(read) < 2 else []
    await first.commit({message.source: message.offset + 1 for message in read})
    await other.close()
    second = await bus.subscribe("t", "g")

    assert await second.committed() == {Partition("t", 0): 1, Partition("t", 1): 1}
    assert await second.fetch(10, wait=0.1) == []
