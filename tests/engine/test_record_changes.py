"""
Records that somebody changes while a model thinks: `if_record_changed`.
"""

from __future__ import annotations

from typing import Any

import pytest

from ledger.returning import Return
from penstock.errors import Unavailable, UnknownOutcome

NOTE = {"to": "desk.note", "template": "note.j2"}
READS = {"ticket": {"fetch": "desk.ticket", "by": "event.subject"}}


def watching(what: str, **more: Any) -> list[dict[str, Any]]:
    return [NOTE | {"if_record_changed": what} | more]


def reading(world: Any, **more: Any) -> Any:
    """Return a runner whose question holds the record."""
    return world.runner(context__sections=READS, **more)


def solving(world: Any, status: str = "solved") -> Any:
    """Return what somebody does meanwhile."""
    return lambda: world.desk.records["35"].update(status=status)


async def settled(world: Any, runner: Any, event: Any) -> Any:
    """Let a run go on until it waits for nothing any more."""
    detail = await world.run(runner, event)
    while detail.run.state == "waiting":
        await world.resume(runner)
        detail = await world.ledger.detail(detail.run.run)
    return detail


@pytest.mark.parametrize("what", ["rerun", "skip", "write"])
async def test_nobody_changed_it(world: Any, ticket: Any, what: str) -> None:
    """It is asked about once, and written."""
    detail = await settled(world, world.runner(deliver=watching(what)), ticket())

    assert (detail.run.verdict, world.model.asked, len(world.desk.notes)) == ("delivered", 1, 1)


async def test_it_is_skipped(world: Any, ticket: Any) -> None:
    """What is about another state of the record is not written, and the run says why."""
    world.model.meanwhile = [solving(world)]
    detail = await settled(world, world.runner(deliver=watching("skip")), ticket())

    assert (detail.run.verdict, world.model.asked, world.desk.notes) == ("skipped", 1, [])
    assert detail.run.error == "desk.note: somebody changed the record while it was answered"


async def test_it_is_written_all_the_same(world: Any, ticket: Any) -> None:
    """`write` is what happens without the key: nothing is read."""
    world.model.meanwhile = [solving(world)]
    detail = await settled(world, world.runner(deliver=watching("write")), ticket())

    assert (detail.run.verdict, len(world.desk.notes)) == ("delivered", 1)
    assert "read" not in world.desk.calls


async def test_it_is_asked_about_again(world: Any, ticket: Any) -> None:
    """The run begins anew with the record as it is now, keeps both answers, and says what happened."""
    world.model.meanwhile = [solving(world)]
    detail = await settled(world, reading(world, deliver=watching("rerun")), ticket())

    assert (detail.run.verdict, detail.run.generation, len(world.desk.notes)) == ("delivered", 1, 1)
    assert [("solved" in prompt.user) for prompt in world.model.prompts] == [False, True]
    assert [(step.step, step.generation) for step in detail.steps] == [("ask", 0), ("ask", 1), ("desk.note", 1)]
    assert [(one.what, one.person) for one in detail.decisions] == [("changed", "")]


async def test_it_never_stands_still(world: Any, ticket: Any) -> None:
    """A record that changes all the time is asked about three times, and then left alone."""
    world.model.meanwhile = [solving(world, f"{number}") for number in range(9)]
    detail = await settled(world, reading(world, deliver=watching("rerun")), ticket())

    assert (detail.run.verdict, world.model.asked, world.desk.notes) == ("skipped", 3, [])
    assert [one.what for one in detail.decisions] == ["changed", "changed"]


async def test_our_own_writes_are_no_change(world: Any, ticket: Any) -> None:
    """The first delivery changes the record, and the second, after a crash, does not take that for somebody else."""

    async def writing(record: str, args: Any, mode: Any, call: Any) -> Any:
        done = await type(world.desk)._write(world.desk, record, args, mode, call)
        world.desk.records["35"]["status"] = f"written {len(world.desk.notes)}"
        return done

    world.desk._write = writing
    world.desk.trouble["write"] = [None, Unavailable("down")]
    for what in ("skip", "rerun"):
        deliver = [*watching(what), *watching(what, name="second")]
        world.model.says = {"summary": f"Now {what}."}
        detail = await settled(world, reading(world, deliver=deliver), ticket(what))

        assert (detail.run.verdict, detail.run.generation) == ("delivered", 0)
    assert len(world.desk.notes) == 4


