"""
Runs begin as fast as their models take them; the others hold no place, and lose nothing.
"""

from __future__ import annotations

import asyncio
from typing import Any

from ai import Paced, Pacer
from engine import Executor
from ledger.contract import Claim, RunQuery
from ledger.pacing import Need, Quota
from penstock.clock import SystemClock
from penstock.errors import Unavailable
from schemas.events import Event
from tests.engine.bench import Bench, ScriptedRunner, event, outgoing
from tests.engine.hall import Hall

NAME = "openai/small@1"


async def test_a_run_that_is_too_fast_waits_without_an_attempt(memory_hall: Hall, ticket: Any) -> None:
    """
    It waits in the ledger for its turn, as a person can see, and is delivered then; the gate stays open.
    """
    hall = memory_hall
    due = hall.clock.now_ms() + 30_000
    hall.world.model.trouble = [Paced("small", due, "asked to slow down")]
    async with hall.working(hall.runner()):
        await hall.give(ticket("1"))
        await hall.passes(5)
        (waiting,) = await hall.ledger.runs(RunQuery(limit=9))
        gates = await hall.ledger.gates()
        await hall.ended(moving=5, _1="delivered")

    (run,) = await hall.ledger.runs(RunQuery(limit=9))
    assert (waiting.state, waiting.reason, waiting.due_at) == ("waiting", "pace", due)
    assert gates == []
    assert run.attempts == 0


async def test_a_run_that_is_always_too_fast_is_given_up(memory_hall: Hall, ticket: Any) -> None:
    """
    After `give_up_after` a person decides, as for an outage.
    """
    hall = memory_hall
    clock = hall.clock

    class Never:
        def pop(self, _index: int) -> Exception:
            return Paced("small", clock.now_ms() + 600_000, "asked to slow down")

    hall.world.model.trouble = Never()
    async with hall.working(hall.runner(on_error={"give_up_after": "1h"})):
        await hall.give(ticket("1"))
        await hall.ended(moving=60, _1="dead")


async def test_runs_begin_as_their_model_takes_them(bench: Bench) -> None:
    """
    Of two pipelines over a few places, the one with a slow model never holds more than come to their turn within
    a second, so the other has all it wants; in the end everything is done.
    """
    clock = SystemClock()
    pacer = Pacer(await bench.ledger.set_pace(NAME, Quota(requests=1200), told=True), ledger=bench.ledger, clock=clock)
    most = 0

    async def paced(_runner: ScriptedRunner, claim: Claim, _event: Event) -> None:
        nonlocal most
        pacer.arrives(claim.run)
        most = max(most, pacer._waiting + 1)
        await pacer.turn("small", Need(input=1, output=1), patience=60)

    slow = ScriptedRunner(bench.ledger, work=paced, pace=pacer)
    quick = ScriptedRunner(bench.ledger, name="q")
    executor = Executor(
        [slow, quick],  # type: ignore[list-item]
        bus=bench.bus,
        ledger=bench.ledger,
        clock=clock,
        topic=lambda name: f"t.{name}",
        in_flight=64,
    )
    await executor.start()
    try:
        await bench.bus.publish([outgoing(event(n, str(n))) for n in range(80)])
        async with asyncio.timeout(30):
            while len(quick.log) < 80:
                await asyncio.sleep(0.01)
            early = len(slow.log)
            while len(slow.log) < 80:
                await asyncio.sleep(0.01)
    finally:
        await executor.stop()

    assert early < 80
    assert most <= 22
    assert not pacer._coming


async def test_a_ledger_that_is_away_while_a_run_waits_for_its_turn(memory_hall: Hall, ticket: Any) -> None:
    """
    That is our own trouble: the run waits a moment, and no gate is shut.
    """
    memory_hall.world.model.trouble = [Unavailable("the ledger cannot be used")]
    async with memory_hall.working(memory_hall.runner()):
        await memory_hall.give(ticket("1"))
        await memory_hall.ended(moving=1, _1="delivered")
    assert await memory_hall.ledger.gates() == []
