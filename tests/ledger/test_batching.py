"""
Batches: a question keeps its reservation whatever becomes of its lane, is in one batch at most, and ends once.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress

import pytest

from ledger import Cap
from ledger.batching import ItemEnd, Limits, NewItem
from ledger.testing import beside, bury
from penstock.errors import OverBudget, PenstockError
from tests.ledger.conftest import new

ASK = {"kind": "ask", "action_class": "ai", "timeout": 60.0}
CAP = Cap(scope="pipeline:p", period="2026-11-26", limit=1_000)
HOUR = 3_600_000  # ms
NOW = Limits(items=1_000, size=10_000, age=0.0)
BODY = b'{"specversion":"1.0"}'


class Left(PenstockError):
    """
    The run leaves its step to wait.
    """


def site_run(claim):
    """Return the offer that *claim* came from."""
    return new(claim.lane, lane=claim.lane)


def question(site, *, due=HOUR, **more):
    """Return a question that is due in *due* ms."""
    values = {"model": "small", "within": 3600.0, "ask_hash": "h", "body": b'{"model":"m"}', "asked": {"evidence": "x"}}
    return NewItem(**values | {"due_at": site.clock.now_ms() + due} | more)


@pytest.fixture
def put(book, site, make):
    """Let a run put its question down and wait for it."""

    async def putting(number="1", *, of=None, amount=100, waits=True, per_event=None, **more):
        ledger = of or book
        claim = await site.claim(ledger, make(number, lane=number))
        with suppress(Left):
            async with ledger.step(claim, "ask", new=claim.new, **ASK) as step:
                await step.put(question(site, **more), amount=amount, caps=[CAP], per_event=per_event)
                raise Left
        if waits:
            await ledger.wait(claim, "batch", BODY, why="", due_at=site.clock.now_ms() + 2 * HOUR)
        return claim

    return putting


async def money(book):
    """Return what is spent and reserved under the cap."""
    return await book.spent(CAP.scope, CAP.period)


async def only_batch(book):
    (batch,) = await book.due_batches()
    return batch


async def test_the_reservation_outlives_the_lane(book, site, put):
    """The run is taken up again and again, and its worker dies: the money of its question stays reserved."""
    claim = await put()
    await site.clock.advance(3 * 3600)
    (picked,) = await book.pick_up(["p"], 10)
    held = await money(book)
    item = await book.item(picked.claim, "ask")

    assert picked.claim.run == claim.run
    assert picked.claim.reason == "batch"
    assert held == (0, 100)
    assert (item.state, item.ask_hash, item.asked) == ("open", "h", {"evidence": "x"})


async def test_it_is_reserved_as_any_call(put):
    """A question that does not fit is not put down."""
    with pytest.raises(OverBudget):
        await put(amount=1_001)
    with pytest.raises(OverBudget):
        await put("2", amount=101, per_event=100)


async def test_one_batch_per_model_and_time(book, put):
    """Items of one batch have one model, and may take equally long."""
    for number, more in enumerate(({}, {}, {"model": "large"}, {"within": 7200.0})):
        await put(str(number), **more)
    made = await book.seal(NOW)
    again = await book.seal(NOW)
    batches = await book.due_batches()

    assert (made, again) == (3, 0)
    assert sorted((batch.model, batch.items, batch.state) for batch in batches) == [
        ("large", 1, "sealed"),
        ("small", 1, "sealed"),
        ("small", 2, "sealed"),
    ]


@pytest.mark.parametrize(
    ("limits", "sizes"),
    [
        (Limits(items=1_000, size=10_000, age=60.0), []),
        (Limits(items=2, size=10_000, age=60.0), [2]),
        (Limits(items=1_000, size=30, age=60.0), [2]),
        (Limits(items=1_000, size=1, age=60.0), [1]),
        (Limits(items=1_000, size=10_000, age=0.0), [3]),
    ],
)
async def test_when_a_batch_is_sealed(book, put, limits, sizes):
    """When there are enough questions or bytes, or the first one has waited long enough."""
    for number in range(3):
        await put(str(number))
    await book.seal(limits)

    assert [batch.items for batch in await book.due_batches()] == sizes


async def test_a_batch_moves_once(book, put):
    """Of two who read the same state, one moves it."""
    await put()
    await book.seal(NOW)
    batch = await only_batch(book)
    moved = [await book.move_batch(batch, "sending", look_at=0, sent_at=5) for _ in range(2)]
    found = await only_batch(book)

    assert moved == [True, False]
    assert (found.state, found.sent_at, found.handle) == ("sending", 5, None)


async def test_who_was_away_moves_nothing(book, put):
    """A batch that was sent again meanwhile is in the same state, and yet not the one that was read."""
    await put()
    await book.seal(NOW)
    sealed = await only_batch(book)
    await book.move_batch(sealed, "sending", look_at=0, sent_at=5)
    first = await only_batch(book)
    await book.move_batch(first, "sealed", look_at=0)
    await book.move_batch(await only_batch(book), "sending", look_at=0, sent_at=9)

    assert await book.move_batch(first, "sealed", look_at=0) is False
    assert (await only_batch(book)).state == "sending"


async def test_an_answer_is_booked_once_and_wakes_its_run(book, site, put, cost):
    """The second end of an item changes nothing; the run goes on at once and finds its answer."""
    claim = await put()
    await book.seal(NOW)
    batch = await only_batch(book)
    (entry,) = await book.entries(batch.batch)
    end = ItemEnd(
        call=entry.call, state="answered", entry=cost(entry.call, 40, run=claim.run), answer={"status": 200, "body": {}}
    )
    ended = [await book.end_items([end]) for _ in range(2)]
    due = await book.next_due(["p"])
    (picked,) = await book.pick_up(["p"], 10)
    item = await book.item(picked.claim, "ask")

    assert ended == [1, 0]
    assert due <= site.clock.now_ms()
    assert (item.state, item.cost, item.answer) == ("answered", 40, {"status": 200, "body": {}})
    assert await money(book) == (40, 0)
    assert await book.entries(batch.batch) == []


async def test_an_answer_that_comes_before_its_run_waits(book, site, put, cost):
    """The run was on its way to wait: it does not sleep over its answer."""
    claim = await put(waits=False)
    await book.seal(NOW)
    batch = await only_batch(book)
    (entry,) = await book.entries(batch.batch)
    await book.end_items([ItemEnd(call=entry.call, state="free", why="x")])
    await book.wait(claim, "batch", BODY, why="", due_at=site.clock.now_ms() + 5 * HOUR)

    assert len(await book.pick_up(["p"], 10)) == 1
    assert await money(book) == (0, 0)


async def test_a_lost_one_is_booked_in_full(book, put):
    """Nobody knows what became of it: it is booked at its worst case, and said so."""
    claim = await put()
    await book.seal(NOW)
    batch = await only_batch(book)
    (entry,) = await book.entries(batch.batch)
    await book.end_items([ItemEnd(call=entry.call, state="lost", why="gone")])
    detail = await book.detail(claim.run)

    assert await money(book) == (100, 0)
    assert [(call.outcome, call.cost) for call in detail.calls] == [("lost", 100)]


async def test_what_is_in_no_batch_is_withdrawn_when_due(book, site, put):
    """Its money is given back and its run goes on; before that nothing happens."""
    await put()
    early = await book.withdraw()
    await site.clock.advance(3600)
    late = await book.withdraw()
    (picked,) = await book.pick_up(["p"], 10)

    assert (early, late) == (0, 1)
    assert (await book.item(picked.claim, "ask")).state == "free"
    assert await money(book) == (0, 0)


async def test_an_error_is_heard_once(book, put, cost):
    """A run that has heard of the error asks by itself the next time."""
    claim = await put()
    await book.seal(NOW)
    batch = await only_batch(book)
    (entry,) = await book.entries(batch.batch)
    kept = {"status": 400, "body": {}}
    await book.end_items(
        [ItemEnd(call=entry.call, state="answered", entry=cost(entry.call, 0, run=claim.run), answer=kept)]
    )
    await book.spend_item(entry.call, "bad")
    (picked,) = await book.pick_up(["p"], 10)

    assert (await book.item(picked.claim, "ask")).state == "free"


async def test_one_worker_leads(book, site):
    """Another takes over when the first one is dead, or its time is over."""
    other = await beside(book)
    first = await book.lead("batches", lasts=60.0), await other.lead("batches", lasts=60.0)
    again = await book.lead("batches", lasts=60.0)
    await site.clock.advance(61)
    late = await other.lead("batches", lasts=60.0), await book.lead("batches", lasts=60.0)
    await bury(other)
    dead = await book.lead("batches", lasts=60.0)

    assert first == (True, False)
    assert again is True
    assert late == (True, False)
    assert dead is True


async def test_many_workers_want_to_lead(site):
    """At one moment one of them does."""
    first = await site.open()
    others = [await beside(first) for _ in range(4)]
    led = await asyncio.gather(*(one.lead("batches", lasts=60.0) for one in (first, *others)))

    assert sum(led) == 1


async def test_the_worker_dies_while_its_run_puts_the_question_down(book, put, site):
    """The question and its money stay; whoever takes the run over finds them."""
    other = await beside(book)
    claim = await put(of=other, waits=False)
    await book.admit(site_run(claim), BODY, reason="behind")
    await bury(other)
    (picked,) = await book.pick_up(["p"], 10)

    assert (await book.item(picked.claim, "ask")).state == "open"
    assert await money(book) == (0, 100)


async def test_details_are_forgotten(book, put, site):
    """Of a run that is over long ago nothing is left; a question without an end keeps its money until it has one."""
    claim = await put(waits=False)
    await book.seal(NOW)
    batch = await only_batch(book)
    await book.finish(claim, "discarded")
    await site.clock.advance(400 * 86_400)
    await book.prune()
    (entry,) = await book.entries(batch.batch)
    held = await money(book)
    await book.end_items([ItemEnd(call=entry.call, state="free")])

    assert held == (0, 100)
    assert await money(book) == (0, 0)
