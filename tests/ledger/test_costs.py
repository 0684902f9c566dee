"""
Sums of calls: exact, whoever booked them, and told apart by what they were for.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from ledger import Ledger, NewRun
from ledger.connection import Connection
from ledger.costs import SLOT, CostQuery, CostSum
from ledger.testing import beside, bury
from schemas.entries import ModelCall, Usage

ASK: dict[str, Any] = {"kind": "ask", "action_class": "ai", "timeout": 60.0}
EVER = {"since": 0, "until": 2**60}
Cost = Callable[..., ModelCall]


async def paid(book: Ledger, run: NewRun, entry: Cost, *, cost: int, model: str = "small", **more: Any) -> None:
    claim: Any = await book.claim(run)
    async with book.step(claim, "ask", **ASK) as step:
        async with step.call(amount=500, caps=[], model=model) as slot:
            await slot.settle(entry(slot.call, cost, model=model, **more))
        await step.done({})
    await book.finish(claim, "delivered")


def only(found: list[CostSum], **wanted: Any) -> CostSum:
    (one,) = [each for each in found if all(getattr(each, name) == value for name, value in wanted.items())]
    return one


async def test_money_is_told_apart_by_who_caused_it(book: Ledger, make: Callable[..., NewRun], cost: Cost) -> None:
    """
    Tenant, user, model and configuration each have their own sum; tokens and calls as well.
    """
    usage = Usage(input=100, output=7, cache_read=60)
    await paid(book, make("1", lane="1", tenant="acme", user="ann", config_hash="old"), cost, cost=40, usage=usage)
    await paid(book, make("2", lane="2", tenant="acme", user="ann", config_hash="new"), cost, cost=2, usage=usage)
    await paid(book, make("3", lane="3", tenant="acme", user="bob"), cost, cost=300, model="large")
    await paid(book, make("4", lane="4", pipeline="other"), cost, cost=1)

    found = await book.costs(CostQuery(by=("tenant", "user"), **EVER))
    assert only(found, user="ann") == CostSum(
        tenant="acme",
        user="ann",
        outcome="ok",
        late=False,
        priced=True,
        calls=2,
        tokens_in=200,
        tokens_out=14,
        tokens_cached=120,
        cost=42,
    )
    assert {each.user: each.cost for each in found} == {"ann": 42, "bob": 300, "": 1}
    by_model = await book.costs(CostQuery(by=("model",), **EVER))
    assert {each.model: each.cost for each in by_model} == {"small": 43, "large": 300}
    by_config = await book.costs(CostQuery(by=("config_hash",), pipeline="p", **EVER))
    assert {each.config_hash: each.cost for each in by_config} == {"old": 40, "new": 2, "c1": 300}
    assert [each.cost for each in await book.costs(CostQuery(**EVER))] == [343]


async def test_a_time_ends_before_its_end(book: Ledger, make: Callable[..., NewRun], cost: Cost) -> None:
    """
    What ended at `since` counts, what ended at `until` does not; a slot is a quarter of an hour.
    """
    for at in (SLOT, 2 * SLOT - 1, 2 * SLOT):
        await paid(book, make(f"{at}", lane=f"{at}"), cost, cost=1, at=at)

    found = await book.costs(CostQuery(since=SLOT, until=2 * SLOT, by=("slot",)))

    assert [(each.slot, each.calls) for each in found] == [(1, 2)]


async def test_an_unanswered_call_counts_for_the_model_that_was_asked(book: Ledger, site: Any, make: Any) -> None:
    """
    What was lost or swept is booked in full, under its model, and says whether its price is known.
    """
    with pytest.raises(ZeroDivisionError):
        begun = book.step(await site.claim(book, make("1", lane="1")), "ask", **ASK)
        async with begun as step, step.call(amount=300, caps=[], model="small"):
            raise ZeroDivisionError
    claim = await site.claim(book, make("2", lane="2", user="ann"))
    begun = book.step(claim, "ask", **ASK)
    call = (await begun.__aenter__()).call(amount=0, caps=[], model="home-made", priced=False)
    await call.__aenter__()
    other = await beside(book)
    await bury(book)
    assert await other.claim(make("2", lane="2"))

    found = await other.costs(CostQuery(by=("model", "user"), **EVER))

    lost, swept = only(found, outcome="lost"), only(found, outcome="swept")
    assert (lost.model, lost.cost, lost.priced) == ("small", 300, True)
    assert (swept.model, swept.user, swept.cost, swept.priced) == ("home-made", "ann", 0, False)


async def test_a_call_that_outlives_its_run_is_still_counted(book: Ledger, make: Any, cost: Cost) -> None:
    """
    Its money was spent, for nobody knows whom.
    """
    await paid(book, make("1", user="ann"), cost, cost=9)
    await book.store.write(_forget_runs)  # type: ignore[attr-defined]

    (found,) = await book.costs(CostQuery(by=("pipeline", "user"), **EVER))

    assert (found.pipeline, found.user, found.cost) == ("", "", 9)
    await book.store.write(lambda connection: connection.execute("DELETE FROM calls"))  # type: ignore[attr-defined]


def _forget_runs(connection: Connection) -> None:
    connection.execute("DELETE FROM runs")


async def test_whether_a_price_was_known_stays_with_the_call(book: Ledger, make: Any, cost: Cost) -> None:
    """
    It is kept beside the entry, which older code could not read with it.
    """
    run = make("1")
    await paid(book, run, cost, cost=0, priced=False)

    detail = await book.detail(run.run)

    assert detail is not None
    assert [call.priced for call in detail.calls] == [False]
    kept = await book.store.read(lambda connection: connection.execute("SELECT entry FROM calls").fetchone())  # type: ignore[attr-defined]
    assert "priced" not in kept["entry"]


async def test_configurations_are_found_by_their_hashes(book: Ledger) -> None:
    """
    Those that are known; any number of them.
    """
    await book.remember_config("h1", "one")
    await book.remember_config("h2", "two")

    assert await book.configs({"h1", "nothing", *map(str, range(1200))}) == {"h1": "one"}


async def test_climbs_are_told_apart_by_their_way(book: Ledger, make: Callable[..., NewRun], cost: Cost) -> None:
    """
    Models in turn, why each was not enough, and the tokens of the last; an ask that began again is another.
    """
    usage = Usage(input=100, output=10)
    small, large = {"model": "small", "usage": usage}, {"model": "large", "usage": usage, "rung": 1}
    for lane, calls in {
        "1": [small],
        "2": [small],
        "3": [small, large | {"cause": "unsure"}],
        "4": [small, small | {"attempt": 1}, large | {"cause": "invalid_output"}],
        "5": [small, large | {"cause": "unsure", "outcome": "timeout"}, small],
    }.items():
        claim: Any = await book.claim(make(lane, lane=lane))
        async with book.step(claim, "ask", **ASK) as step:
            for at, call in enumerate(calls):
                async with step.call(amount=500, caps=[]) as slot:
                    await slot.settle(cost(slot.call, 3 if call["model"] == "small" else 50, at=at, **call))
            await step.done({})
        await book.finish(claim, "delivered")

    found = await book.climbs(CostQuery(pipeline="p", **EVER))

    assert {(each.models, each.causes, each.outcome): (each.asks, each.costs, each.tokens_in) for each in found} == {
        (("small",), (), "ok"): (3, (9,), 300),
        (("small", "large"), ("unsure",), "ok"): (1, (3, 50), 100),
        (("small", "large"), ("invalid_output",), "ok"): (1, (6, 50), 100),
        (("small", "large"), ("unsure",), "timeout"): (1, (3, 50), 100),
    }
