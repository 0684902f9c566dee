"""
Rehearsals run the real engine, and a case that is wrong fails.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import pipelines
from engine.rehearsal import rehearse
from penstock.errors import Invalid
from pipelines.casebook import read_cases
from pipelines.declaration import Declaration
from pipelines.testing import Case, CaseWords, Outcome, compare

ROOT = Path(__file__).parents[2]
WORKED = [case for file in sorted((ROOT / "tests").glob("*.test.yaml")) for case in read_cases(file)]
TICKET = {
    "type": "ticket.created",
    "subject": "7",
    "data": {
        "id": "7",
        "subject": "Lost",
        "description": "Parcel 88-1 is lost.",
        "status": "new",
        "tags": [],
        "requester_id": "1",
    },
}
LOOKUPS = {"helpdesk.organization": {"not_found": True}, "helpdesk.previous_tickets": []}
ANSWER = {"summary": "Parcel 88-1 is lost.", "mood": "calm", "next_step": "Look.", "language": "en", "confidence": 0.9}


@pytest.fixture(scope="module")
def declaration() -> Declaration:
    """
    Return the worked examples.
    """
    found = pipelines.load(ROOT / "pipelines.yaml").declaration
    assert found is not None
    return found


async def play(declaration: Declaration, **words: Any) -> Outcome:
    """
    Rehearse a case of the ticket pipeline.
    """
    case = {"name": "case", "given": TICKET, "lookups": LOOKUPS, "expect": {}, **words}
    made = Case(
        pipeline="ticket-summary",
        words=CaseWords.model_validate(case),
        file=ROOT / "tests" / "x.test.yaml",
        line=3,
        expect_line=9,
    )
    return await rehearse(declaration, ROOT, made)


@pytest.mark.parametrize("case", WORKED, ids=lambda case: f"{case.pipeline}: {case.name}")
async def test_the_worked_cases_come_out_as_expected(declaration: Declaration, case: Case) -> None:
    """
    Every case beside the worked examples passes.
    """
    outcome = await rehearse(declaration, ROOT, case)

    assert [] == compare(case.words.expect, outcome)


async def test_what_the_model_says_is_what_is_written(declaration: Declaration) -> None:
    """
    The scripted answer goes through the real adapter, validation and template into the action.
    """
    outcome = await play(declaration, model_says=ANSWER)

    (note,) = outcome.actions
    assert ("helpdesk.internal_note", "7") == (note.to, note.record)
    assert "Parcel 88-1 is lost." in (note.text or "")
    assert outcome.cost > 0
    assert 1 == outcome.calls


async def test_the_same_case_costs_the_same(declaration: Declaration) -> None:
    """
    A rehearsal is deterministic.
    """
    first, second = [await play(declaration, model_says=ANSWER) for _ in range(2)]

    assert first.cost == second.cost
    assert first.receipt == second.receipt


async def test_answers_are_given_turn_by_turn(declaration: Declaration) -> None:
    """
    A list is one answer per call; the last one is repeated.
    """
    outcome = await play(declaration, model_says=[{"summary": "half"}, {"summary": "half"}])

    assert ("dead", 2) == (outcome.verdict, outcome.calls)


async def test_an_unavailable_lookup_waits(declaration: Declaration) -> None:
    """
    A connection that is down is not the event's fault: the run waits, nothing is asked.
    """
    section = declaration.pipelines["ticket-summary"].context.sections["customer"]
    needed = section.model_copy(update={"optional": False})
    outcome = await play(
        _with_section(declaration, "customer", needed),
        given={**TICKET, "data": {**TICKET["data"], "org_id": "5"}},
        lookups={**LOOKUPS, "helpdesk.organization": {"unavailable": True}},
    )

    assert ("waiting", 0, ()) == (outcome.verdict, outcome.calls, outcome.actions)


async def test_a_lookup_nobody_gives_is_named(declaration: Declaration) -> None:
    """
    A section that needs a lookup the case does not give ends dead and says which.
    """
    section = declaration.pipelines["ticket-summary"].context.sections["history"]
    needed = section.model_copy(update={"optional": False})
    outcome = await play(_with_section(declaration, "history", needed), lookups={})

    assert "dead" == outcome.verdict
    assert "helpdesk.previous_tickets" in (outcome.why or "")


async def test_a_field_the_lookup_never_gives_is_refused(declaration: Declaration) -> None:
    """
    A test must not lie: an undeclared field is an error with its place and a guess.
    """
    outcome = await play(
        declaration,
        given={**TICKET, "data": {**TICKET["data"], "org_id": "5"}},
        lookups={**LOOKUPS, "helpdesk.organization": {"nme": "x"}},
    )

    assert "dead" == outcome.verdict
    assert "x.test.yaml:3" in (outcome.why or "")
    assert "did you mean 'name'" in (outcome.why or "")


async def test_a_wrong_event_is_refused(declaration: Declaration) -> None:
    """
    An event that is no event names what is missing; an unknown sample names the ones there are.
    """
    with pytest.raises(Invalid, match="data"):
        await play(declaration, given={"type": "ticket.created", "subject": "1"})
    with pytest.raises(Invalid, match="ticket created"):
        await play(declaration, given="tickt created")


async def test_every_outcome_can_be_missed(declaration: Declaration) -> None:
    """
    An expectation that is not met is a mismatch: the worked cases could fail.
    """
    outcome = await play(declaration)
    expected = CaseWords.model_validate(
        {"name": "x", "given": "x", "expect": {"verdict": "filtered", "calls": 0, "actions": [], "tokens_at_most": 1}}
    ).expect

    assert ["verdict", "tokens_at_most", "actions", "calls"] == [each.what for each in compare(expected, outcome)]


def _with_section(declaration: Declaration, name: str, section: Any) -> Declaration:
    pipeline = declaration.pipelines["ticket-summary"]
    sections = {**pipeline.context.sections, name: section}
    context = pipeline.context.model_copy(update={"sections": sections})
    changed = pipeline.model_copy(update={"context": context})
    return declaration.model_copy(update={"pipelines": {**declaration.pipelines, "ticket-summary": changed}})
