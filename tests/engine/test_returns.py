"""
Runs that come back: what is paid and written again, what is not, and when they give way.
"""

from __future__ import annotations

from typing import Any

import pytest

from ledger.returning import Return
from penstock.errors import NotFound, Rejected, UnknownOutcome
from schemas.events import Event

TWO = [{"to": "desk.note", "template": "note.j2"}, {"to": "desk.note", "name": "second", "template": "note.j2"}]
MISSING = "event.data.no_such_field == 1"


async def back(world: Any, run: str, *, again: bool = False, insist: bool = False) -> list[str]:
    """
    Replay one run as it stands now.
    """
    one = Return(run=run, seq=(await world.ledger.detail(run)).run.seq, insist=insist)
    return await world.ledger.replay([one], person="ana", again=again)  # type: ignore[no-any-return]


async def decide(world: Any, run: str, what: Any, *, insist: bool = False) -> bool:
    """
    Decide about one run as it stands now.
    """
    one = Return(run=run, seq=(await world.ledger.detail(run)).run.seq, insist=insist)
    return await world.ledger.decide(one, what, person="ana")  # type: ignore[no-any-return]


async def parked(world: Any, runner: Any, event: Event) -> str:
    """
    Let a blind write of *event* end without an answer.
    """
    world.desk.idempotency, world.desk.findable = "blind", False
    world.desk.trouble["write"] = [UnknownOutcome("no answer")]
    detail = await world.run(runner, event)
    while detail.run.state == "waiting":
        await world.resume(runner)
        detail = await world.ledger.detail(detail.run.run)
    assert ("aside", "parked") == (detail.run.state, detail.run.reason)
    return str(detail.run.run)


# ---- where a run died ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "trouble", "step"),
    [
        ({"trigger__where": MISSING}, {}, "trigger"),
        (
            {"context__sections": {"who": {"fetch": "desk.customer", "by": "event.data.org_id"}}},
            {"lookup": [NotFound("no such customer")]},
            "context",
        ),
        ({"on_error__retry": 0}, {"ask": [ZeroDivisionError("a bug")]}, "ask"),
        ({}, {"write": [Rejected("no")]}, "desk.note"),
        ({"deliver": TWO}, {"write": [None, Rejected("no")]}, "second"),
        ({"deliver": [TWO[0] | {"when": MISSING}]}, {}, "desk.note"),
    ],
)
async def test_the_step_a_run_died_at_is_kept(world: Any, ticket: Any, changes: Any, trouble: Any, step: str) -> None:
    """
    Trigger, context, ask, or the delivery by its name; with the hash of the configuration.
    """
    world.model.trouble = trouble.pop("ask", [])
    world.desk.trouble = trouble
    runner = world.runner(**changes)
    run = (await world.run(runner, ticket())).run

    assert ("dead", step, runner.plan.config_hash) == (run.verdict, run.failed_step, run.config_hash)


# ---- replay --------------------------------------------------------------------------------------


async def test_a_replay_continues_at_the_failed_step(world: Any, ticket: Any) -> None:
    """
    The paid answer is used, the write that was done is not repeated, the failed one is done; twice is once.
    """
    world.desk.trouble["write"] = [None, Rejected("the field is locked")]
    runner = world.runner(deliver=[TWO[0], TWO[1] | {"record": "event.data.id"}])
    run = (await world.run(runner, ticket())).run
    assert ("dead", 1) == (run.verdict, len(world.desk.notes))

    assert [run.run] == await back(world, run.run)
    assert [] == await back(world, run.run)
    assert 1 == await world.resume(runner)
    assert [] == await back(world, run.run)
    assert 0 == await world.resume(runner)
    assert "delivered" == (await world.ledger.detail(run.run)).run.verdict
    assert (1, 2) == (world.model.asked, len(world.desk.notes))


async def test_a_replay_is_judged_by_the_configuration_of_now(world: Any, ticket: Any) -> None:
    """
    Dead on arrival for a wrong `where`: mended it runs, or is filtered, or dies of the same mistake again.
    """
    broken, wanted = world.runner(trigger__where=MISSING), world.runner()
    unwanted = world.runner(trigger__where="event.data.status == 'spam'")
    verdicts = []
    for number, mended in enumerate((broken, unwanted, wanted)):
        run = (await world.run(broken, ticket(str(number)))).run
        await back(world, run.run)
        await world.resume(mended)
        verdicts.append((await world.ledger.detail(run.run)).run.verdict)

    assert ["dead", "filtered", "delivered"] == verdicts
    assert 1 == world.model.asked


