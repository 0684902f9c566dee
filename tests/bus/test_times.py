"""
Local buses stamp messages themselves; on Kafka the brokers do.
"""

from __future__ import annotations

import pytest

from bus import Bus, Outgoing
from penstock.clock import ManualClock

TOPIC = "penstock.events.helpdesk"


@pytest.fixture(params=["memory", "embedded"])
def kind(request: pytest.FixtureRequest) -> str:
    """Only these have a clock of ours."""
    return str(request.param)


async def test_a_clock_that_steps_back_does_not_mix_up_times(bus: Bus, clock: ManualClock) -> None:
    """Times never fall inside a partition, so that a search by time finds everything it should."""
    await clock.advance(100)
    await bus.publish([Outgoing(topic=TOPIC, key=b"a", value=b"x")])
    clock._elapsed -= 50
    await bus.publish([Outgoing(topic=TOPIC, key=b"a", value=b"y")])
    found = await (await bus.subscribe(TOPIC, "g", start="oldest")).fetch(5, wait=0.02)

    assert 2 == len(found)
    assert found[0].timestamp_ms == found[1].timestamp_ms
