"""
What can be told of a JSON Schema without an answer.
"""

from __future__ import annotations

import pytest

from pipelines.schema_paths import is_listed

SCHEMA = {
    "$defs": {"mood": {"enum": ["calm", "angry"]}, "round": {"$ref": "#/$defs/round"}},
    "properties": {
        "mood": {"$ref": "#/$defs/mood"},
        "moods": {"type": "array", "items": {"$ref": "#/$defs/mood"}},
        "one": {"const": "vip"},
        "maybe": {"anyOf": [{"enum": ["a"]}, {"type": "null"}]},
        "flag": {"type": ["boolean", "null"]},
        "size": {"type": "number"},
        "text": {"type": "string", "pattern": "^a$"},
        "texts": {"type": "array", "items": {"type": "string"}},
        "items": {"type": "array"},
        "either": {"oneOf": [{"enum": ["a"]}, {"type": "string"}]},
        "open": {},
        "round": {"$ref": "#/$defs/round"},
        "inner": {"type": "object", "properties": {"mood": {"$ref": "#/$defs/mood"}}},
    },
}


@pytest.mark.parametrize("path", ["mood", "moods", "one", "maybe", "flag", "size", "inner.mood"])
def test_what_is_listed(path: str) -> None:
    """
    An enumeration, a constant, a number, a switch, and lists and choices of these.
    """
    assert is_listed(SCHEMA, path.split("."))


@pytest.mark.parametrize(
    "path", ["text", "texts", "items", "either", "open", "round", "inner", "absent", "inner.absent"]
)
def test_what_is_not(path: str) -> None:
    """
    Whatever a model could put words of its own into.
    """
    assert not is_listed(SCHEMA, path.split("."))
    assert not is_listed(None, path.split("."))