@pytest.mark.parametrize("asked", [False, True])
async def test_a_replay_gives_way_to_a_newer_delivery(world: Any, ticket: Any, asked: bool) -> None:
    """
    What was delivered for a later event is not covered with what is older; nothing is paid for it either.
    """
    world.desk.trouble["write" if asked else "lookup"] = [Rejected("no")]
    runner = world.runner(context__sections={"who": {"fetch": "desk.customer", "by": "event.data.org_id"}})
    old = (await world.run(runner, ticket("1"))).run
    new = (await world.run(runner, ticket("2"))).run
    assert ("dead", "delivered") == (old.verdict, new.verdict)
    notes, paid = len(world.desk.notes), world.model.asked
    await back(world, old.run)
    await world.resume(runner)
    old = (await world.ledger.detail(old.run)).run

    assert ("superseded", new.run) == (old.verdict, old.superseded_by)
    assert new.run[:8] in (old.error or "")
    assert (notes, paid) == (len(world.desk.notes), world.model.asked)


async def test_who_insists_writes_over_a_newer_delivery(world: Any, ticket: Any) -> None:
    """
    Told to run even if there is something newer, it does.
    """
    world.desk.trouble["write"] = [Rejected("no")]
    runner = world.runner()
    old = (await world.run(runner, ticket("1"))).run
    world.model.says = {"summary": "Something else."}
    await world.run(runner, ticket("2"))
    await back(world, old.run, insist=True)
    await world.resume(runner)

    assert "delivered" == (await world.ledger.detail(old.run)).run.verdict
    assert 2 == len(world.desk.notes)


async def test_again_asks_pays_and_writes_again(world: Any, ticket: Any) -> None:
    """
    A delivered run in a new generation: another answer is asked for, and even the same text is written.
    """
    runner = world.runner()
    run = (await world.run(runner, ticket())).run
    assert [] == await back(world, run.run)
    assert [run.run] == await back(world, run.run, again=True)
    await world.resume(runner)
    detail = await world.ledger.detail(run.run)

    assert ("delivered", 1) == (detail.run.verdict, detail.run.generation)
    assert (2, 2) == (world.model.asked, len(world.desk.notes))
    keys = {key for key, _, _ in world.desk.notes}
    assert 2 == len(keys)


async def test_again_is_no_echo_of_its_own_first_write(world: Any, ticket: Any) -> None:
    """
    An event that says a field changed to what we wrote to it later is still an event.
    """
    runner = world.runner()
    data = {"id": "35", "org_id": "9", "changed": ["comment"], "comment": "Parcel lost."}
    run = (await world.run(runner, ticket("1", type="ticket.updated", data=data))).run
    assert "delivered" == run.verdict
    await back(world, run.run, again=True)
    await world.resume(runner)

    assert "delivered" == (await world.ledger.detail(run.run)).run.verdict


# ---- decisions -----------------------------------------------------------------------------------


async def test_a_parked_run_keeps_nobody_waiting_and_then_gives_way(world: Any, ticket: Any) -> None:
    """
    P7: four events of the lane are delivered while a write of unknown outcome waits for a person;
    written again it would cover them, so that it is superseded.
    """
    runner = world.runner()
    old = await parked(world, runner, ticket("0"))
    for number in "1234":
        world.model.says = {"summary": f"Summary {number}."}
        assert "delivered" == (await world.run(runner, ticket(number))).run.verdict
    await decide(world, old, "again")
    await world.resume(runner)

    assert "superseded" == (await world.ledger.detail(old)).run.verdict
    assert [f"Summary {number}." for number in "1234"] == [text for _, _, text in world.desk.notes]


async def test_a_parked_write_is_repeated_for_who_insists(world: Any, ticket: Any) -> None:
    """
    Write again, even if there is something newer.
    """
    runner = world.runner()
    old = await parked(world, runner, ticket("0"))
    world.model.says = {"summary": "Newer."}
    await world.run(runner, ticket("1"))
    await decide(world, old, "again", insist=True)
    await world.resume(runner)

    assert "delivered" == (await world.ledger.detail(old)).run.verdict
    assert ["Newer.", "Parcel lost."] == [text for _, _, text in world.desk.notes]


async def test_a_write_that_was_seen_is_not_repeated_and_the_next_one_follows(world: Any, ticket: Any) -> None:
    """
    Decided as delivered, the run goes on with its later deliveries; nothing is asked again.
    """
    runner = world.runner(deliver=TWO)
    run = await parked(world, runner, ticket())
    await decide(world, run, "delivered")
    await world.resume(runner)

    assert "delivered" == (await world.ledger.detail(run)).run.verdict
    assert (1, 1) == (world.model.asked, len(world.desk.notes))


async def test_a_decided_run_reads_the_guard_again(world: Any, ticket: Any) -> None:
    """
    The ticket was solved meanwhile: `unless` holds the write back.
    """
    runner = world.runner(deliver=[TWO[0] | {"unless": "record.status == 'solved'"}])
    run = await parked(world, runner, ticket())
    world.desk.records["35"]["status"] = "solved"
    await decide(world, run, "again")
    await world.resume(runner)

    assert "skipped" == (await world.ledger.detail(run)).run.verdict
    assert [] == world.desk.notes
