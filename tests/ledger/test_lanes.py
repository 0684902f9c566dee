"""
Lanes: what is claimed, in which order, and by whom after somebody died.
"""

from __future__ import annotations

import asyncio

import pytest

from ledger import Busy, Claim, Known, PickedUp
from ledger.testing import beside, bury
from penstock.errors import Fenced

BODY = b'{"specversion":"1.0"}'


def runs_of(picked: list[PickedUp]) -> list[str]:
    return [one.claim.run for one in picked]


async def test_only_one_run_of_a_lane_runs(book, make):
    """I2: of many runs of one lane claimed at once, exactly one gets it."""
    claimed = await asyncio.gather(*(book.claim(make(str(n))) for n in range(50)))

    assert [type(one) for one in claimed].count(Claim) == 1
    assert [type(one) for one in claimed].count(Busy) == 49


async def test_a_claim_says_whether_the_run_is_new(book, site, make):
    """Of a run that was never here nothing is looked up; of one that comes back everything is."""
    first = await site.claim(book, make("1"))
    await book.wait(first, "retry", BODY, why="later", due_at=0)
    (again,) = await book.pick_up(["p"], 1)

    assert first.new
    assert not again.claim.new


async def test_lanes_are_independent(book, make):
    """Runs of different keys, pipelines and tenants run beside each other."""
    others = [make("1"), make("2", lane="j"), make("3", pipeline="q"), make("4", tenant="t")]
    claimed = [await book.claim(one) for one in others]

    assert [type(one) for one in claimed] == [Claim] * 4


async def test_a_finished_lane_is_free(book, site, make):
    """Finishing a run frees its lane for the next claim, under a higher fence."""
    first = await site.claim(book, make("1"))
    await book.finish(first, "delivered")
    second = await site.claim(book, make("2"))

    assert second.fence > first.fence


@pytest.mark.parametrize("state", ["waiting", "aside", "final"])
async def test_a_known_run_is_not_claimed_again(book, site, make, state):
    """A redelivered event is answered with what is known of it, and counted."""
    claim = await site.claim(book, make())
    if state == "waiting":
        await book.wait(claim, "retry", BODY, why="later", due_at=site.clock.now_ms() + 1)
    elif state == "aside":
        await book.aside(claim, "parked", BODY, why="unknown")
    else:
        await book.finish(claim, "dead", why="no")
    again = await book.claim(make())
    found = await book.detail(claim.run)

    assert isinstance(again, Known)
    assert (again.state, again.body_hash) == (state, "hash-1")
    assert found.run.redelivered == 1


async def test_a_running_run_delivered_again_is_adopted(book, site, make):
    """P2: a second delivery of a running run finds it busy; admitting it only keeps its event."""
    claim = await site.claim(book, make())
    again = await book.claim(make())
    await book.admit(make(), BODY, reason="behind")
    await book.finish(claim, "delivered")

    assert again == Busy()
    assert (await book.counts()) == {("p", "delivered"): 1}


async def test_behind_runs_come_in_the_order_they_were_admitted(book, site, make):
    """I3: only the head starts; finishing it makes the next one due now."""
    claim = await site.claim(book, make("0"))
    waiting = [make(str(n)) for n in range(1, 5)]
    for run in waiting:
        assert await book.claim(run) == Busy()
        await book.admit(run, BODY, reason="behind")
    order = []
    assert await book.pick_up(["p"], 10) == []
    while len(order) < 4:
        await book.finish(claim, "delivered")
        assert await book.next_due(["p"]) == site.clock.now_ms()
        (picked,) = await book.pick_up(["p"], 10)
        claim = picked.claim
        order.append(claim.run)
    await book.finish(claim, "delivered")

    assert order == [run.run for run in waiting]
    assert await book.next_due(["p"]) is None


async def test_admitting_to_a_free_lane_makes_a_head_that_is_due(book, site, make):
    """A run whose lane came free between claim and admit is picked up at once."""
    await book.admit(make(), BODY, reason="behind")

    (picked,) = await book.pick_up(["p"], 1)
    assert (picked.claim.run, picked.body, picked.claim.reason) == (make().run, BODY, "behind")


async def test_admitting_a_final_run_keeps_nothing(book, site, make):
    """A run that became final between claim and admit stays as it is."""
    claim = await site.claim(book, make())
    await book.finish(claim, "delivered")
    await book.admit(make(), BODY, reason="behind")

    assert (await book.detail(claim.run)).event is None


async def test_a_waiting_head_holds_its_lane(book, site, make):
    """A run that waits for its time keeps later events of its lane behind it."""
    claim = await site.claim(book, make("1"))
    await book.wait(claim, "retry", BODY, why="503", due_at=site.clock.now_ms() + 5000, attempt=True)
    assert await book.claim(make("2")) == Busy()
    await book.admit(make("2"), BODY, reason="behind")
    assert await book.pick_up(["p"], 10) == []
    assert await book.next_due(["p"]) == site.clock.now_ms() + 5000
    await site.clock.advance(5)
    (picked,) = await book.pick_up(["p"], 10)

    assert picked.claim.run == make("1").run
    assert (picked.claim.attempts, picked.claim.reason) == (1, "retry")


async def test_an_aside_run_lets_its_lane_go_on(book, site, make):
    """P7: a run that a person must decide about does not hold its lane."""
    claim = await site.claim(book, make("1"))
    await book.aside(claim, "parked", BODY, why="nobody knows")

    assert isinstance(await book.claim(make("2")), Claim)


