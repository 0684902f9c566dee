"""
Money: caps hold before the call, and every reservation ends once.
"""

from __future__ import annotations

import asyncio
import random

import pytest

from ledger import Cap
from ledger.testing import beside, bury
from penstock.errors import OverBudget, Rejected

DAY = "2026-11-24"
ASK = {"kind": "ask", "action_class": "ai", "timeout": 60.0}
PIPE = Cap(scope="pipeline:p", period=DAY, limit=1000)
HUB = Cap(scope="hub", period="2026-11", limit=5000)


@pytest.fixture
async def step(book, site, make):
    """A begun ask."""
    claim = await site.claim(book, make())
    async with book.step(claim, "ask", **ASK) as begun:
        yield begun


async def money(book, *caps):
    """What the caps' rows hold."""
    return [await book.spent(cap.scope, cap.period) for cap in caps]


async def test_a_call_is_reserved_then_settled(book, step, cost):
    """The worst case is held under every cap while the call runs, then the truth is booked."""
    async with step.call(amount=300, caps=[PIPE, HUB]) as slot:
        assert await money(book, PIPE, HUB) == [(0, 300), (0, 300)]
        await slot.settle(cost(slot.call, 120))

    assert await money(book, PIPE, HUB) == [(120, 0), (120, 0)]


async def test_a_call_that_never_left_costs_nothing(book, step, cost):
    """Released money is free again, and the attempt is on record."""
    async with step.call(amount=300, caps=[PIPE]) as slot:
        await slot.release(cost(slot.call, 0, outcome="unavailable"))

    assert await money(book, PIPE) == [(0, 0)]


@pytest.mark.parametrize("error", [None, ZeroDivisionError(), asyncio.CancelledError()])
async def test_a_call_nobody_ended_is_booked_in_full(book, step, error):
    """What may have been billed is spent."""
    with pytest.raises((ZeroDivisionError, asyncio.CancelledError, _Nothing)):
        async with step.call(amount=300, caps=[PIPE]):
            raise error or _Nothing

    assert await money(book, PIPE) == [(300, 0)]


class _Nothing(Exception):
    pass


async def test_an_ending_counts_once(book, step, cost):
    """Settling or releasing again changes nothing."""
    async with step.call(amount=300, caps=[PIPE]) as slot:
        await slot.settle(cost(slot.call, 120))
        await slot.settle(cost(slot.call, 200))
        await slot.release(cost(slot.call, 0))

    assert await money(book, PIPE) == [(120, 0)]


async def test_an_overrun_is_booked(book, step, cost):
    """The truth is booked even above the reservation and the cap."""
    async with step.call(amount=900, caps=[PIPE]) as slot:
        await slot.settle(cost(slot.call, 1200))
    with pytest.raises(OverBudget) as refused:
        async with step.call(amount=1, caps=[PIPE]):
            pytest.fail("nothing may be sent")

    assert await money(book, PIPE) == [(1200, 0)]
    assert (refused.value.scope, refused.value.forever) == (f"pipeline:p/{DAY}", False)


async def test_a_refusal_reserves_nothing_under_the_other_caps(book, step, cost):
    """A call fits under all caps or under none."""
    with pytest.raises(OverBudget) as refused:
        async with step.call(amount=1001, caps=[HUB, PIPE]):
            pytest.fail("nothing may be sent")

    assert await money(book, PIPE, HUB) == [(0, 0), (0, 0)]
    assert refused.value.forever


async def test_an_event_has_its_own_cap(book, step, cost):
    """All calls of one event stay under `per_event`, the ones under way included."""
    async with step.call(amount=50, caps=[PIPE], per_event=100) as slot:
        with pytest.raises(OverBudget) as refused:
            async with step.call(amount=51, caps=[PIPE], per_event=100):
                pytest.fail("nothing may be sent")
        await slot.settle(cost(slot.call, 60))
    with pytest.raises(OverBudget) as for_good:
        async with step.call(amount=41, caps=[PIPE], per_event=100):
            pytest.fail("nothing may be sent")

    assert (refused.value.scope, refused.value.forever) == ("per_event", False)
    assert (for_good.value.scope, for_good.value.forever) == ("per_event", True)


