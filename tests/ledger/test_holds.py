"""
Budget gates: who waits there goes in order, as far as the money reaches, and nothing is written meanwhile.
"""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import replace

import pytest

from ledger import Cap, Claim
from ledger.limits import CapReached
from ledger.testing import beside, bury
from penstock.errors import OverBudget

ASK = {"kind": "ask", "action_class": "ai", "timeout": 60.0}
DAY_MS = 86_400_000
NEED = 20
BODY = b'{"specversion":"1.0"}'


@pytest.fixture
def cap(site):
    """100 micro-USD a day for everybody; the day ends in a day."""
    return Cap(
        scope="budget:all",
        period="d1",
        limit=100,
        ends_at=site.clock.now_ms() + DAY_MS,
        alert_at=(0.5,),
        at_limit="hold",
    )


@pytest.fixture
def held(book, site, make, cap):
    """Put so many runs to the gate, each in a lane of its own."""

    async def put(*names, need=NEED, pipeline="p", cap=cap):
        for name in names:
            claim = await site.claim(book, make(name, lane=name, pipeline=pipeline))
            await book.hold(claim, BODY, cap, need=need, why="no money")

    return put


@contextlib.asynccontextmanager
async def calling(book, claim, cap, amount=NEED):
    """A provider call under way."""
    async with book.step(claim, "ask", **ASK) as step, step.call(amount=amount, caps=[cap]) as slot:
        yield slot


async def spend(book, site, make, cost, cap, amount, name="spender"):
    """Spend some of the cap."""
    claim = await site.claim(book, make(name, lane=name))
    async with calling(book, claim, cap, amount) as slot:
        await slot.settle(cost(slot.call, amount))
    await book.finish(claim, "delivered")


async def picked(book, *pipelines, most=50):
    """The events that may run now."""
    found = await book.pick_up(pipelines or ("p",), most)
    return [(await book.detail(one.claim.run)).run.event_id for one in found], [one.claim for one in found]


async def test_as_many_pass_as_fit_oldest_first(book, site, make, cost, cap, held):
    """With 50 of 100 spent and 20 needed, two of four pass; the two who have not reserved yet keep the rest back."""
    await spend(book, site, make, cost, cap, 50)
    await held("a", "b", "c", "d")

    assert (await picked(book))[0] == ["a", "b"]
    assert (await picked(book))[0] == []
    assert await book.next_due(["p"]) == cap.ends_at


async def test_money_that_comes_back_lets_the_next_through(book, site, make, cost, cap, held):
    """Nothing fits while calls hold the money; when they cost less, so many pass as the difference pays."""
    calls = [await site.claim(book, make(str(n), lane=str(n))) for n in range(5)]
    async with contextlib.AsyncExitStack() as stack:
        slots = [await stack.enter_async_context(calling(book, claim, cap)) for claim in calls]
        await held("a", "b", "c")
        before = (await picked(book))[0]
        for slot in slots:
            await slot.settle(cost(slot.call, 12))

    assert before == []
    assert (await picked(book))[0] == ["a", "b"]


async def test_a_run_that_reserved_makes_room_for_what_it_did_not_need(book, site, make, cost, cap, held):
    """Who passed and reserved is counted by its reservation, and no longer as one who may yet reserve."""
    await spend(book, site, make, cost, cap, 75)
    await held("a", "b")
    _, (first,) = await picked(book)
    async with calling(book, first, cap) as slot:
        assert (await picked(book))[0] == []
        await slot.settle(cost(slot.call, 2))

    assert (await picked(book))[0] == ["b"]


async def test_nobody_overtakes_who_waits(book, site, make, cost, cap, held):
    """A new run of another lane and pipeline joins the queue though it would fit; who was let through does not."""
    await spend(book, site, make, cost, cap, 90)
    await held("a")
    new = await site.claim(book, make("new", lane="new", pipeline="q"))
    with pytest.raises(CapReached) as refused:
        async with calling(book, new, cap, 5):
            pytest.fail("nothing may be sent")
    await book.hold(new, BODY, cap, need=None, why=str(refused.value))

    assert (await book.holds())[0].need == NEED
    assert "came before" in str(refused.value)
    assert (await picked(book, "p", "q"))[0] == []


async def test_a_run_that_has_paid_goes_on(book, site, make, cost, cap, held):
    """The repair of a run that was asked before others waited is not queued behind them."""
    claim = await site.claim(book, make("paid", lane="paid"))
    async with book.step(claim, "ask", **ASK) as step:
        async with step.call(amount=10, caps=[cap]) as slot:
            await slot.settle(cost(slot.call, 10))
        await held("a", need=95)
        async with step.call(amount=10, caps=[cap]) as slot:
            await slot.settle(cost(slot.call, 10))

    assert await book.spent(cap.scope, cap.period) == (20, 0)


async def test_a_new_period_lets_through(book, site, make, cost, cap, held):
    """At midnight the gate is looked at again, with an empty day before it."""
    await spend(book, site, make, cost, cap, 100)
    await held(*"abcdefg")
    before = (await picked(book))[0]
    await site.clock.advance(DAY_MS / 1000)

    assert before == []
    assert (await picked(book))[0] == list("abcde")


async def test_in_the_new_period_the_gate_follows(book, site, make, cost, cap, held):
    """The first who reserves on the new day turns the gate to its money: no more pass than that day pays."""
    await spend(book, site, make, cost, cap, 100)
    await held("a", "b", need=60)
    await site.clock.advance(DAY_MS / 1000)
    tomorrow = replace(cap, period="d2", ends_at=cap.ends_at + DAY_MS)
    _, (first,) = await picked(book)
    async with calling(book, first, tomorrow, 60):
        assert (await picked(book))[0] == []

    assert await book.next_due(["p"]) == tomorrow.ends_at


