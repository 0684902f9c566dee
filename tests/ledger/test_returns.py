"""
How runs come back: replayed after they died, or decided by a person while they stood aside.
"""

from __future__ import annotations

import orjson
import pytest

from ledger import Claim
from ledger.contract import WriteIntent
from ledger.locks import ALONE
from ledger.returning import Failure, Newer, Return
from penstock.errors import Fenced, UnknownOutcome

BODY = b'{"specversion":"1.0"}'
WHO = "ana@desk"


async def dead(book, site, run):
    """
    Let a run die; return it as a person sees it.
    """
    claim = await site.claim(book, run)
    await book.finish(claim, "dead", why="No such field.", body=BODY, failed=Failure(step="ask", config_hash="c2"))
    return await seen(book, run.run)


async def seen(book, run, **more):
    """
    Return a run as a person would name it to come back.
    """
    return Return(run=run, seq=(await book.detail(run)).run.seq, **more)


async def parked(book, site, run, *, action_class="blind", reason="parked"):
    """
    Let a write of unknown outcome set a run aside.
    """
    claim = await site.claim(book, run)
    intent = WriteIntent(connection="desk", record="7", fields={"comment": "h"}, value_hash="v")
    with pytest.raises(UnknownOutcome):
        async with book.step(claim, "desk.note", kind="write", action_class=action_class, timeout=5, write=intent):
            raise UnknownOutcome
    await book.aside(claim, reason, BODY, why="nobody knows")
    return await seen(book, run.run)


async def deliver(book, claim, record="7"):
    """
    Write to a record and finish.
    """
    intent = WriteIntent(connection="desk", record=record, fields={}, value_hash="w")
    async with book.step(claim, "desk.note", kind="write", action_class="blind", timeout=5, write=intent) as step:
        await step.done({"outcome": "delivered"})
    await book.finish(claim, "delivered", body=BODY)


async def letters(book):
    """
    Return every dead letter that was not sent yet.
    """
    return [(one.id, orjson.loads(one.body)) for one in await book.take_parcels(["dead"], 100, hold=0)]


# ---- dead letters --------------------------------------------------------------------------------


async def test_a_death_leaves_a_letter_with_all_that_others_need(book, site, make):
    """
    Reason, step, attempt, configuration, coordinates and the event stand in the letter and with the run.
    """
    await dead(book, site, make("1", partition=3, offset=42))
    ((_, letter),) = await letters(book)
    run = (await book.detail(make("1").run)).run

    assert ("No such field.", "ask", "c2", 1) == (run.error, run.failed_step, run.config_hash, run.deaths)
    expected = {"error": "No such field.", "failed_step": "ask", "attempt": 1, "config_hash": "c2", "deaths": 1}
    assert expected == {name: letter[name] for name in expected}
    assert (run.topic, 3, 42, run.bus_time) == (letter["topic"], letter["part"], letter["off"], letter["bus_time"])
    assert BODY.decode() == letter["event"]


async def test_who_is_dead_on_arrival_leaves_a_letter_once(book, make):
    """
    An event that cannot be judged leaves one letter, however often it is delivered.
    """
    for _ in range(3):
        await book.conclude(make(), "dead", "no such field", body=BODY)

    ((_, letter),) = await letters(book)
    assert ("trigger", 1) == (letter["failed_step"], letter["deaths"])


async def test_other_ends_leave_no_letter(book, site, make):
    """
    Only the dead are announced.
    """
    await book.finish(await site.claim(book, make("1")), "delivered", body=BODY)
    await book.conclude(make("2"), "filtered", "no", body=BODY)

    assert [] == await letters(book)


async def test_each_death_is_a_letter_of_its_own(book, site, make):
    """
    A replayed run that dies again leaves a second letter with another id.
    """
    await book.replay([await dead(book, site, make())], person=WHO)
    (picked,) = await book.pick_up(["p"], 10)
    await book.finish(picked.claim, "dead", why="Again.")
    first, second = await letters(book)

    assert first[0] != second[0]
    assert (1, 2) == (first[1]["deaths"], second[1]["deaths"])
    assert BODY.decode() == second[1]["event"]


