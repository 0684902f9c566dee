"""
The rate budget of a credential, on a clock that moves by hand.
"""

from __future__ import annotations

import asyncio

import pytest

from connectors.budget import Budget, BudgetRule
from penstock.clock import ManualClock
from penstock.errors import Crowded, Unavailable

RULE = BudgetRule(
    name="test",
    requests=10,
    per=10.0,
    concurrency=3,
    limit="x-limit",
    remaining="x-left",
    reset="x-reset",
    reset_form="seconds",
)


async def use(budget: Budget, deadline: float = 5.0) -> None:
    async with budget.turn(deadline):
        pass


async def test_burst_then_refill() -> None:
    """The whole budget may be used at once; then requests come back one by one."""
    clock = ManualClock()
    budget = Budget(RULE, clock)
    for _ in range(10):
        await use(budget, deadline=0.5)
    with pytest.raises(Unavailable) as raised:
        await use(budget, deadline=0.5)

    assert raised.value.retry_after == pytest.approx(1.0)
    await clock.advance(1.0)
    await use(budget, deadline=1.5)


async def test_waiting_in_line() -> None:
    """Who can wait waits, in order, at the budget's pace."""
    clock = ManualClock()
    budget = Budget(RULE, clock)
    for _ in range(10):
        await use(budget)
    done: list[int] = []

    async def one(number: int) -> None:
        await use(budget, deadline=60.0)
        done.append(number)

    tasks = [asyncio.create_task(one(number)) for number in range(3)]
    await asyncio.sleep(0)
    await clock.advance(1.01)

    assert [0] == done
    await clock.advance(2.0)
    await asyncio.gather(*tasks)

    assert [0, 1, 2] == done


async def test_refused_turns_cost_nothing() -> None:
    """A turn that was refused takes nothing from the budget."""
    clock = ManualClock()
    budget = Budget(RULE, clock)
    for _ in range(10):
        await use(budget)
    for _ in range(50):
        with pytest.raises(Unavailable):
            await use(budget, deadline=0.1)
    await clock.advance(1.0)
    await use(budget, deadline=1.1)


async def test_headers_correct_it() -> None:
    """What the system says is left, and how large the plan is, counts more than what we reckoned."""
    clock = ManualClock()
    budget = Budget(RULE, clock)
    budget.learn({"x-left": "1"})
    await use(budget)
    with pytest.raises(Unavailable):
        await use(budget, deadline=0.5)

    assert 1 == budget.quota_left
    budget.learn({"x-limit": "100", "x-left": "50"})
    for _ in range(50):
        await use(budget, deadline=0.5)
    with pytest.raises(Unavailable):
        await use(budget, deadline=0.05)


async def test_nothing_left_shuts_it_until_the_reset() -> None:
    """At zero nothing is sent until the system's own reset, an hour at most."""
    clock = ManualClock()
    budget = Budget(RULE, clock)
    budget.learn({"x-left": "0", "x-reset": "30"})
    with pytest.raises(Unavailable) as raised:
        await use(budget, deadline=29.0)

    assert raised.value.retry_after == pytest.approx(30.0)
    budget.learn({"x-left": "0", "x-reset": "999999999"})
    with pytest.raises(Unavailable) as raised:
        await use(budget, deadline=29.0)

    assert raised.value.retry_after == pytest.approx(3600.0)


@pytest.mark.parametrize("text", ["", "-1", "1.5", "many", "9" * 40, "٣"])
async def test_odd_headers_are_ignored(text: str) -> None:
    """A header that is no plain number changes nothing."""
    clock = ManualClock()
    budget = Budget(RULE, clock)
    budget.learn({"x-left": text, "x-limit": text, "x-reset": text})
    for _ in range(10 if text != "٣" else 3):
        await use(budget, deadline=0.5)


async def test_concurrency() -> None:
    """No more than the allowed number of requests are under way at once; later ones are told to come back."""
    clock = ManualClock()
    budget = Budget(RULE, clock)
    async with budget.turn(1.0), budget.turn(1.0), budget.turn(1.0):
        with pytest.raises(Crowded, match="in use"):
            await use(budget, deadline=0.01)
    await use(budget)


async def test_our_own_limit_is_told_from_the_systems_word() -> None:
    """A pace of our own leaves us crowded; a system that asked for a pause is not available."""
    clock = ManualClock()
    budget = Budget(RULE, clock)
    for _ in range(10):
        await use(budget)
    with pytest.raises(Crowded) as raised:
        await use(budget, deadline=0.5)
    assert raised.value.retry_after == pytest.approx(1.0)
    budget.pause(30.0)
    with pytest.raises(Unavailable) as paused:
        await use(budget, deadline=0.5)

    assert not isinstance(paused.value, Crowded)
