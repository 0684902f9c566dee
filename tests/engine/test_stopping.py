"""
A stop that comes at a bad moment.
"""

from __future__ import annotations

import asyncio

from penstock.errors import Unavailable
from tests.engine.bench import Bench, ScriptedRunner


async def test_a_stop_is_not_lost_in_the_moment_of_waking(bench: Bench) -> None:
    """
    A loop that is woken and cancelled in one breath ends; else `stop` would wait for it for ever.
    """
    async with bench.running(ScriptedRunner(bench.ledger)) as executor:
        resting = asyncio.create_task(executor._waiting._rest(60))
        await asyncio.sleep(0.01)
        executor._waiting.wake()
        resting.cancel()
        await asyncio.wait([resting])

        assert resting.cancelled()


async def test_a_group_that_cannot_be_left_stops_no_stop(bench: Bench) -> None:
    """
    The bus cannot be written when the hub stops: the other groups are left all the same, and the stop ends.
    """
    left = []

    async def refused() -> None:
        raise Unavailable("the disk is full")

    async def leave() -> None:
        left.append("q")

    async with bench.running(ScriptedRunner(bench.ledger), ScriptedRunner(bench.ledger, name="q")) as executor:
        subscriptions = [intake.subscription for intake in executor._intakes.values()]
        subscriptions[0].close, subscriptions[1].close = refused, leave

    assert ["q"] == left
