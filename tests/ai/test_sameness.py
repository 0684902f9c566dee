"""
When two questions are the same: never across tenants, pipelines, configurations or texts; always whatever the nonce.
"""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ai.sameness import key, out_of_time
from schemas.entries import Prompt

NONCE = "123456789012"
WORDS = st.text(st.characters(codec="utf-8", exclude_categories=("Cc", "Cs")), max_size=40)
PARTS = st.fixed_dictionaries(
    {
        "system": WORDS,
        "user": WORDS,
        "tenant": WORDS,
        "pipeline": WORDS,
        "asked": WORDS,
        "match": st.sampled_from(["exact", "normalised"]),
    }
)
NONCES = st.from_regex(r"\A[0-9]{12}\Z")


def keyed(user: str = "", *, system: str = "Summarise.", nonce: str = NONCE, match: Any = "exact", **more: str) -> str:
    who = {"tenant": "acme", "pipeline": "p", "asked": "h"} | more
    return key(Prompt(system=system, user=user, tokens=1, nonce=nonce), match=match, **who)


def near(text: str) -> str:
    return keyed(text, match="normalised")


@given(PARTS, PARTS)
def test_other_parts_are_another_key(one: dict[str, Any], other: dict[str, Any]) -> None:
    """
    Exactly equal parts make equal keys; whatever moves from one part to the next makes another.
    """
    one["match"] = other["match"] = "exact"

    assert (keyed(**one) == keyed(**other)) == (one == other)


@given(PARTS, WORDS, NONCES, NONCES)
def test_only_the_nonce_is_left_out(parts: dict[str, Any], body: str, one: str, other: str) -> None:
    """
    The same text in the frames of two runs is one question.
    """

    def framed(nonce: str) -> str:
        return f"<ticket {nonce}>\n{body.replace(one, '').replace(other, '')}\n</ticket {nonce}>\n"

    rest = {name: value for name, value in parts.items() if name != "user"}

    assert keyed(framed(one), nonce=one, **rest) == keyed(framed(other), nonce=other, **rest)
    assert keyed(framed(one), nonce=one, **rest) != keyed(framed(one) + "!", nonce=one, **rest)


@pytest.mark.parametrize("name", ["tenant", "pipeline", "asked", "system"])
@pytest.mark.parametrize("match", ["exact", "normalised"])
def test_nothing_is_shared(name: str, match: Any) -> None:
    """
    Another tenant, pipeline, configuration or instruction never gets an answer, nearly the same or not.
    """
    assert keyed("Where is it?", match=match) != keyed("Where is it?", match=match, **{name: "other"})


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("My parcel is lost.", "My   parcel\n\nis lost. "),
        ("caf\u00e9", "cafe\u0301"),
        ("at 2026-11-26T13:01:36Z", "at 2026-11-27T08:00:00.123Z"),
        ("at 2026-11-26 13:01:36 +0100", "at 2026-11-26 13:01:36+01:00"),
        ("Date: Thu, 26 Nov 2026 13:01:36 +0000", "Date: Fri, 27 Nov 2026 09:10:11 +0000"),
        ("trace 550e8400-e29b-41d4-a716-446655440000", "trace 123e4567-e89b-12d3-a456-426614174000"),
        ("Message-ID: <a.1@mail.example> Hi", "Message-ID: <b.2@mail.example> Hi"),
    ],
)
def test_nearly_the_same(one: str, other: str) -> None:
    """
    What machines write anew each time makes no other question, where a pipeline wants it so.
    """
    assert near(one) == near(other)
    assert keyed(one) != keyed(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Cancel order 4711.", "Cancel order 4712."),
        ("It is 40.00 EUR.", "It is 400.0 EUR."),
        ("Due on 2026-11-26.", "Due on 2026-11-27."),
        ("We meet at 13:01.", "We meet at 14:01."),
        ("HELP us", "help US"),
        ("Yes.\n> Shall we refund?", "Yes.\n> Shall we cancel?"),
        ("Nadia <nadia@shop.example>", "Nadia <nadia@other.example>"),
        ("refund me", "re fund me"),
    ],
)
def test_what_people_say_is_never_the_same(one: str, other: str) -> None:
    """
    Numbers, dates, times of day without seconds, letter case, quoted text and addresses tell questions apart.
    """
    assert near(one) != near(other)


@pytest.mark.parametrize("said", ["It broke at 13:01.", "It broke at 1 PM.", "13:01:36 was the time."])
def test_an_answer_from_another_time(said: str) -> None:
    """
    A time of day in an answer has to be one of this question's.
    """
    assert out_of_time({"summary": said}, "down since 2026-11-26T15:22:09Z")
    assert not out_of_time({"summary": said}, f"they say: {said}")
    assert not out_of_time({"summary": "It broke.", "confidence": 0.5, "ratio": 12}, "")