async def test_a_runs_cost_is_the_sum_of_its_calls(book, site, make, cost):
    """Every call of a run is on record with what it cost."""
    claim = await site.claim(book, make())
    async with book.step(claim, "ask", **ASK) as step:
        for amount in (10, 20, 30):
            async with step.call(amount=100, caps=[]) as slot:
                await slot.settle(cost(slot.call, amount, at=amount))
    found = await book.detail(claim.run)

    assert found.run.cost == 60
    assert [(call.cost, call.run, call.step) for call in found.calls] == [
        (amount, claim.run, "ask") for amount in (10, 20, 30)
    ]


async def test_many_calls_at_once_never_pass_a_cap(book, site, make, cost):
    """200 runs that reserve at once hold at most what every cap allows, at every moment."""
    worst = []

    async def one(n):
        claim = await site.claim(book, make(str(n), lane=str(n)))
        async with book.step(claim, "ask", **ASK) as step:
            try:
                async with step.call(amount=90, caps=[PIPE, HUB]) as slot:
                    worst.append(sum(await book.spent(PIPE.scope, PIPE.period)))
                    await asyncio.sleep(random.random() / 100)
                    await slot.settle(cost(slot.call, 20))
            except OverBudget:
                return 0
        return 20

    spent = sum(await asyncio.gather(*(one(n) for n in range(200))))

    assert max(worst) <= PIPE.limit
    assert await money(book, PIPE, HUB) == [(spent, 0), (spent, 0)]
    assert 11 * 20 <= spent <= PIPE.limit


@pytest.mark.parametrize(("truth", "ending"), [(120, "settle"), (900, "settle"), (0, "release")])
async def test_a_swept_call_is_corrected_once(book, site, make, cost, *, truth, ending):
    """P22: a slow worker's call is spent in full when its lane is taken, and put right when it answers."""
    claim = await site.claim(book, make())
    block = book.step(claim, "ask", **ASK)
    step = await block.__aenter__()
    call = step.call(amount=300, caps=[PIPE])
    slot = await call.__aenter__()
    successor = await beside(book)
    await bury(book)
    taken = await site.claim(successor, make())
    assert await money(book, PIPE) == [(300, 0)]
    assert [one.outcome for one in (await book.detail(taken.run)).calls] == ["swept"]
    await getattr(slot, ending)(cost(slot.call, truth))
    await slot.settle(cost(slot.call, truth + 1))
    (found,) = (await book.detail(taken.run)).calls

    assert await money(book, PIPE) == [(truth, 0)]
    assert (found.cost, found.late) == (truth, True)


async def test_money_of_another_period_is_another_row(book, step, cost):
    """Settling after midnight goes to the day the call was reserved under."""
    tomorrow = Cap(scope="pipeline:p", period="2026-11-25", limit=1000)
    async with step.call(amount=900, caps=[PIPE]) as slot:
        async with step.call(amount=900, caps=[tomorrow]) as other:
            await other.settle(cost(other.call, 2))
        await slot.settle(cost(slot.call, 1))

    assert await money(book, PIPE, tomorrow) == [(1, 0), (2, 0)]


async def test_a_price_booked_with_its_step_is_kept_with_its_answer(book, site, make, cost):
    """Until the step ends the call is held, then both are there: no crash finds it paid and the answer gone."""
    claim = await site.claim(book, make())
    async with book.step(claim, "ask", **ASK) as step:
        async with step.call(amount=300, caps=[PIPE]) as slot:
            await slot.settle(cost(slot.call, 120), with_step=True)
        assert await money(book, PIPE) == [(0, 300)]
        await step.done({"summary": "x"})

    assert await money(book, PIPE) == [(120, 0)]


async def test_a_price_booked_with_its_step_is_booked_before_the_next_call_and_without_an_end(book, step, cost):
    """A second call sees what the first one cost, and a step that fails has cost it too."""
    async with step.call(amount=600, caps=[PIPE]) as slot:
        await slot.settle(cost(slot.call, 120), with_step=True)
    async with step.call(amount=600, caps=[PIPE]) as slot:
        assert await money(book, PIPE) == [(120, 600)]
        await slot.settle(cost(slot.call, 30), with_step=True)
    await step.leave(Rejected("no"))

    assert await money(book, PIPE) == [(150, 0)]