# ---- replay --------------------------------------------------------------------------------------


async def test_a_dead_run_comes_back_once(book, site, make):
    """
    Replayed twice it waits once, with its attempts forgotten; the person and the time are kept.
    """
    found = await dead(book, site, make())

    assert [make().run] == await book.replay([found], person=WHO)
    assert [] == await book.replay([found], person="bob")
    (picked,) = await book.pick_up(["p"], 10)
    assert ("replay", 0, 0, BODY) == (picked.claim.reason, picked.claim.attempts, picked.claim.generation, picked.body)
    assert [] == await book.pick_up(["p"], 10)
    (decision,) = (await book.detail(make().run)).decisions
    assert ("replay", WHO, False) == (decision.what, decision.person, decision.insist)


async def test_what_was_looked_at_before_it_came_back_is_not_replayed_again(book, site, make):
    """
    A plan made before somebody else's replay does nothing, also when the run has died again meanwhile.
    """
    old = await dead(book, site, make())
    await book.replay([old], person=WHO)
    (picked,) = await book.pick_up(["p"], 10)
    await book.finish(picked.claim, "dead", why="Again.")

    assert [] == await book.replay([old], person=WHO)


async def test_a_replayed_run_stands_at_its_lanes_tail(book, site, make):
    """
    It overtakes nothing: what holds the lane, and what waits behind it, goes first.
    """
    found = await dead(book, site, make("1"))
    running = await site.claim(book, make("2"))
    await book.admit(make("3"), BODY, reason="behind")
    await book.replay([found], person=WHO)

    assert [] == await book.pick_up(["p"], 10)
    await book.finish(running, "delivered")
    (third,) = await book.pick_up(["p"], 10)
    assert make("3").run == third.claim.run
    await book.finish(third.claim, "delivered")
    (first,) = await book.pick_up(["p"], 10)
    assert make("1").run == first.claim.run


async def test_only_the_dead_come_back_unless_asked_for_again(book, site, make):
    """
    A delivered run is left alone; asked for again it runs in a new generation.
    """
    claim = await site.claim(book, make())
    await book.finish(claim, "delivered", body=BODY)
    found = await seen(book, claim.run)

    assert [] == await book.replay([found], person=WHO)
    assert [claim.run] == await book.replay([found], person=WHO, again=True)
    (picked,) = await book.pick_up(["p"], 10)
    assert 1 == picked.claim.generation


async def test_a_run_whose_event_is_gone_does_not_come_back(book, make):
    """
    Without its event there is nothing to run.
    """
    await book.conclude(make(), "dead", "unreadable")

    assert [] == await book.replay([await seen(book, make().run)], person=WHO)
    (prospect,) = await book.prospects([make().run])
    assert not prospect.kept


async def test_replays_are_spread(book, site, make):
    """
    Of many that come back together only the first are due at once: others get their turn between.
    """
    found = [await dead(book, site, make(str(n), lane=str(n))) for n in range(5)]
    await book.replay(found, person=WHO)

    assert 1 == len(await book.pick_up(["p"], 10))
    await site.clock.advance(1)
    assert 4 == len(await book.pick_up(["p"], 10))


async def test_a_returned_run_gives_way_to_what_was_delivered_since(book, site, make):
    """
    A later run that was delivered is found, with what it wrote to; the run itself says whether it gives way.
    """
    found = await dead(book, site, make("1"))
    await deliver(book, await site.claim(book, make("2")))
    (prospect,) = await book.prospects([found.run])
    await book.replay([found], person=WHO)
    (picked,) = await book.pick_up(["p"], 10)

    assert make("2").run == prospect.newer
    assert picked.claim.overtakable
    expected = Newer(run=make("2").run, targets=frozenset({("desk", "7")}))
    assert expected == await book.newer(picked.claim)