async def test_a_write_in_doubt_is_looked_for_first(world: Any, ticket: Any) -> None:
    """What may have been written is found, and is no reason to ask again or to skip."""
    world.desk.trouble["written"] = [UnknownOutcome("cut")]
    runner = reading(world, deliver=watching("rerun"))
    waiting = await world.run(runner, ticket())
    world.desk.records["35"]["status"] = "noted"
    await world.resume(runner)
    detail = await world.ledger.detail(waiting.run.run)

    assert (detail.run.verdict, world.model.asked, len(world.desk.notes)) == ("delivered", 1, 1)


async def test_nothing_begins_anew_once_something_was_written(world: Any, ticket: Any) -> None:
    """Elsewhere it was written before: asking again would write that twice, so this one is skipped."""
    world.desk.records["36"] = {"id": "36", "status": "new"}
    world.desk.trouble["write"] = [None, Unavailable("down")]
    deliver = [
        NOTE | {"record": "'36'", "name": "first"},
        *watching("rerun", name="second"),
        *watching("skip", name="third"),
    ]
    runner = reading(world, deliver=deliver)
    waiting = await world.run(runner, ticket())
    solving(world)()
    await world.resume(runner)
    detail = await world.ledger.detail(waiting.run.run)

    assert (detail.run.verdict, detail.run.generation) == ("delivered", 0)
    assert [note[1] for note in world.desk.notes] == ["36"]
    assert detail.run.error is None


async def test_a_delivery_that_is_not_wanted_changes_nothing(world: Any, ticket: Any) -> None:
    """What `when` keeps back is no reason to ask again."""
    world.model.meanwhile = [solving(world)]
    deliver = [NOTE, *watching("rerun", name="second", when="output.confidence > 0.95")]
    detail = await settled(world, reading(world, deliver=deliver), ticket())

    assert (detail.run.verdict, world.model.asked) == ("delivered", 1)


async def test_a_change_nobody_asks_about(world: Any, ticket: Any) -> None:
    """The question would be the same: nothing is paid again, and the answer still stands."""
    world.model.meanwhile = [solving(world)]
    detail = await settled(world, world.runner(deliver=watching("rerun")), ticket())

    assert (detail.run.verdict, world.model.asked, len(world.desk.notes)) == ("delivered", 1, 1)


async def test_what_unless_keeps_back_is_not_asked_about_again(world: Any, ticket: Any) -> None:
    """Somebody solved it meanwhile, and solved tickets get no note anyway."""
    world.model.meanwhile = [solving(world)]
    deliver = watching("rerun", unless="record.status == 'solved'")
    detail = await settled(world, reading(world, deliver=deliver), ticket())

    assert (detail.run.verdict, world.model.asked, world.desk.notes) == ("skipped", 1, [])


async def test_the_same_answer_again_is_unchanged(world: Any, ticket: Any) -> None:
    """A run that began anew by itself repeats no note that stands there already; one that a person sent again does."""
    runner = reading(world, deliver=watching("rerun"))
    await settled(world, runner, ticket("1"))
    world.model.meanwhile = [solving(world)]
    detail = await settled(world, runner, ticket("2"))
    one = Return(run=detail.run.run, seq=detail.run.seq)
    assert await world.ledger.replay([one], person="ana", again=True)
    await world.resume(runner)

    assert (detail.run.verdict, detail.run.generation, world.model.asked) == ("unchanged", 1, 4)
    assert len(world.desk.notes) == 2


async def test_a_record_that_is_gone(world: Any, ticket: Any) -> None:
    """It was deleted meanwhile: that is a change as well."""
    world.model.meanwhile = [world.desk.records.clear]
    detail = await settled(world, world.runner(deliver=watching("skip")), ticket())

    assert (detail.run.verdict, world.desk.notes) == ("skipped", [])


async def test_a_system_that_is_away_is_waited_for_before_anything_is_paid(world: Any, ticket: Any) -> None:
    """The record is read before the model is asked."""
    world.desk.trouble["read"] = [Unavailable("down")]
    detail = await world.run(world.runner(deliver=watching("rerun")), ticket())

    assert (detail.run.state, detail.run.reason, world.model.asked) == ("waiting", "outage", 0)


async def test_a_crash_before_the_check(world: Any, ticket: Any) -> None:
    """What the record was is kept with the answer."""
    world.fails["run:answered"] = Unavailable("as if it died")
    runner = reading(world, deliver=watching("rerun"))
    waiting = await world.run(runner, ticket())
    solving(world)()
    await world.resume(runner)
    between = await world.ledger.detail(waiting.run.run)
    await world.resume(runner)
    detail = await world.ledger.detail(waiting.run.run)

    assert (between.run.reason, between.run.generation) == ("changed", 1)
    assert (detail.run.verdict, world.model.asked, len(world.desk.notes)) == ("delivered", 2, 1)
