"""
Steps: what was begun, what surely happened, and what nobody knows.
"""

from __future__ import annotations

import asyncio

import pytest

from ledger import WriteIntent
from ledger.testing import beside, bury
from penstock.errors import Fenced, OverBudget, Rejected, Unavailable, UnknownOutcome

BODY = b'{"specversion":"1.0"}'
INTENT = WriteIntent(connection="desk", record="7", fields={"comments": "h1"}, value_hash="v1")
ASK = {"kind": "ask", "action_class": "ai", "timeout": 60.0}
WRITE = {"kind": "write", "action_class": "read-back", "timeout": 30.0, "write": INTENT}


@pytest.fixture
async def claim(book, site, make):
    """A claimed run."""
    return await site.claim(book, make())


async def again(book, site, claim):
    """Let the run wait and start again."""
    await book.wait(claim, "retry", BODY, why="again", due_at=site.clock.now_ms())
    (picked,) = await book.pick_up(["p"], 1)
    return picked.claim


async def left_by(book, claim, error, **how):
    """Begin a step and leave it by *error*."""
    with pytest.raises(type(error)):
        async with book.step(claim, "note", **how):
            raise error


async def test_a_done_step_gives_its_result_and_does_nothing(book, site, claim):
    """A finished step is never done again."""
    async with book.step(claim, "ask", **ASK) as step:
        assert (step.found, step.attempts) == ("fresh", 1)
        await step.done({"summary": "ä"}, receipt={"used": 3})
    claim = await again(book, site, claim)
    async with book.step(claim, "ask", **ASK) as step:
        pass

    assert (step.found, step.result, step.attempts) == ("done", {"summary": "ä"}, 1)
    assert await book.answer(claim.run, "ask", 0) == ({"summary": "ä"}, False)


async def test_the_key_is_stable_and_names_run_and_step(book, site, claim, make):
    """The idempotency key stays over attempts and differs between steps and runs."""
    keys = []
    for name in ("note", "note", "other"):
        async with book.step(claim, name, **WRITE) as step:
            keys.append(step.key)
    other = await site.claim(book, make("2", lane="j"))
    async with book.step(other, "note", **WRITE) as step:
        keys.append(step.key)

    assert keys[0] == keys[1]
    assert len({len(key) for key in keys}) == 1
    assert len(set(keys)) == 3


@pytest.mark.parametrize("error", [Unavailable("down"), Rejected("no"), None], ids=["later", "never", "left"])
async def test_a_step_surely_without_effect_may_begin_again(book, claim, error):
    """A block left by an error that says nothing was done leaves the step failed and no write."""
    if error:
        await left_by(book, claim, error, **WRITE)
    else:
        async with book.step(claim, "note", **WRITE):
            pass
    found = await book.detail(claim.run)
    assert ([step.state for step in found.steps], found.writes) == (["failed"], ())

    async with book.step(claim, "note", **WRITE) as step:
        assert (step.found, step.attempts) == ("fresh", 2)
        await step.done(None)


@pytest.mark.parametrize("error", [UnknownOutcome("silence"), ZeroDivisionError(), asyncio.CancelledError()])
async def test_a_step_of_unknown_outcome_says_so(book, site, claim, error):
    """A block left by silence, a bug or cancellation may have taken effect."""
    begun = site.clock.now_ms()
    await left_by(book, claim, error, **WRITE)
    assert [write.state for write in await book.writes_of("desk", "7", 0)] == ["unknown"]
    await site.clock.advance(1)
    async with book.step(claim, "note", **WRITE) as step:
        assert (step.found, step.first_at, step.quiet_at) == ("unknown", begun, begun + 30_000)
        await step.done({"id": 9})
    (write,) = await book.writes_of("desk", "7", 0)

    assert write.state == "done"


async def test_doubt_outlives_a_later_failure(book, site, claim):
    """A failed look does not make an unknown step surely without effect."""
    await left_by(book, claim, UnknownOutcome("silence"), **WRITE)
    await left_by(book, claim, Unavailable("cannot look"), **WRITE)
    assert [step.state for step in (await book.detail(claim.run)).steps] == ["unknown"]
    async with book.step(claim, "note", **WRITE) as step:
        pass

    assert (step.found, step.attempts) == ("unknown", 3)


async def test_looking_too_early_does_not_put_the_quiet_time_off(book, site, claim):
    """A read-back step that must wait for quiet gets there; one that acts anew starts a new wait."""
    begun = site.clock.now_ms()
    await left_by(book, claim, UnknownOutcome("silence"), **WRITE)
    for _ in range(3):
        await site.clock.advance(9)
        async with book.step(claim, "note", **WRITE) as step:
            assert step.quiet_at == begun + 30_000
    await site.clock.advance(9)
    async with book.step(claim, "note", **WRITE) as step:
        assert step.quiet_at < site.clock.now_ms()
    async with book.step(claim, "note", **WRITE) as step:
        assert step.quiet_at == begun + 66_000


