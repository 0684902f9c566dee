"""
An expectation finds everything that is not as it says, and nothing else.
"""

from __future__ import annotations

from typing import Any

import pytest

from pipelines.testing import Expected, Outcome, Performed, compare
from schemas.entries import Prompt, Receipt, SectionReceipt


def section(name: str, wanted: int, kept: int) -> SectionReceipt:
    """
    Return the receipt of one section.
    """
    return SectionReceipt(
        name=name,
        priority=1,
        floor=0,
        ceiling=None,
        wanted=wanted,
        kept=kept,
        units=4,
        units_kept=2,
        unit="records",
        cut="end",
    )


OUTCOME = Outcome(
    verdict="delivered",
    why="as planned",
    prompt=Prompt(system="You brief agents.", user="Parcel 88-2047 is lost.", tokens=12),
    receipt=Receipt(
        budget=2000,
        used=900,
        instructions=100,
        sections=(section("all", 10, 10), section("some", 20, 5), section("none", 20, 0), section("nil", 0, 0)),
    ),
    actions=(Performed(to="helpdesk.note", record="4711", text="A parcel is lost.", fields={"mood": "angry"}),),
    cost=1500,
    calls=1,
)


@pytest.mark.parametrize(
    "words",
    [
        {},
        {"verdict": "delivered", "because": "planned"},
        {"sections": {"all": "kept", "some": "cut", "none": "dropped", "nil": "empty"}},
        {"prompt_contains": "88-2047", "prompt_lacks": ["secret"]},
        {"prompt_contains": ["You brief", "lost"]},
        {"tokens_at_most": 900},
        {
            "actions": [
                {"to": "helpdesk.note", "record": "4711", "text_contains": "parcel", "fields": {"mood": "angry"}}
            ]
        },
        {"spend_at_most": "0.0015 USD", "calls": 1},
    ],
)
def test_what_is_as_expected_passes(words: dict[str, Any]) -> None:
    """
    An outcome that fits has no mismatch.
    """
    assert [] == compare(Expected.model_validate(words), OUTCOME)


@pytest.mark.parametrize(
    ("words", "what", "actual"),
    [
        ({"verdict": "filtered"}, "verdict", "delivered (as planned)"),
        ({"because": "spam"}, "because", "delivered (as planned)"),
        ({"sections": {"some": "kept"}}, "sections.some", "cut"),
        ({"sections": {"other": "kept"}}, "sections.other", "not assembled"),
        ({"prompt_contains": "found"}, "prompt_contains", repr("You brief agents.\nParcel 88-2047 is lost.")),
        ({"prompt_lacks": "lost"}, "prompt_lacks", repr("You brief agents.\nParcel 88-2047 is lost.")),
        ({"tokens_at_most": 899}, "tokens_at_most", "900"),
        ({"actions": []}, "actions", "helpdesk.note on 4711"),
        ({"actions": [{"to": "helpdesk.other"}]}, "actions[0].to", "helpdesk.note"),
        ({"actions": [{"to": "helpdesk.note", "record": "1"}]}, "actions[0].record", "4711"),
        ({"actions": [{"to": "helpdesk.note", "text_lacks": "lost"}]}, "actions[0].text_lacks", "'A parcel is lost.'"),
        ({"actions": [{"to": "helpdesk.note", "fields": {"mood": "calm"}}]}, "actions[0].fields.mood", "'angry'"),
        ({"actions": [{"to": "helpdesk.note", "fields": {"tier": 1}}]}, "actions[0].fields.tier", "not set"),
        ({"spend_at_most": "0.0014 USD"}, "spend_at_most", "0.001500 USD"),
        ({"calls": 0}, "calls", "1"),
    ],
)
def test_what_is_not_as_expected_is_named(words: dict[str, Any], what: str, actual: str) -> None:
    """
    Each kind of mismatch names what it is about and what was there instead.
    """
    (mismatch,) = compare(Expected.model_validate(words), OUTCOME)

    assert (what, actual) == (mismatch.what, mismatch.actual)
