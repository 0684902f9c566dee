"""
A stop that comes at a bad moment.
"""

from __future__ import annotations

import asyncio

from tests.engine.bench import Bench, ScriptedRunner


async def test_a_stop_is_not_lost_in_the_moment_of_waking(bench: Bench) -> None:
    """
    A loop that is woken and cancelled in one breath ends; else `stop` would wait for it for ever.
    """
    async with bench.running(ScriptedRunner(bench.ledger)) as executor:
        resting = asyncio.create_task(executor._rest(60))
        await asyncio.sleep(0.01)
        executor._wake.set()
        resting.cancel()
        await asyncio.wait([resting])

        assert resting.cancelled()