async def test_newer_is_what_came_later_not_what_was_replayed_later(book, site, make):
    """
    Two dead runs are replayed in their order: the first one's delivery is no reason for the second to give way.
    """
    both = [await dead(book, site, make("1")), await dead(book, site, make("2"))]
    await book.replay(both, person=WHO)
    await site.clock.advance(1)
    (first,) = await book.pick_up(["p"], 10)
    assert await book.newer(first.claim) is None
    await deliver(book, first.claim)
    (second,) = await book.pick_up(["p"], 10)

    assert make("2").run == second.claim.run
    assert await book.newer(second.claim) is None


async def test_who_insists_does_not_give_way(book, site, make):
    """
    Insisting is kept with the run, over a wait and a new claim.
    """
    found = await dead(book, site, make("1"))
    await deliver(book, await site.claim(book, make("2")))
    await book.replay([Return(run=found.run, seq=found.seq, insist=True)], person=WHO)
    (picked,) = await book.pick_up(["p"], 10)
    await book.wait(picked.claim, "retry", BODY, why="later", due_at=site.clock.now_ms())
    (picked,) = await book.pick_up(["p"], 10)

    assert not picked.claim.overtakable
    assert await book.newer(picked.claim) is None


async def test_a_superseded_run_names_the_newer_one(book, site, make):
    """
    The run that took its place is kept.
    """
    claim = await site.claim(book, make("1"))
    await book.finish(claim, "superseded", superseded_by=make("2").run)

    assert make("2").run == (await book.detail(claim.run)).run.superseded_by


# ---- decisions -----------------------------------------------------------------------------------


@pytest.mark.parametrize("reason", ["parked", "approval"])
async def test_a_run_set_aside_keeps_nobody_waiting(book, site, make, reason):
    """
    P7: four events of the lane are delivered meanwhile; decided, it comes back behind them and finds them newer.
    """
    found = await parked(book, site, make("0"), reason=reason)
    for number in "1234":
        await deliver(book, await site.claim(book, make(number)))

    assert await book.decide(found, "again" if reason == "parked" else "approved", person=WHO)
    (picked,) = await book.pick_up(["p"], 10)
    assert ("decided", True) == (picked.claim.reason, picked.claim.overtakable)
    newer = await book.newer(picked.claim)
    assert newer is not None
    assert make("4").run == newer.run


async def test_a_write_that_a_person_saw_is_done(book, site, make):
    """
    Decided as delivered, the step is found done and the write counts as ours.
    """
    found = await parked(book, site, make())
    await book.decide(found, "delivered", person=WHO)
    (picked,) = await book.pick_up(["p"], 10)

    async with book.step(picked.claim, "desk.note", kind="write", action_class="blind", timeout=5) as step:
        assert ("done", "delivered") == (step.found, step.result["outcome"])
        assert WHO in step.result["why"]
    assert ["done"] == [write.state for write in (await book.detail(found.run)).writes]


@pytest.mark.parametrize(("action_class", "state"), [("blind", "fresh"), ("keyed", "fresh"), ("read-back", "unknown")])
async def test_a_write_that_a_person_wants_again_begins_anew(book, site, make, action_class, state):
    """
    A blind write is sent again without a question; one that can be looked for is looked for.
    """
    found = await parked(book, site, make(), action_class=action_class)
    await book.decide(found, "again", person=WHO)
    (picked,) = await book.pick_up(["p"], 10)

    async with book.step(picked.claim, "desk.note", kind="write", action_class=action_class, timeout=5) as step:
        assert state == step.found
        await step.done({})


async def test_a_discarded_run_is_final(book, site, make):
    """
    Discarded, it never comes back by itself, and who said so is kept.
    """
    found = await parked(book, site, make())

    assert await book.decide(found, "discarded", person=WHO)
    detail = await book.detail(found.run)
    assert ("final", "discarded") == (detail.run.state, detail.run.verdict)
    assert [("discarded", WHO)] == [(one.what, one.person) for one in detail.decisions]
    assert [] == await book.pick_up(["p"], 10)


