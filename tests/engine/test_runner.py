"""
One event through one pipeline: every way it can end.
"""

from __future__ import annotations

from typing import Any

import pytest

from ai import AIError
from ledger.testing import beside, bury
from penstock.errors import Conflict, OverBudget, Rejected, UnknownOutcome

SECTIONS = {"ticket": {"from": "event.data"}, "customer": {"fetch": "desk.customer", "by": "event.data.org_id"}}


async def test_an_event_is_answered_and_written_back_once(world: Any, ticket: Any) -> None:
    """
    The note stands on the record, the verdict is delivered, and the run tells what happened.
    """
    detail = await world.run(world.runner(), ticket())

    assert [note[1:] for note in world.desk.notes] == [("35", "Parcel lost.")]
    assert detail.run.verdict == "delivered"
    assert [(step.step, step.state) for step in detail.steps] == [("ask", "done"), ("desk.note", "done")]
    assert detail.event is not None
    assert detail.event["data"]["subject"] == "Lost"


async def test_our_own_write_is_never_asked_about(world: Any, ticket: Any) -> None:
    """
    Net 1: what our own account did ends own-write, with the reason, before any cost.
    """
    detail = await world.run(world.runner(), ticket(actor="4711"))

    assert (detail.run.verdict, detail.run.error) == ("own-write", "actor=4711")
    assert world.model.asked == 0


async def test_an_event_of_another_type_is_filtered(world: Any, ticket: Any) -> None:
    """
    A pipeline says of every event on its connection why it did nothing.
    """
    detail = await world.run(world.runner(), ticket(type="ticket.deleted"))

    assert detail.run.verdict == "filtered"
    assert "ticket.deleted" in detail.run.error


async def test_where_and_changed_decide(world: Any, ticket: Any) -> None:
    """
    `where` and `changed` filter, each with its own reason.
    """
    where = await world.run(world.runner(trigger__where="event.data.status == 'open'"), ticket("1"))
    changed = await world.run(world.runner(trigger__changed=["priority"]), ticket("2"))

    assert (where.run.verdict, where.run.error) == ("filtered", "`where` was not true: event.data.status == 'open'")
    assert (changed.run.verdict, changed.run.error) == ("filtered", "none of priority changed")


async def test_a_missing_field_in_where_is_dead_and_names_event_and_path(world: Any, ticket: Any) -> None:
    """
    Nobody has to guess which field of which event was not there.
    """
    detail = await world.run(world.runner(trigger__where="event.data.nothing == 1"), ticket("77"))

    assert detail.run.verdict == "dead"
    assert "event 77" in detail.run.error
    assert "event.data.nothing" in detail.run.error


async def test_unless_reads_the_record_as_it_is_now(world: Any, ticket: Any) -> None:
    """
    A ticket that was solved meanwhile gets no note, although the event says it is new.
    """
    world.desk.records["35"]["status"] = "solved"
    deliver = [{"to": "desk.note", "template": "note.j2", "unless": "record.status == 'solved'"}]
    detail = await world.run(world.runner(deliver=deliver), ticket())

    assert detail.run.verdict == "skipped"
    assert world.desk.notes == []
    assert "unless" in detail.run.error


@pytest.mark.parametrize("arrived", [True, False])
@pytest.mark.parametrize("idempotency", ["read-back", "keyed"])
async def test_unless_does_not_hide_what_was_written(world: Any, ticket: Any, arrived: bool, idempotency: str) -> None:
    """
    The answer to a write was lost and the ticket was solved meanwhile: a note that stands there is delivered, and
    one that does not is not written any more.
    """
    world.desk.idempotency = idempotency
    deliver = [{"to": "desk.note", "template": "note.j2", "unless": "record.status == 'solved'"}]
    world.desk.trouble["written" if arrived else "write"] = [UnknownOutcome("cut")]
    runner = world.runner(deliver=deliver)
    waiting = await world.run(runner, ticket())
    world.desk.records["35"]["status"] = "solved"
    await world.resume(runner)
    detail = await world.ledger.detail(waiting.run.run)

    assert len(world.desk.notes) == arrived
    if idempotency == "read-back":
        assert detail.run.verdict == ("delivered" if arrived else "skipped")
    assert arrived or "unless" in detail.run.error


async def test_when_sees_the_record(world: Any, ticket: Any) -> None:
    """
    As it is now, not as the event has it.
    """
    deliver = [{"to": "desk.note", "template": "note.j2", "when": "record.status == 'solved'"}]
    new = await world.run(world.runner(deliver=deliver), ticket("1"))
    world.desk.records["35"]["status"] = "solved"
    solved = await world.run(world.runner(deliver=deliver), ticket("2"))

    assert (new.run.verdict, new.run.error) == ("skipped", "desk.note: `when` was not true")
    assert solved.run.verdict == "delivered", solved.run.error


