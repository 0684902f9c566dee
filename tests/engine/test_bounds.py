"""
Traces about lanes that are long, old, or given up in the middle: what moves to the ledger, and when.
"""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from engine import executor as executor_module
from engine import relief as relief_module
from ledger.contract import Claim, NewRun
from ledger.testing import beside
from penstock.errors import Unavailable
from schemas.events import Event
from tests.engine.bench import Bench, ScriptedRunner, event, outgoing


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """
    Heads are old at once, and looked at all the time.
    """
    monkeypatch.setattr(relief_module, "HEAD_MOST", 0.0)
    monkeypatch.setattr(executor_module, "RELIEVE_EVERY", 0.005)
    monkeypatch.setattr(executor_module, "COMMIT_EVERY", 0.005)


async def test_p10_an_old_head_releases_its_partition(bench: Bench, quick: None) -> None:
    """
    One call that takes for ever keeps neither its partition's position nor the events of other records.
    """
    stuck = asyncio.Event()

    async def work(_runner: ScriptedRunner, _claim: Claim, item: Event) -> None:
        if item.id == "e0":
            await stuck.wait()

    runner = ScriptedRunner(bench.ledger, work)
    async with bench.running(runner) as executor:
        await bench.bus.publish([outgoing(event(n, "a" if n < 3 else str(n))) for n in range(20)])
        await bench.until(lambda: len(runner.log) == 17 and executor.held == 0)
        await executor._commit()
        subscription = executor._intakes["p"].subscription
        assert subscription is not None
        assert sum((await subscription.committed()).values()) == 20
        assert executor.running == 1
        stuck.set()
        await bench.until(lambda: len(runner.log) == 20)

    assert [name for lane, name in runner.log if lane == "a"] == ["e0", "e1", "e2"]


class SlowClaim:
    """
    A ledger whose claims of one event take until a test lets them go on.
    """

    def __init__(self, ledger: Any, event_id: str) -> None:
        self._ledger = ledger
        self._event_id = event_id
        self.claiming = asyncio.Event()
        self.on = asyncio.Event()
        self.admitted: list[str] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._ledger, name)

    async def claim(self, run: NewRun) -> Any:
        if run.event_id == self._event_id:
            self.claiming.set()
            await self.on.wait()
        return await self._ledger.claim(run)

    async def admit(self, run: NewRun, body: bytes, **more: Any) -> None:
        self.admitted.append(run.event_id)
        await self._ledger.admit(run, body, **more)


async def test_i3_nothing_moves_to_the_ledger_before_its_head(bench: Bench, quick: None) -> None:
    """
    While the claim of an old head is under way, what came after it is not offered to the ledger before it.
    """
    other = await beside(bench.ledger)
    runner = ScriptedRunner(bench.ledger)
    holding = await other.claim(runner.offer(event(99, "a")))
    assert isinstance(holding, Claim)
    slow = SlowClaim(bench.ledger, "e0")
    async with bench.running(runner, ledger=slow) as executor:
        await bench.bus.publish([outgoing(event(n, "a")) for n in range(3)])
        await slow.claiming.wait()
        await bench.until(lambda: executor.held == 0 or len(slow.admitted) == 3)
        slow.on.set()
        await other.finish(holding, "delivered")
        await bench.until(lambda: len(runner.log) == 3)

    assert slow.admitted[:3] == ["e0", "e1", "e2"]
    assert [name for _, name in runner.log] == ["e0", "e1", "e2"]


async def test_a5b_a_commit_refused_by_a_rebalance_is_offered_again(bench: Bench, quick: None) -> None:
    """
    The group is rebalancing: nobody joins anew because of it, and the positions are stored a little later.
    """
    runner = ScriptedRunner(bench.ledger)
    async with bench.running(runner) as executor:
        subscription: Any = executor._intakes["p"].subscription
        commit, refused = subscription.commit, []

        async def refusing(positions: Any) -> None:
            if len(refused) < 3:
                refused.append(positions)
                raise Unavailable("the group is rebalancing")
            await commit(positions)

        subscription.commit = refusing
        await bench.bus.publish([outgoing(event(n, str(n))) for n in range(10)])
        await bench.until(lambda: len(runner.log) == 10 and executor.held == 0 and len(refused) == 3)
        await executor._commit()

        assert executor._intakes["p"].subscription is subscription
        assert sum((await subscription.committed()).values()) == 10
