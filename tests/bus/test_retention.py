"""
Local buses delete what is older than they keep; Kafka's brokers do that themselves.
"""

from __future__ import annotations

import asyncio
import logging

import pytest

from bus import Bus, MemoryBus, Outgoing
from bus.local import LocalBus
from penstock.clock import ManualClock

TOPIC = "penstock.events.helpdesk"


@pytest.fixture(params=["memory", "embedded"])
def kind(request: pytest.FixtureRequest) -> str:
    """Only these delete by themselves."""
    return str(request.param)


def note(value: str) -> Outgoing:
    return Outgoing(topic=TOPIC, key=b"a", value=value.encode())


async def test_only_messages_older_than_kept_go(bus: Bus, clock: ManualClock) -> None:
    """Offsets go on, and a group that had not read what went continues at the oldest kept."""
    assert isinstance(bus, LocalBus)
    slow = await bus.subscribe(TOPIC, "slow")
    old = await bus.publish([note("old")] * 3)
    await clock.advance(80_000)
    kept = await bus.publish([note("kept")])
    await clock.advance(10_000)
    await bus.sweep()

    assert await bus.read(*old[0]) is None
    assert 3 == kept[0].offset
    assert 1 == sum((await slow.lag()).values())
    assert [b"kept"] == [message.value for message in await slow.fetch(5, wait=0)]


async def test_a_sweep_is_done_in_chunks(bus: Bus, clock: ManualClock) -> None:
    """More than one chunk goes in one sweep."""
    assert isinstance(bus, LocalBus)
    positions = await bus.publish([note("old")] * 2500)
    await clock.advance(90_000)
    await bus.sweep()

    assert await bus.read(*positions[-1]) is None
    assert 0 == await bus.sweep()


async def test_losing_unread_messages_is_said(bus: Bus, clock: ManualClock, caplog: pytest.LogCaptureFixture) -> None:
    """The group that was too slow is named."""
    assert isinstance(bus, LocalBus)
    await (await bus.subscribe(TOPIC, "sleepers")).close()
    await bus.publish([note("old")])
    await clock.advance(90_000)
    with caplog.at_level(logging.WARNING):
        await bus.sweep()

    assert "'sleepers' had not read" in caplog.text


async def test_nothing_is_said_about_messages_everybody_read(
    bus: Bus, clock: ManualClock, caplog: pytest.LogCaptureFixture
) -> None:
    """A sweep behind the stored positions is silent."""
    assert isinstance(bus, LocalBus)
    subscription = await bus.subscribe(TOPIC, "g")
    await bus.publish([note("old")])
    read = await subscription.fetch(5, wait=0)
    await subscription.commit({read[0].source: 1})
    await clock.advance(90_000)
    await bus.sweep()

    assert await bus.read(TOPIC, read[0].partition, 0) is None
    assert "" == caplog.text


async def test_a_bus_sweeps_itself(clock: ManualClock) -> None:
    """Nobody has to ask."""
    bus = MemoryBus(partitions=1, keep=60.0, clock=clock)
    position = (await bus.publish([note("old")]))[0]
    await asyncio.sleep(0)
    await clock.advance(3600)

    assert await bus.read(*position) is None
    await bus.close()
