"""
Pairs: kept with the step that completes them, once per run, and forgotten with it.
"""

from __future__ import annotations

from dataclasses import replace

import pytest

from ledger import Cap
from ledger.costs import CostQuery
from ledger.pairing import SHADOW, Pair
from ledger.testing import beside, bury
from penstock.errors import Fenced

DAY = 86_400.0
ASK = {"kind": "ask", "action_class": "ai", "timeout": 60.0}
LOOK = ASK | {"kind": "lookup"}
EVER = CostQuery(since=0, until=2**60, pipeline="p")
CAP = Cap(scope="pipeline:p", period="-", limit=10_000)
PAIR = Pair(
    route="cheap-first",
    small="small",
    large="large",
    kept=True,
    share=0.02,
    agree=True,
    scores={"output.confidence": 0.81},
    small_cost=120,
    large_cost=1_200,
)


async def compared(book, claim, cost, pair=PAIR, *, caps=()):
    """Let a run's second model cost what the pair says, and end."""
    async with book.step(claim, SHADOW, **LOOK) as step:
        async with step.call(amount=5_000, caps=caps, model=pair.large) as slot:
            await slot.settle(cost(slot.call, pair.large_cost, model=pair.large, rung=1), with_step=True)
        await step.done({"agree": pair.agree}, pair=pair)


async def test_a_pair_is_kept_as_it_was(book, site, make, cost):
    """Every value comes back, with the time; other pipelines and other times have none of it."""
    await compared(book, await site.claim(book, make()), cost)
    now = site.clock.now_ms()

    assert await book.pairs(EVER) == [replace(PAIR, at=now)]
    assert await book.pairs(replace(EVER, pipeline="other")) == []
    assert await book.pairs(replace(EVER, until=now)) == []


async def test_the_smallest_share_is_kept(book, site, make, cost):
    """A share of a millionth of a percent is not rounded away: pairs are weighed by it."""
    await compared(book, await site.claim(book, make()), cost, replace(PAIR, share=1e-8))

    assert (await book.pairs(EVER))[0].share == pytest.approx(1e-8)


async def test_a_run_has_one_pair(book, site, make, cost):
    """The first one stays, whatever is compared later."""
    claim = await site.claim(book, make())
    async with book.step(claim, "ask", **ASK) as step:
        await step.done({}, pair=replace(PAIR, kept=False, agree=False))
    await compared(book, claim, cost)

    assert [(each.kept, each.agree) for each in await book.pairs(EVER)] == [(False, False)]


async def test_what_only_compares_is_no_climb(book, site, make, cost):
    """It has a sum of its own, and counts for the run and its caps like every call."""
    claim = await site.claim(book, make())
    async with book.step(claim, "ask", **ASK) as step:
        async with step.call(amount=500, caps=[CAP], model="small") as slot:
            await slot.settle(cost(slot.call, 120), with_step=True)
        await step.done({})
    await compared(book, claim, cost, caps=[CAP])

    assert [(each.models, each.cost) for each in await book.climbs(EVER)] == [(("small",), 120)]
    assert await book.shadow_cost(EVER) == 1_200
    assert await book.shadow_cost(replace(EVER, pipeline="other")) == 0
    assert await book.spent("pipeline:p", "-") == (1_320, 0)
    assert (await book.detail(claim.run)).run.cost == 1_320


async def test_a_comparison_is_lost_with_its_lane(book, site, make, cost):
    """Its worst case is booked, then what it really cost; nothing is compared, and the next attempt can tell."""
    other = await beside(book)
    claim = await site.claim(other, make())
    await other.admit(make(), b"{}", reason="behind")
    with pytest.raises(Fenced):
        async with other.step(claim, SHADOW, **LOOK) as begun:
            async with begun.call(amount=5_000, caps=[CAP], model="large") as slot:
                await bury(other)
                (picked,) = await book.pick_up(["p"], 1)
                swept = await book.spent("pipeline:p", "-")
                await slot.settle(cost(slot.call, 1_200, model="large", rung=1), with_step=True)
            await begun.done({"agree": True}, pair=PAIR)
    async with book.step(picked.claim, SHADOW, **LOOK) as again:
        assert (again.found, again.attempts) == ("unknown", 2)

    assert await book.pairs(EVER) == []
    assert swept == (5_000, 0)
    assert await book.spent("pipeline:p", "-") == (1_200, 0)
    assert await book.shadow_cost(EVER) == 1_200


async def test_pairs_go_with_their_run(book, site, make, cost):
    """They are details: gone after `keep`, and not before."""
    claim = await site.claim(book, make())
    await compared(book, claim, cost)
    await book.finish(claim, "delivered")
    await site.clock.advance(29 * DAY)
    await book.prune()
    kept = await book.pairs(EVER)
    await site.clock.advance(2 * DAY)
    await book.prune()

    assert (len(kept), await book.pairs(EVER)) == (1, [])


async def test_a_renamed_pipeline_keeps_its_pairs(book, site, make, cost):
    """They are found under its new name."""
    await compared(book, await site.claim(book, make(pipeline="old")), cost)
    await book.adopt("old", "p")

    assert len(await book.pairs(EVER)) == 1