async def test_a_claim_is_void_once_it_was_given_up(book, site, make):
    """I2: every transition of a run is conditional on the fence."""
    claim = await site.claim(book, make())
    await book.wait(claim, "retry", BODY, why="503", due_at=site.clock.now_ms())
    await book.pick_up(["p"], 1)
    for act in (
        book.finish(claim, "delivered"),
        book.wait(claim, "retry", BODY, why="503"),
        book.aside(claim, "parked", BODY, why="x"),
    ):
        with pytest.raises(Fenced):
            await act


async def test_a_dead_workers_run_is_taken_over_by_its_redelivery(book, site, make):
    """Only the run itself, not another of its lane, continues where a dead worker stopped."""
    dead = await site.claim(book, make("1"))
    successor = await beside(book)
    assert await successor.claim(make("1")) == Busy()
    await bury(book)
    assert await successor.claim(make("2")) == Busy()
    assert await successor.pick_up(["p"], 10) == []
    taken = await site.claim(successor, make("1"))

    assert taken.fence > dead.fence
    with pytest.raises(Fenced):
        await book.finish(dead, "delivered")
    await successor.finish(taken, "delivered")


async def test_expiry_ends_nothing(book, site, make):
    """I5: a worker believed dead may finish as long as nobody took its lane."""
    claim = await site.claim(book, make())
    await bury(book)
    await book.finish(claim, "delivered")

    assert (await book.recognise([claim.run]))[claim.run].verdict == "delivered"


async def test_p1_a_picked_up_event_of_a_dead_worker_is_found(book, site, make):
    """P1, first trace: an event whose offset was passed is not lost with the worker that picked it up."""
    claim = await site.claim(book, make("0"))
    await book.wait(claim, "retry", BODY, why="503", due_at=site.clock.now_ms())
    await book.admit(make("1"), BODY, reason="behind")
    (first,) = await book.pick_up(["p"], 10)
    successor = await beside(book)
    assert await successor.pick_up(["p"], 10) == []
    await bury(book)
    assert await successor.next_due(["p"]) == site.clock.now_ms()
    (taken,) = await successor.pick_up(["p"], 10)

    assert (first.claim.run, taken.claim.run, taken.body) == (make("0").run, make("0").run, BODY)
    with pytest.raises(Fenced):
        await book.finish(first.claim, "delivered")
    await successor.finish(taken.claim, "delivered")
    assert runs_of(await successor.pick_up(["p"], 10)) == [make("1").run]


async def test_p1_a_picked_up_event_still_bars_its_lane(book, site, make):
    """P1, second trace: the next event of a lane does not start while the one before runs elsewhere."""
    claim = await site.claim(book, make("0"))
    await book.wait(claim, "retry", BODY, why="503", due_at=site.clock.now_ms())
    (running,) = await book.pick_up(["p"], 10)
    successor = await beside(book)

    assert await successor.claim(make("1")) == Busy()
    await successor.admit(make("1"), BODY, reason="behind")
    assert await successor.pick_up(["p"], 10) == []
    await book.finish(running.claim, "delivered")
    assert runs_of(await successor.pick_up(["p"], 10)) == [make("1").run]


async def test_p2_an_adopted_event_survives_its_worker(book, site, make):
    """P2: a run alive elsewhere is adopted, and found when its worker dies after all."""
    await site.claim(book, make("0"))
    successor = await beside(book)
    assert await successor.claim(make("0")) == Busy()
    await successor.admit(make("0"), BODY, reason="behind")
    await bury(book)

    (taken,) = await successor.pick_up(["p"], 10)
    assert (taken.claim.run, taken.body) == (make("0").run, BODY)


async def test_a_cancelled_claim_is_given_up(book, site, make):
    """A claim whose caller was cancelled does not hold its lane for ever."""
    task = asyncio.create_task(book.claim(make()))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await book.counts()

    assert isinstance(await _claimed(book, make()), Claim)


async def _claimed(book, run):
    """Claim as the bus redelivers: again and again."""
    for _ in range(100):
        if isinstance(claimed := await book.claim(run), Claim):
            return claimed
        await asyncio.sleep(0.001)
    return claimed


async def test_concluding_makes_a_run_final_once(book, make):
    """A run that never starts gets its verdict; a second delivery is only counted."""
    await book.conclude(make(), "filtered", "status is spam", body=BODY)
    await book.conclude(make(), "stale", None)
    await book.redelivered([make().run, make("never seen").run])
    found = await book.detail(make().run)

    assert (found.run.verdict, found.run.error, found.run.redelivered) == ("filtered", "status is spam", 2)
    assert found.event == {"specversion": "1.0"}


@pytest.mark.parametrize(("verdict", "kept"), [("delivered", None), ("dead", {"specversion": "1.0"})])
async def test_a_waiting_runs_event_stays_only_for_replay(book, site, make, verdict, kept):
    """The event of a run that waited is dropped at its end, unless it is dead or people want to see it."""
    await book.admit(make(), BODY, reason="behind")
    (picked,) = await book.pick_up(["p"], 1)
    await book.finish(picked.claim, verdict)

    assert (await book.detail(picked.claim.run)).event == kept


async def test_recognise_knows_every_state(book, site, make):
    """Recognising returns known runs only, however many are asked for."""
    claim = await site.claim(book, make("0"))
    await book.admit(make("1"), BODY, reason="behind")
    await book.conclude(make("2"), "filtered", None)
    names = [make(str(n)).run for n in range(1200)]
    known = await book.recognise(names)

    assert {run: one.state for run, one in known.items()} == dict(
        zip(names, ("running", "waiting", "final"), strict=False)
    )
    await book.finish(claim, "delivered")
