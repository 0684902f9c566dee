"""
Bursts in the ledger: the newest stands for all, and nothing that was begun is lost.
"""

from __future__ import annotations

import asyncio
import random

import pytest

from ledger import Busy, PickedUp
from ledger.bursts import Burst
from ledger.testing import beside, bury

BODY = b'{"specversion":"1.0"}'
QUIET, MOST = 20.0, 200.0  # seconds


async def join(book, run, *changed, body=BODY):
    await book.settle(run, body, quiet=QUIET, most=MOST, changed=changed)


async def verdicts(book, *runs):
    return [(found := (await book.detail(run.run)).run).verdict or found.state for run in runs]


async def due_in(book, site):
    due = await book.next_due(["p"])
    return None if due is None else (due - site.clock.now_ms()) / 1000


async def test_a_burst_runs_once_on_the_newest(book, site, make):
    """Each member puts the pause off; the newest has the event that runs, and the burst's sum."""
    runs = [make(str(n)) for n in range(3)]
    for n, run in enumerate(runs):
        await join(book, run, "status" if n < 2 else "priority", body=b'{"n":%d}' % n)
        assert await due_in(book, site) == QUIET
        await site.clock.advance(10)
    assert await book.pick_up(["p"], 10) == []
    await site.clock.advance(10)
    (picked,) = await book.pick_up(["p"], 10)

    assert (picked.claim.run, picked.body, picked.claim.reason) == (runs[2].run, b'{"n":2}', "settle")
    assert picked.claim.burst == Burst(count=3, changed=("status", "priority"))
    assert await verdicts(book, *runs) == ["superseded", "superseded", "running"]
    assert [(await book.detail(run.run)).run.superseded_by for run in runs] == [runs[1].run, runs[2].run, None]


async def test_p27_an_endless_burst_still_fires(book, site, make):
    """P27a: a member every ten seconds: after its longest time the burst runs, and a new one begins."""
    fired = []
    for n in range(50):
        await join(book, make(str(n)))
        await site.clock.advance(10)
        for picked in await book.pick_up(["p"], 10):
            fired.append((n, picked.claim.burst.count))
            await book.finish(picked.claim, "delivered")

    assert fired == [(19, 20), (39, 20)]


async def test_p27_a_redelivered_member_moves_nothing(book, site, make):
    """P27d: the bus delivers a member again, the newest or one that was superseded: the due time stays."""
    runs = [make("0"), make("1")]
    for run in runs:
        await join(book, run, "status")
    before = await book.next_due(["p"])
    await site.clock.advance(15)
    for run in runs:
        await join(book, run, "status")

    assert await book.next_due(["p"]) == before
    await site.clock.advance(5)
    (picked,) = await book.pick_up(["p"], 10)
    assert (picked.claim.run, picked.claim.burst.count) == (runs[1].run, 2)


async def test_p27_a_run_that_began_a_step_is_not_superseded(book, site, make):
    """P27c: the first member has asked the model and waits to try again: the newer one comes after it."""
    first, second, third = (make(str(n)) for n in range(3))
    await join(book, first)
    await site.clock.advance(QUIET)
    (picked,) = await book.pick_up(["p"], 10)
    async with book.step(picked.claim, "ask", kind="ask", action_class="ai", timeout=5) as step:
        await step.done({"summary": "paid"})
    await book.wait(picked.claim, "settle", BODY, why="503", due_at=site.clock.now_ms() + 60_000)
    await join(book, second)
    await join(book, third)

    assert await verdicts(book, first, second, third) == ["waiting", "superseded", "waiting"]
    await site.clock.advance(60)
    (picked,) = await book.pick_up(["p"], 10)
    assert (picked.claim.run, picked.claim.burst.count) == (first.run, 1)
    await book.finish(picked.claim, "delivered")
    (picked,) = await book.pick_up(["p"], 10)
    assert (picked.claim.run, picked.claim.burst.count) == (third.run, 2)


@pytest.mark.parametrize("reason", ["retry", "outage", "behind"])
async def test_what_waits_for_something_else_is_not_superseded(book, site, make, reason):
    """A run that was tried, or stood in line before settling was asked for, keeps its place in front."""
    claim = await site.claim(book, make("0"))
    gate = "connection:desk" if reason == "outage" else None
    await book.wait(claim, reason, BODY, why="503", due_at=None if gate else site.clock.now_ms() + 1000, gate=gate)
    await join(book, make("1"))
    await join(book, make("2"))

    assert await verdicts(book, make("0"), make("1"), make("2")) == ["waiting", "superseded", "waiting"]
    await site.clock.advance(1)
    (picked,) = await book.pick_up(["p"], 10)
    assert picked.claim.run == make("0").run