@pytest.mark.parametrize(("limit", "passing"), [(100, []), (120, ["a"]), (140, ["a", "b"]), (None, ["a", "b", "c"])])
async def test_a_raised_limit_lets_through(book, site, make, cost, cap, held, *, limit, passing):
    """The limit of today's configuration counts, and a budget that is gone keeps nobody."""
    await spend(book, site, make, cost, cap, 100)
    await held("a", "b", "c")
    await book.limit({"budget:all": limit})

    assert (await picked(book))[0] == passing


async def test_who_can_never_fit_comes_to_its_end(book, site, make, cost, cap, held):
    """A limit that was lowered below what a run needs lets it through, so that it is refused for good."""
    await spend(book, site, make, cost, cap, 100)
    await held("a")
    await book.limit({"budget:all": 10})
    _, (claim,) = await picked(book)
    with pytest.raises(OverBudget) as refused:
        async with calling(book, claim, replace(cap, limit=10)):
            pytest.fail("nothing may be sent")

    assert refused.value.forever


async def test_where_events_are_dropped_they_wait_for_calls_under_way_only(book, site, make, cost, cap, held):
    """A run waits for reserved money; once it is spent, waiting cannot help, and it comes to its end."""
    dropping = replace(cap, at_limit="drop")
    claim = await site.claim(book, make("spender", lane="s"))
    async with calling(book, claim, dropping, 100) as slot:
        await held("a", cap=dropping)
        before = (await picked(book))[0]
        await slot.settle(cost(slot.call, 100))

    assert before == []
    assert (await picked(book))[0] == ["a"]


async def test_a_worker_that_dies_on_the_way_through_frees_its_place(book, site, make, cost, cap, held):
    """What a dead worker was let through for is not kept back for ever."""
    await spend(book, site, make, cost, cap, 75)
    await held("a")
    other = await beside(book)
    _, (claim,) = await picked(other)
    await bury(other)
    events, (again,) = await picked(book)
    async with calling(book, again, cap) as slot:
        await slot.settle(cost(slot.call, 5))
    await book.finish(again, "delivered")
    await held("b")

    assert (events, again.run) == (["a"], claim.run)
    assert (await picked(book))[0] == ["b"]


async def test_many_days_of_waiting_write_nothing(book, site, make, cost, cap, held):
    """16 days before the month ends, looked at every hour: no row changes, and then they run."""
    month = replace(cap, period="m1", ends_at=cap.ends_at + 15 * DAY_MS)
    await spend(book, site, make, cost, month, 100)
    await held(*map(str, range(40)), cap=month)

    def rows(connection):
        return [tuple(row) for table in ("runs", "lanes", "holds", "bodies") for row in connection.execute(_ALL[table])]

    before = await book.store.read(rows)
    for _ in range(16 * 24 - 1):
        await site.clock.advance(3600)
        assert await picked(book) == ([], [])
        assert await book.next_due(["p"]) == month.ends_at
    assert await book.store.read(rows) == before
    await site.clock.advance(3600)

    assert (await picked(book))[0] == ["0", "1", "2", "3", "4"]


_ALL = {
    "runs": "SELECT * FROM runs ORDER BY run",
    "lanes": "SELECT * FROM lanes ORDER BY lane",
    "holds": "SELECT * FROM holds ORDER BY gate",
    "bodies": "SELECT * FROM bodies ORDER BY run",
}


async def test_a_shut_gate_is_no_others_gate(book, site, make, cost, cap, held):
    """Money of one user keeps only that user's runs back."""
    mine, yours = (replace(cap, scope=f"budget:each/user={user}") for user in ("1", "2"))
    await spend(book, site, make, cost, mine, 100)
    await held("a", cap=mine)
    claim = await site.claim(book, make("b", lane="b"))
    async with calling(book, claim, yours) as slot:
        await slot.settle(cost(slot.call, 1))

    assert [hold.gate for hold in await book.holds()] == ["budget:each/user=1"]
    assert (await picked(book))[0] == []


async def test_money_of_a_run_held_at_once_by_many_is_never_too_much(book, site, make, cost, cap):
    """P25: 300 runs over 20 places, each asks for 20 and costs 2: nearly the whole cap is spent, few waits per run."""
    waits = dict.fromkeys(range(300), 0)
    worst = 0

    async def one(claim: Claim, number: int) -> None:
        nonlocal worst
        try:
            async with calling(book, claim, cap) as slot:
                worst = max(worst, sum(await book.spent(cap.scope, cap.period)))
                await slot.settle(cost(slot.call, 2))
        except CapReached as error:
            waits[number] += 1
            await book.hold(claim, BODY, cap, need=error.amount, why=str(error))
        else:
            await book.finish(claim, "delivered")

    for first in range(0, 300, 20):
        claims = [await site.claim(book, make(str(n), lane=str(n))) for n in range(first, first + 20)]
        await asyncio.gather(*(one(claim, n) for n, claim in enumerate(claims, first)))
        while found := await book.pick_up(["p"], 20):
            numbers = [int((await book.detail(each.claim.run)).run.event_id) for each in found]
            await asyncio.gather(*(one(each.claim, n) for each, n in zip(found, numbers, strict=True)))
    spent, reserved = await book.spent(cap.scope, cap.period)

    assert worst <= cap.limit
    assert (reserved, spent) == (0, 82)
    assert max(waits.values()) == 1