async def test_a_crash_leaves_open_steps_unknown(book, site, make, claim):
    """When a lane is taken over, what its dead worker had begun may have taken effect."""
    block = book.step(claim, "note", **WRITE)
    step = await block.__aenter__()
    successor = await beside(book)
    await bury(book)
    taken = await site.claim(successor, make())
    assert [write.state for write in await successor.writes_of("desk", "7", 0)] == ["unknown"]

    with pytest.raises(Fenced):
        await step.fence()
    with pytest.raises(Fenced):
        await step.done({"id": 9})
    async with successor.step(taken, "note", **WRITE) as found:
        assert found.found == "unknown"
        await found.done({"id": 9})


async def test_a_late_answer_is_kept_and_used(book, site, make, claim):
    """P22: the paid answer of a worker that lost its lane is not paid again."""
    block = book.step(claim, "ask", **ASK, input_hash="q1")
    late = await block.__aenter__()
    successor = await beside(book)
    await bury(book)
    taken = await site.claim(successor, make())
    with pytest.raises(Fenced):
        await late.done({"summary": "late"}, receipt={"used": 1})

    assert await successor.answer(taken.run, "ask", 0) == ({"summary": "late"}, False)
    async with successor.step(taken, "ask", **ASK, input_hash="q1") as step:
        assert (step.found, step.result) == ("done", {"summary": "late"})
    (kept,) = (await successor.detail(taken.run)).steps
    assert (kept.state, kept.result, kept.receipt) == ("done", {"summary": "late"}, {"used": 1})


async def test_an_answer_that_comes_after_the_next_begin_is_not_paid_again(book, site, make, claim):
    """Whoever is about to ask once more looks again when the money is reserved; nothing is held, and it comes again."""
    block = book.step(claim, "ask", **ASK, input_hash="q1")
    late = await block.__aenter__()
    successor = await beside(book)
    await bury(book)
    taken = await site.claim(successor, make())
    with pytest.raises(Unavailable, match="came late"):
        async with successor.step(taken, "ask", **ASK, input_hash="q1") as step:
            assert step.found == "unknown"
            with pytest.raises(Fenced):
                await late.done({"summary": "late"}, receipt={"used": 1})
            async with step.call(amount=5, caps=()):
                raise AssertionError

    assert (await successor.detail(taken.run)).calls == ()
    async with successor.step(taken, "ask", **ASK, input_hash="q1") as step:
        assert (step.found, step.result) == ("done", {"summary": "late"})


async def test_a_late_answer_does_not_replace_one_that_is_there(book, site, make, claim):
    """The first answer that ended the step stays."""
    block = book.step(claim, "ask", **ASK)
    late = await block.__aenter__()
    successor = await beside(book)
    await bury(book)
    taken = await site.claim(successor, make())
    async with successor.step(taken, "ask", **ASK) as step:
        await step.done({"summary": "first"})
    with pytest.raises(Fenced):
        await late.done({"summary": "late"})

    assert await successor.answer(taken.run, "ask", 0) == ({"summary": "first"}, False)


async def test_another_question_is_asked_anew_until_a_delivery_began(book, claim):
    """P14: a kept answer to another question is used only by a run that has begun to write."""
    async with book.step(claim, "ask", **ASK, input_hash="q1") as step:
        await step.done({"confidence": 1})
    async with book.step(claim, "ask", **ASK, input_hash="q2") as step:
        assert (step.found, step.attempts) == ("fresh", 2)
        await step.done({"certainty": 1})
    async with book.step(claim, "note", **WRITE) as step:
        await step.done(None)
    async with book.step(claim, "ask", **ASK, input_hash="q3") as step:
        assert (step.found, step.result) == ("done", {"certainty": 1})
    assert await book.answer(claim.run, "ask", 0) == ({"certainty": 1}, True)
    async with book.step(claim, "ask", **ASK, input_hash="q3", anew=True) as step:
        assert step.found == "fresh"


async def test_the_intent_of_a_new_ask_comes_with_its_first_reservation(book, claim, cost):
    """Before anything is reserved nothing is stored, and a step that ends without leaves nothing."""
    async with book.step(claim, "ask", **ASK, new=True) as step:
        assert (step.found, step.attempts) == ("fresh", 1)
    assert (await book.detail(claim.run)).steps == ()

    async with book.step(claim, "ask", **ASK, new=True) as step:
        async with step.call(amount=5, caps=()) as slot:
            (kept,) = (await book.detail(claim.run)).steps
            assert (kept.state, kept.attempts) == ("intent", 1)
            await slot.settle(cost(slot.call, cost=3), with_step=True)
        await step.done({"summary": "short"})

    detail = await book.detail(claim.run)
    assert [(one.state, one.result) for one in detail.steps] == [("done", {"summary": "short"})]
    assert [call.cost for call in detail.calls] == [3]


async def test_a_new_ask_that_ends_without_a_call_is_kept(book, claim):
    """Its intent and its end are one transaction."""
    async with book.step(claim, "ask", **ASK, new=True) as step:
        await step.done({"summary": "kept"})

    assert await book.answer(claim.run, "ask", 0) == ({"summary": "kept"}, False)