async def test_a_decision_is_taken_once(book, site, make):
    """
    The second of two people who decide at the same time is told so; nothing happens.
    """
    found = await parked(book, site, make())
    await book.decide(found, "delivered", person=WHO)

    assert not await book.decide(found, "discarded", person="bob")
    assert "waiting" == (await book.detail(found.run)).run.state


async def test_what_is_newer_is_known_as_long_as_a_run_stands_aside(book, site, make):
    """
    Runs delivered after it keep their details while it stands aside, however old they are.
    """
    await parked(book, site, make("1"))
    later = await site.claim(book, make("2"))
    assert isinstance(later, Claim)
    await deliver(book, later)
    other = await site.claim(book, make("3", lane="other"))
    await book.finish(other, "delivered")
    await site.clock.advance(40 * 86_400)

    assert 1 == await book.prune()
    assert await book.detail(later.run) is not None


async def test_a_returned_run_has_its_patience_again(book, site, make):
    """
    However long ago it began the first time, what it may take counts from its return.
    """
    found = await dead(book, site, make())
    await site.clock.advance(100_000)
    await book.replay([found], person=WHO)
    (picked,) = await book.pick_up(["p"], 10)

    assert site.clock.now_ms() == picked.claim.began_at


async def test_a_run_of_an_older_version_has_not_come_back(book, site, make):
    """
    A worker that does not know of first places yet leaves 0: its run gives way to nothing, until it really came back.
    """
    await deliver(book, await site.claim(book, make("1")))
    await book.admit(make("2"), BODY, reason="behind")
    await book.store.write(lambda c: c.execute("UPDATE runs SET first_seq = 0 WHERE event_id = '2'"), ALONE)
    (picked,) = await book.pick_up(["p"], 10)
    assert not picked.claim.came_back
    await book.finish(picked.claim, "dead", why="no")
    await book.replay([await seen(book, make("2").run)], person=WHO)
    (picked,) = await book.pick_up(["p"], 10)

    assert picked.claim.came_back
    assert await book.newer(picked.claim) is None


# ---- beginning anew ------------------------------------------------------------------------------


async def test_a_run_begins_anew(book, site, make):
    """It keeps its lane and what it paid, has no answer yet, and says that it changed."""
    claim = await site.claim(book, make("1", lane="7"))
    async with book.step(claim, "ask", kind="ask", action_class="ai", timeout=5) as step:
        await step.done({"says": "old"})
    await book.rerun(claim, BODY, why="somebody changed it")
    await book.admit(make("2", lane="7"), BODY, reason="behind")
    detail = await book.detail(claim.run)
    (picked,) = await book.pick_up([claim.pipeline], 10)

    assert (detail.run.state, detail.run.reason, detail.run.generation) == ("waiting", "changed", 1)
    assert [(one.what, one.person) for one in detail.decisions] == [("changed", "")]
    assert (picked.claim.run, picked.claim.generation, picked.body) == (claim.run, 1, BODY)
    assert await book.answer(claim.run, "ask", 1) is None
    assert await book.answer(claim.run, "ask", 0) is not None
    await book.rerun(picked.claim, BODY, why="again")
    assert [one.what for one in (await book.detail(claim.run)).decisions] == ["changed", "changed"]


async def test_nobody_begins_a_lost_run_anew(book, site, make):
    """Whose lane went to another worker changes nothing."""
    claim = await site.claim(book, make("1"))
    await book.finish(claim, "delivered", body=BODY)
    with pytest.raises(Fenced):
        await book.rerun(claim, BODY, why="late")

    detail = await book.detail(claim.run)
    assert (detail.run.state, detail.run.generation, detail.decisions) == ("final", 0, ())