async def test_when_sees_the_answer(world: Any, ticket: Any) -> None:
    """
    A delivery whose `when` is false is not carried out, and another one may be.
    """
    deliver = [
        {"to": "desk.note", "name": "sure", "template": "note.j2", "when": "output.confidence > 0.95"},
        {"to": "desk.note", "name": "unsure", "template": "note.j2", "when": "output.confidence <= 0.95"},
    ]
    detail = await world.run(world.runner(deliver=deliver), ticket())

    assert [step.step for step in detail.steps] == ["ask", "unsure"]
    assert detail.run.verdict == "delivered"


async def test_set_keeps_what_people_wrote_and_what_is_unsure(world: Any, ticket: Any) -> None:
    """
    `only_if: empty` and `min_confidence` hold fields back; with none left nothing is written.
    """
    world.desk.records["35"] |= {"industry": "Shipping"}
    fields = {
        "industry": {"value": "output.summary", "only_if": "empty"},
        "segment": {"value": "output.summary", "min_confidence": 0.95},
    }
    detail = await world.run(world.runner(deliver=[{"to": "desk.note", "set": fields}]), ticket())

    assert (detail.run.verdict, world.desk.notes) == ("skipped", [])


async def test_the_same_words_on_the_same_record_are_unchanged(world: Any, ticket: Any) -> None:
    """
    A second event whose write would repeat the last one sends nothing.
    """
    runner = world.runner()
    await world.run(runner, ticket("1"))
    detail = await world.run(runner, ticket("2"))

    assert detail.run.verdict == "unchanged"
    assert len(world.desk.notes) == 1


async def test_a_redelivery_of_a_finished_event_does_nothing(world: Any, ticket: Any) -> None:
    """
    The same event again: no question, no write, one redelivery counted.
    """
    runner = world.runner()
    await world.run(runner, ticket())
    detail = await world.run(runner, ticket())

    assert (detail.run.verdict, detail.run.redelivered) == ("delivered", 1)
    assert (world.model.asked, len(world.desk.notes)) == (1, 1)


async def test_a_crash_between_answer_and_note_does_not_pay_again(world: Any, ticket: Any) -> None:
    """
    Another worker takes the run over: it reuses the paid answer and writes the one note.
    """
    world.fails["run:answered"] = KeyboardInterrupt()
    with pytest.raises(KeyboardInterrupt):
        await world.run(world.runner(), ticket())
    second = await beside(world.ledger)
    await bury(world.ledger)
    detail = await world.run(world.runner(second), ticket(), second)

    assert detail.run.verdict == "delivered"
    assert (world.model.asked, len(world.desk.notes)) == (1, 1)


async def test_a_crash_after_the_note_was_sent_does_not_write_again(world: Any, ticket: Any) -> None:
    """
    Read-back: the successor waits until the old request can no longer arrive, looks, and finds it.
    """
    world.fails["write:after-send"] = KeyboardInterrupt()
    with pytest.raises(KeyboardInterrupt):
        await world.run(world.runner(), ticket())
    second = await beside(world.ledger)
    await bury(world.ledger)
    before = world.clock.ahead
    detail = await world.run(world.runner(second), ticket(), second)

    assert detail.run.verdict == "delivered"
    assert len(world.desk.notes) == 1
    assert "find" in world.desk.calls
    assert world.clock.ahead - before > 3


async def test_an_unknown_outcome_is_looked_up_before_it_is_sent_again(world: Any, ticket: Any) -> None:
    """
    The answer to a write got lost after it took effect: the next attempt finds it.
    """
    world.desk.trouble["written"] = [UnknownOutcome("cut")]
    runner = world.runner()
    waiting = await world.run(runner, ticket())
    await world.resume(runner)
    detail = await world.ledger.detail(waiting.run.run)

    assert (waiting.run.state, waiting.run.reason) == ("waiting", "retry")
    assert detail.run.verdict == "delivered"
    assert len(world.desk.notes) == 1
    assert world.model.asked == 1


async def test_a_blind_write_of_unknown_outcome_is_parked(world: Any, ticket: Any) -> None:
    """
    Nobody can look: the run stands aside for a person, and later events of the record run.
    """
    world.desk.idempotency, world.desk.findable = "blind", False
    world.desk.trouble["written"] = [UnknownOutcome("cut")]
    runner = world.runner()
    first = await world.run(runner, ticket("1"))
    await world.resume(runner)
    first = await world.ledger.detail(first.run.run)
    world.model.says = {"summary": "Another."}
    second = await world.run(runner, ticket("2"))

    assert (first.run.state, first.run.reason) == ("aside", "parked")
    assert second.run.verdict == "delivered"
    assert [note[2] for note in world.desk.notes] == ["Parcel lost.", "Another."]


