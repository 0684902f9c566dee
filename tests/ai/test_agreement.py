"""
Agreement: what of two answers is compared, and when they are the same.
"""

from __future__ import annotations

from typing import Any

import pytest

from ai.agreement import Comparison
from ai.output import OutputSchema

MOOD = {"enum": ["calm", "angry"]}
SURE = {"type": "number"}
FREE = {"type": "string"}


def comparison(scores: tuple[str, ...] = ("confidence",), **properties: Any) -> Comparison:
    """
    Return what can be compared of an object with these properties.
    """
    schema = {"type": "object", "additionalProperties": False, "properties": properties}
    return Comparison(output=OutputSchema(name="x", schema=schema), scores=[(name,) for name in scores])


@pytest.mark.parametrize(
    ("schema", "one", "other", "agree"),
    [
        (MOOD, "calm", "calm", True),
        (MOOD, "calm", "angry", False),
        ({"enum": [1, 2]}, 1, 2, False),
        ({"const": "x"}, "x", "x", True),
        ({"type": "boolean"}, True, False, False),
        ({"type": ["boolean", "integer"]}, True, 1, False),  # true is not 1
        ({"type": "integer"}, 3, 3, True),
        ({"type": "number"}, 3, 3.0, True),
        ({"type": "number"}, 3.1, 3.2, False),
        ({"type": "string", "maxLength": 64}, "Mira  Hale", "mira hale ", True),
        ({"type": "string", "maxLength": 64}, "Zoe\u0308", "Zo\u00eb", True),  # composed and not
        ({"type": "string", "maxLength": 64}, "Mira", "Nadia", False),
        ({"type": "string", "pattern": "^ORD-"}, "ORD-1", "ORD-2", False),
        ({"type": "string", "format": "date"}, "2026-11-24", "2026-11-25", False),
        ({"type": ["string", "null"], "maxLength": 20}, None, "x", False),
        ({"anyOf": [MOOD, {"type": "null"}]}, "calm", None, False),
        ({"type": "array", "items": MOOD}, ["calm", "angry"], ["angry", "calm"], True),
        ({"type": "array", "items": MOOD}, ["calm"], ["calm", "calm"], False),
        ({"type": "array", "items": {"type": "integer"}}, [1, 2], [2, 3], False),
    ],
)
def test_a_field_is_compared(schema: Any, one: Any, other: Any, agree: bool) -> None:
    """
    Exactly, or as a short text; an array in any order.
    """
    found = comparison(it=schema)

    assert found.fields == ("it",)
    assert found.agree({"it": one}, {"it": other}) is agree


@pytest.mark.parametrize(
    "schema",
    [
        FREE,
        {"type": "string", "maxLength": 65},
        {"type": ["string", "null"]},
        {"anyOf": [MOOD, FREE]},
        {"type": "array", "items": FREE},
        {"type": "array"},
        {"type": "object", "properties": {"text": FREE}},
        {"type": ["array", "boolean"], "items": MOOD},
        {},
    ],
)
def test_free_text_is_not_compared(schema: Any) -> None:
    """
    A field of it counts for nothing, and a schema of nothing else cannot be compared.
    """
    assert comparison(it=schema).fields == ()
    assert comparison(it=schema, mood=MOOD).agree({"it": "a", "mood": "calm"}, {"it": "b", "mood": "calm"})


def test_objects_are_compared_by_their_fields() -> None:
    """
    Also through a reference, and in the items of an array; one that is left out in both is the same.
    """
    part = {"type": "object", "properties": {"sku": {"type": "string", "maxLength": 20}, "why": FREE}}
    schema = {
        "type": "object",
        "$defs": {"part": part},
        "properties": {
            "first": {"$ref": "#/$defs/part"},
            "parts": {"type": "array", "items": {"$ref": "#/$defs/part"}},
        },
    }
    found = Comparison(output=OutputSchema(name="x", schema=schema))

    assert found.fields == ("first.sku", "parts")
    assert found.agree({"first": {"sku": "A", "why": "x"}}, {"first": {"sku": "a", "why": "y"}})
    assert not found.agree({"first": {"sku": "A"}}, {"first": {}})
    assert not found.agree({"first": {"sku": "A"}}, {})
    assert found.agree({"parts": [{"sku": "A"}, {"sku": "B"}]}, {"parts": [{"sku": "b", "why": "y"}, {"sku": "a"}]})
    assert not found.agree({"parts": [{"sku": "A"}]}, {"parts": [{"sku": "B"}]})


def test_a_schema_that_contains_itself_is_compared_as_far_as_it_goes() -> None:
    """
    Levels are counted: no schema goes on for ever.
    """
    schema = {"type": "object", "properties": {"mood": MOOD, "next": {"$ref": "#"}}}
    found = Comparison(output=OutputSchema(name="x", schema=schema))

    assert found.fields[:2] == ("mood", "next.mood")
    assert not found.agree({"mood": "calm", "next": {"mood": "calm"}}, {"mood": "calm", "next": {"mood": "angry"}})


def test_how_sure_an_answer_is_is_not_compared() -> None:
    """
    The numbers that are named as scores are left out, and given; an enum of that name is no score.
    """
    found = comparison(("confidence", "mood"), mood=MOOD, confidence=SURE)

    assert found.fields == ("mood",)
    assert found.agree({"mood": "calm", "confidence": 0.9}, {"mood": "calm", "confidence": 0.4})
    assert found.scores_of({"mood": "calm", "confidence": 0.9}) == {"output.confidence": 0.9}
    assert found.scores_of({"mood": "calm"}) == {}
    assert found.scores_of({"confidence": True}) == {}
    assert comparison((), confidence=SURE).fields == ("confidence",)