async def test_members_settle_behind_a_running_run(book, site, make):
    """While a run of the lane is under way the next burst gathers, and waits for both: its pause and its lane."""
    claim = await site.claim(book, make("0"))
    for n in (1, 2):
        await join(book, make(str(n)))
    await site.clock.advance(QUIET - 1)
    await book.finish(claim, "delivered")
    assert await book.pick_up(["p"], 10) == []
    await site.clock.advance(1)
    (picked,) = await book.pick_up(["p"], 10)

    assert (picked.claim.run, picked.claim.burst.count) == (make("2").run, 2)


async def test_a_burst_that_could_not_run_in_time_is_due_at_once(book, site, make):
    """Its lane was busy longer than the burst may last: a newer member does not put it off again."""
    claim = await site.claim(book, make("0"))
    await join(book, make("1"))
    await site.clock.advance(MOST + 1)
    await join(book, make("2"))
    await book.finish(claim, "delivered")
    (picked,) = await book.pick_up(["p"], 10)

    assert picked.claim.run == make("2").run


async def test_bursts_of_other_lanes_pipelines_and_tenants_are_others(book, make):
    """A member supersedes nothing but its own lane's."""
    runs = [make("1"), make("2", lane="j"), make("3", pipeline="q"), make("4", tenant="t")]
    for run in runs:
        await join(book, run)

    assert await verdicts(book, *runs) == ["waiting"] * 4


async def test_a_burst_survives_a_restart(site, make, tmp_path):
    """The ledger is closed between two members: the burst goes on, with its sum and its end."""
    site.place = site.place or tmp_path / "ledger.db"
    book = await site.open()
    await join(book, make("1"), "status")
    site.opened.remove(book)
    await book.close()
    await site.clock.advance(190)
    again = await site.open()
    await join(again, make("2"), "priority")

    assert await due_in(again, site) == 10
    await site.clock.advance(10)
    (picked,) = await again.pick_up(["p"], 10)
    assert picked.claim.burst == Burst(count=2, changed=("status", "priority"))


async def test_a_picked_up_burst_outlives_its_worker(book, site, make):
    """The worker that runs it dies: another one runs it, for the same burst, and a newer event comes after it."""
    for n in (1, 2):
        await join(book, make(str(n)), "status")
    await site.clock.advance(QUIET)
    await book.pick_up(["p"], 10)
    other = await beside(book)
    await bury(book)
    await join(other, make("3"))
    (picked,) = await other.pick_up(["p"], 10)

    assert (picked.claim.run, picked.claim.burst) == (make("2").run, Burst(count=2, changed=("status",)))
    assert await verdicts(book, make("3")) == ["waiting"]


async def test_a_member_without_settling_stands_in_line(book, site, make):
    """`settle` was taken out while a burst waits: the next event comes behind it and nothing is superseded."""
    await join(book, make("1"))
    assert await book.claim(make("2")) == Busy()
    await book.admit(make("2"), BODY, reason="behind")
    await site.clock.advance(QUIET)
    (picked,) = await book.pick_up(["p"], 10)
    assert picked.claim.run == make("1").run
    await book.finish(picked.claim, "delivered")
    (picked,) = await book.pick_up(["p"], 10)

    assert picked.claim.run == make("2").run


async def test_a_shortened_pause_holds_for_those_who_wait(book, site, make):
    """A pipeline that settles for less than before lets its bursts run sooner, never later."""
    await join(book, make("1"))
    await join(book, make("2", lane="j"))
    await join(book, make("3", pipeline="q"))
    await book.hurry("p", within=60)
    assert await due_in(book, site) == QUIET
    await book.hurry("p", within=0)
    picked = await book.pick_up(["p", "q"], 10)

    assert {one.claim.run for one in picked} == {make("1").run, make("2", lane="j").run}


async def test_a_hurried_burst_behind_a_run_is_due_when_its_turn_comes(book, site, make):
    """Also what stands behind a running run has the shorter time."""
    claim = await site.claim(book, make("0"))
    await join(book, make("1"))
    await book.hurry("p", within=0)
    await book.finish(claim, "delivered")

    assert [one.claim.run for one in await book.pick_up(["p"], 10)] == [make("1").run]


async def test_whoever_comes_first_members_and_pickers_agree(book, site, make):
    """Joins and pick-ups at once: every event runs once, or is superseded by one that does."""
    dice = random.Random(7)
    ran: list[PickedUp] = []
    for n in range(120):
        work = [join(book, make(f"{n}-{lane}", lane=lane)) for lane in "abc"]
        picked, *_ = await asyncio.gather(book.pick_up(["p"], 5), *work)
        ran += picked
        await asyncio.gather(*(book.finish(one.claim, "delivered") for one in picked))
        await site.clock.advance(dice.choice([1, 5, 21]))
    await site.clock.advance(MOST)
    last = await book.pick_up(["p"], 10)
    await asyncio.gather(*(book.finish(one.claim, "delivered") for one in last))

    assert sum(one.claim.burst.count for one in ran + last) == 360
    assert await book.counts() == {("p", "delivered"): len(ran + last), ("p", "superseded"): 360 - len(ran + last)}