async def test_an_optional_section_may_fail_and_says_so(world: Any, ticket: Any) -> None:
    """
    An optional lookup that finds nothing leaves an empty section; a needed one kills the event.
    """
    world.desk.customers.clear()
    optional = {**SECTIONS, "customer": {**SECTIONS["customer"], "optional": True}}
    fine = await world.run(world.runner(context__sections=optional), ticket("1"))
    dead = await world.run(world.runner(context__sections=SECTIONS), ticket("2"))

    assert fine.run.verdict == "delivered"
    assert (dead.run.verdict, dead.run.error) == ("dead", "no customer '9'")


async def test_a_refused_write_is_dead_at_once(world: Any, ticket: Any) -> None:
    """
    What the system will never accept is not tried again.
    """
    world.desk.trouble["write"] = [Rejected("422: too long")]
    detail = await world.run(world.runner(), ticket())

    assert (detail.run.verdict, detail.run.error) == ("dead", "422: too long")


async def test_attempts_are_counted_and_end(world: Any, ticket: Any) -> None:
    """
    The event's own errors use up `on_error.retry`; then it is dead and says how often it was tried.
    """
    world.desk.trouble["write"] = [Conflict("changed")] * 5
    runner = world.runner(on_error={"retry": 2})
    detail = await world.run(runner, ticket())
    while detail.run.state == "waiting":
        await world.resume(runner)
        detail = await world.ledger.detail(detail.run.run)

    assert (detail.run.verdict, detail.run.error) == ("dead", "changed (tried 3 times)")
    assert world.desk.calls.count("write") == 3


@pytest.mark.parametrize(
    ("error", "verdict"),
    [
        (OverBudget("0.02 USD a day is spent"), "over-budget"),
        (AIError("no", error_class="content_policy"), "refused"),
        (AIError("wrong twice", error_class="invalid_output"), "dead"),
    ],
)
async def test_what_the_model_layer_says_becomes_the_verdict(
    world: Any, ticket: Any, error: BaseException, verdict: str
) -> None:
    """
    Over budget, refused by a policy, unusable: final at once, with the reason.
    """
    world.model.trouble = [error]
    detail = await world.run(world.runner(), ticket())

    assert (detail.run.verdict, detail.run.error) == (verdict, str(error))


async def test_an_unforeseen_error_is_an_attempt_not_a_loss(world: Any, ticket: Any) -> None:
    """
    A bug of ours on one event is retried, then dead, and says what it was.
    """
    world.desk.trouble["write"] = [ZeroDivisionError("oops")] * 9
    world.desk.idempotency = "keyed"
    runner = world.runner(on_error={"retry": 1})
    detail = await world.run(runner, ticket())
    await world.resume(runner)
    detail = await world.ledger.detail(detail.run.run)

    assert detail.run.verdict == "dead"
    assert "ZeroDivisionError" in detail.run.error


async def test_the_tenant_is_part_of_a_runs_identity(world: Any, ticket: Any) -> None:
    """
    `who.tenant` comes from the event and separates runs.
    """
    detail = await world.run(world.runner(who={"tenant": "event.data.org_id"}), ticket())

    assert detail.run.tenant == "9"


async def test_an_event_that_breaks_the_judge_is_dead(world: Any, ticket: Any) -> None:
    """
    A bug of ours in front of the claim costs one event, not the pipeline.
    """

    def broken(_event: Any) -> str:
        raise ZeroDivisionError("oops")

    world.desk.own = broken
    detail = await world.run(world.runner(), ticket("77"))

    assert detail.run.verdict == "dead"
    assert "event 77: unforeseen ZeroDivisionError" in detail.run.error


async def test_changed_that_is_no_list_of_names_is_filtered(world: Any, ticket: Any) -> None:
    """
    Whatever `changed` holds, nothing of it is a name we wait for.
    """
    for number, changed in enumerate((5, "priority", [{"name": "priority"}])):
        data = {"id": "35", "changed": changed}
        detail = await world.run(world.runner(trigger__changed=["priority"]), ticket(str(number), data=data))
        assert detail.run.verdict == "filtered"


async def test_an_error_with_half_a_character_can_be_kept(world: Any, ticket: Any) -> None:
    """
    What a system says about its failure may be no text at all.
    """
    world.desk.trouble["write"] = [Rejected("422: \ud83d")]
    detail = await world.run(world.runner(), ticket())

    assert (detail.run.verdict, detail.run.error) == ("dead", "422: ?")


@pytest.mark.parametrize(
    ("who", "user"),
    [("event.data.org_id", "9"), ("event.data.missing", ""), ("event.data.nothing", ""), ("event.data.long", 32)],
)
async def test_a_run_says_for_whom_it_is(world: Any, ticket: Any, who: str, user: Any) -> None:
    """
    As `who.user` has it: empty where it is null or not there, the hash of a name that is too long.
    """
    event = ticket(data={"org_id": "9", "nothing": None, "long": "x" * 5000})

    offered = world.runner(who={"user": who}).offer(event)

    assert user in (offered.user, len(offered.user))
    assert world.runner().offer(event).user == ""
