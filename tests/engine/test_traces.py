"""
Traces in which events were lost or ran at once: two workers of one pipeline, one lane, one failure.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Any

import pytest

from engine import executor as executor_module
from ledger.contract import Claim
from ledger.testing import beside, bury
from schemas.events import Event
from tests.engine.bench import Bench, ScriptedRunner, event, outgoing


@dataclass
class Waiting(ScriptedRunner):
    """
    Its first event fails once and waits; picked up again, it takes until the test lets it go on.
    """

    picked: asyncio.Event = field(default_factory=asyncio.Event)
    on: asyncio.Event = field(default_factory=asyncio.Event)

    async def handle(self, claim: Claim, item: Event, body: bytes, *, probing: str | None = None, **_more: Any) -> None:
        if item.id == "e0" and claim.reason is None:
            await self.ledger.wait(claim, "retry", body, why="failed", due_at=0, attempt=True)
            return
        if item.id == "e0":
            self.picked.set()
            await self.on.wait()
        await super().handle(claim, item, body, probing=probing)


async def test_p1_a_picked_up_event_keeps_its_lane_when_another_worker_reads_the_next(bench: Bench) -> None:
    """
    e0 waited and runs again, its offset is passed; the worker that fetches e1 does not run it meanwhile.
    """
    first = Waiting(bench.ledger)
    other = await beside(bench.ledger)
    second = ScriptedRunner(other)
    async with bench.running(first) as one:
        await bench.bus.publish([outgoing(event(0, "a"))])
        await first.picked.wait()
        await bench.until(lambda: one.held == 0)
        await one._commit()
        await one._intakes["p"].subscription.close()  # type: ignore[union-attr]
        async with bench.running(second, ledger=other) as two:
            await bench.bus.publish([outgoing(event(1, "a"))])
            await bench.until(lambda: bool(two._intakes["p"].marks) and two.held == 0)
            assert second.log == []
            first.on.set()
            await bench.until(lambda: len(first.log) + len(second.log) == 2)

    assert [name for _, name in first.log + second.log] == ["e0", "e1"]


async def test_p1_a_picked_up_event_outlives_its_worker(bench: Bench) -> None:
    """
    The worker that picked e0 up dies; its offset was passed, and yet another worker runs it, before e1.
    """
    first = Waiting(bench.ledger)
    other = await beside(bench.ledger)
    second = ScriptedRunner(other)
    async with bench.running(first) as one:
        await bench.bus.publish([outgoing(event(0, "a"))])
        await first.picked.wait()
        await bench.until(lambda: one.held == 0)
        await one._commit()
        one._stopping = True
        for loop in one._loops:
            loop.cancel()
        await one._intakes["p"].subscription.close()  # type: ignore[union-attr]
        await bury(bench.ledger)
        async with bench.running(second, ledger=other):
            await bench.bus.publish([outgoing(event(1, "a"))])
            await bench.until(lambda: len(second.log) == 2)
        first.on.set()

    assert [name for _, name in second.log] == ["e0", "e1"]
    assert first.log == [("a", "e0")], "it worked on, and could not end what was no longer its own"


async def test_p2_an_event_that_runs_elsewhere_is_adopted(bench: Bench) -> None:
    """
    e0 is only on the bus and its worker alive when another one reads it: kept, passed, and run when that one dies.
    """
    group = await bench.bus.subscribe("t.desk", "p")
    await group.close()
    other = await beside(bench.ledger)
    runner = ScriptedRunner(bench.ledger)
    claim = await other.claim(runner.offer(event(0, "a")))
    assert isinstance(claim, Claim)
    await bench.bus.publish([outgoing(event(n, "a")) for n in range(3)])
    async with bench.running(runner) as executor:
        await bench.until(lambda: bool(executor._intakes["p"].marks) and executor.held == 0)
        await executor._commit()
        assert runner.log == []
        subscription = executor._intakes["p"].subscription
        assert subscription is not None
        assert sum((await subscription.committed()).values()) == 3
        await bury(other)
        await bench.until(lambda: len(runner.log) == 3)

    assert [name for _, name in runner.log] == ["e0", "e1", "e2"]


async def test_i1_a_stop_in_the_middle_passes_no_offset_too_early(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    Runs that did not end within the grace of a stop are read again, and nothing is lost.
    """
    monkeypatch.setattr(executor_module, "COMMIT_EVERY", 0.01)
    stuck = asyncio.Event()

    async def work(_runner: ScriptedRunner, _claim: Claim, item: Event) -> None:
        if int(item.id[1:]) % 5 == 0:
            await stuck.wait()

    first = ScriptedRunner(bench.ledger, work)
    async with bench.running(first, in_flight=30) as executor:
        await bench.bus.publish([outgoing(event(n, str(n))) for n in range(100)])
        await bench.until(lambda: len(first.log) > 50)
        await executor.stop(0.05)
    await bury(bench.ledger)
    other = await beside(bench.ledger)
    second = ScriptedRunner(other)
    async with bench.running(second, ledger=other):
        await bench.until(lambda: len(first.log) + len(second.log) >= 100)

    assert sorted(name for _, name in first.log + second.log) == sorted(f"e{n}" for n in range(100))
