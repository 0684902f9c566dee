"""
Worlds with one long fault instead of many short ones.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any
from unittest import mock

from engine import executor, waiting
from tests.engine.simulation.world import SMALLER, World
from tests.ledger.conftest import audit

HOUR = 3600.0  # seconds
WRITTEN_LATE = 10  # events at least that the outage has to hold back
CALM: Mapping[tuple[Any, str], float] = {
    (executor, "FETCH_WAIT"): 30.0,
    (executor, "COMMIT_EVERY"): 10.0,
    (executor, "RELIEVE_EVERY"): 10.0,
    (waiting, "PICK_UP_EVERY"): 15.0,
}
"""
How often is looked for something new: an hour is mostly looks that find nothing.
"""


def test_p9_a_sink_that_is_down_for_an_hour_kills_nothing() -> None:
    """
    One system refuses every connection for an hour of virtual time: no dead letter, everything written after, in order.
    """
    world = World(9, audit)

    async def outage() -> None:
        line = world.systems["shop"].line
        line.trouble = "refuses"
        await asyncio.sleep(HOUR)
        line.trouble = ""

    world.faults.run = outage  # type: ignore[method-assign]
    with mock.patch.dict(SMALLER, CALM):
        world.run()
    late = [effect for effect in world.journal.effects if effect.at > HOUR and effect.work[0] == "tally"]

    assert WRITTEN_LATE < len(late)
    assert 0 == world.judge.counts["dead"]
