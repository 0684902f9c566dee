"""
A paused pipeline: events are taken, nothing starts, and all of it runs in order afterwards.
"""

from __future__ import annotations

import asyncio

import pytest

from engine import executor as executor_module
from ledger.contract import Claim, RunQuery
from schemas.events import Event
from tests.engine.bench import Bench, ScriptedRunner, event, outgoing


async def _sum(bench: Bench, pipeline: str, state: str) -> int:
    return (await bench.ledger.counts()).get((pipeline, state), 0)


async def _until(bench: Bench, pipeline: str, state: str, count: int) -> None:
    async with asyncio.timeout(30):
        while await _sum(bench, pipeline, state) < count:
            await asyncio.sleep(0.01)


async def test_what_runs_finishes_and_what_comes_waits_for_the_resume(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    Paused while runs are under way: they end; later events are in the ledger, their offsets passed; another
    pipeline works on; resumed, every lane goes on in its order.
    """
    monkeypatch.setattr(executor_module, "PAUSES_EVERY", 0.01)
    held, begun = asyncio.Event(), asyncio.Event()

    async def work(_runner: ScriptedRunner, _claim: Claim, item: Event) -> None:
        if item.id == "e0":
            begun.set()
            await held.wait()

    mine, other = ScriptedRunner(bench.ledger, work, name="p"), ScriptedRunner(bench.ledger, name="q")
    first, later = event(0, "k0"), [event(n, f"k{n % 3}") for n in range(1, 10)]
    async with bench.running(mine, other) as executor:
        await bench.bus.publish([outgoing(first)])
        await begun.wait()
        await bench.ledger.pause("p", reason="the desk is being mended")
        await bench.until(lambda: "p" in executor._pauses)
        await bench.bus.publish([outgoing(item) for item in later])
        await _until(bench, "p", "waiting", 6)  # the others are behind what runs
        held.set()
        await _until(bench, "p", "waiting", 9)
        await bench.until(lambda: len(mine.log) == 1 and len(other.log) == 10 and executor.held == 0)
        assert {("pause", "pipeline:p")} == {
            (run.reason, run.gate) for run in await bench.ledger.runs(RunQuery(pipeline="p", state="waiting"))
        }
        await bench.ledger.resume("p")
        await bench.until(lambda: len(mine.log) == 10)

    for lane in range(3):
        assert [f"e{n}" for n in range(10) if n % 3 == lane] == [name for key, name in mine.log if key == f"k{lane}"]
    assert 0 == mine.overlaps


async def test_a_pause_survives_a_restart(bench: Bench) -> None:
    """
    A hub that starts while its pipeline is paused starts nothing of it.
    """
    await bench.ledger.pause("p", reason="no")
    runner = ScriptedRunner(bench.ledger)
    async with bench.running(runner):
        await bench.bus.publish([outgoing(event(n, f"k{n}")) for n in range(5)])
        await _until(bench, "p", "waiting", 5)
    async with bench.running(runner):
        await bench.bus.publish([outgoing(event(5, "k5"))])
        await _until(bench, "p", "waiting", 6)
    assert [] == runner.log
    await bench.ledger.resume("p")
    async with bench.running(runner):
        await bench.until(lambda: len(runner.log) == 6)