async def test_a_refused_reservation_leaves_no_intent(book, claim):
    """What could not be paid was not begun."""
    with pytest.raises(OverBudget):
        async with book.step(claim, "ask", **ASK, new=True) as step, step.call(amount=5, caps=(), per_event=4):
            pytest.fail("the block must not run")

    assert (await book.detail(claim.run)).steps == ()


async def test_a_step_that_is_known_cannot_be_called_new(book, claim):
    """Nothing is reserved, and so nothing sent, when somebody is mistaken about it."""
    async with book.step(claim, "ask", **ASK) as step:
        await step.done({"summary": "first"})
    with pytest.raises(AssertionError, match="was called new"):
        async with book.step(claim, "ask", **ASK, new=True) as step, step.call(amount=5, caps=()):
            pytest.fail("the block must not run")

    assert (await book.detail(claim.run)).calls == ()
    assert await book.answer(claim.run, "ask", 0) == ({"summary": "first"}, False)


async def test_a_new_ask_under_a_moved_fence_reserves_nothing(book, site, claim):
    """The lane is looked at in the transaction of the reservation."""
    await again(book, site, claim)
    with pytest.raises(Fenced):
        async with book.step(claim, "ask", **ASK, new=True) as step, step.call(amount=5, caps=()):
            pytest.fail("the block must not run")

    assert (await book.detail(claim.run)).steps == ()


async def test_beginning_under_a_moved_fence_is_refused(book, site, claim):
    """A step begins only while its lane is held, and writes nothing otherwise."""
    await again(book, site, claim)
    with pytest.raises(Fenced):
        async with book.step(claim, "note", **WRITE):
            pytest.fail("the block must not run")

    assert (await book.detail(claim.run)).steps == ()


async def test_the_last_write_of_a_step_is_found(book, site, make, claim):
    """The newest done write of a pipeline's step on a record, and no other."""
    async with book.step(claim, "note", **WRITE) as step:
        assert [write.state for write in await book.writes_of("desk", "7", site.clock.now_ms() + 1)] == ["open"]
        await step.done({"id": 9}, version="9")
    await site.clock.advance(10)
    other = await site.claim(book, make("2", lane="j"))
    async with book.step(other, "note", **WRITE) as step:
        found = step.last
        await step.done({"id": 10}, version="10")
    async with book.step(await site.claim(book, make("3", lane="l")), "note", **WRITE) as newest:
        pass
    async with book.step(await site.claim(book, make("4", pipeline="q")), "note", **WRITE) as elsewhere:
        pass

    assert (found.version, found.fields, found.value_hash) == ("9", {"comments": "h1"}, "v1")
    assert newest.last.version == "10"
    assert elsewhere.last is None
    assert [write.version for write in await book.writes_of("desk", "7", 0)] == ["10", "9"]


async def test_a_closed_ledger_lets_nothing_new_leave(book, site, claim):
    """The local fence refuses once the lease was given back."""
    async with book.step(claim, "note", **WRITE) as step:
        step.local_fence()
    await book.close()
    site.opened.clear()

    with pytest.raises(Fenced):
        step.local_fence()


async def test_a_lease_that_cannot_be_renewed_lets_nothing_new_leave(site, make):
    """While the ledger cannot be written for a whole lease, the local fence says: later."""
    book = await site.open(lease=0.0)
    claim = await site.claim(book, make())
    async with book.step(claim, "note", **WRITE) as step:
        with pytest.raises(Unavailable):
            step.local_fence()
        with pytest.raises(Unavailable):
            await step.fence()


async def test_the_last_write_ends_with_its_run(book, claim):
    """Before the run's end nothing is kept, and then both are."""
    async with book.step(claim, "note", **WRITE) as step:
        ending = step.ending({"id": 9}, receipt={"text": "hello"}, version="9")
    detail = await book.detail(claim.run)
    assert [(one.state, one.result) for one in detail.steps] == [("intent", None)]

    await book.finish(claim, "delivered", ending=ending)

    detail = await book.detail(claim.run)
    assert (detail.run.verdict, [(one.state, one.result) for one in detail.steps]) == (
        "delivered",
        [("done", {"id": 9})],
    )
    assert [(write.state, write.version) for write in await book.writes_of("desk", "7", 0)] == [("done", "9")]
    await book.finish(claim, "delivered", ending=ending)  # as after a COMMIT of unknown fate


async def test_the_last_write_of_a_run_that_lost_its_lane_is_in_doubt(book, site, claim):
    """Neither the write nor the run is ended by who was called dead; the next one looks."""
    async with book.step(claim, "note", **WRITE) as step:
        ending = step.ending({"id": 9}, version="9")
    taken = await again(book, site, claim)
    with pytest.raises(Fenced):
        await book.finish(claim, "delivered", ending=ending)

    assert (await book.detail(claim.run)).run.verdict is None
    async with book.step(taken, "note", **WRITE) as step:
        assert step.found == "unknown"
        await step.done({"id": 9}, version="9")
