"""
Shortcuts give what the sandbox gives, or nothing.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.errors import PenstockError
from penstock.expressions import compile_expression
from penstock.sandbox import MAX_TEXT
from penstock.shortcuts import NOTHING

PATHS = st.sampled_from(
    ["a", "b", "a.b", "a.c", "a.b.c", "a[0]", "a[1].b", "a['b']", "b[0]", "gone", "gone.b", "a.gone"]
)
CONSTANTS = st.sampled_from(["'x'", "''", "'xy'", "true", "false", "none"])
ATOMS = PATHS | CONSTANTS | PATHS.map(lambda path: f"({path} | default('x'))") | PATHS.map(lambda p: f"({p} | default)")

SLICES = ["{}[:1]", "{}[1:]", "{}[-1:]", "{}[::-1]", "{}[0:2:2]", "{}[:true]"]


def _wider(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    pairs = st.tuples(inner, st.sampled_from(["==", "!=", "in", "not in", "and", "or", "~"]), inner)
    alone = st.tuples(st.sampled_from(["not {}", "{} is none", "{} is not none", *SLICES]), inner)
    return pairs.map(lambda part: f"({' '.join(part)})") | alone.map(lambda part: f"({part[0].format(part[1])})")


EXPRESSIONS = st.recursive(ATOMS, _wider, max_leaves=6)
LEAVES = st.none() | st.booleans() | st.sampled_from(["", "x", "xy", "yx"]) | st.integers(-2, 2) | st.floats(0, 1)
VALUES = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from("bc"), inner, max_size=2),
    max_leaves=6,
)


def outcome(text: str, scope: dict[str, Any], *, quick: bool) -> Any:
    try:
        compiled = compile_expression(text)
        return True, repr((compiled if quick else replace(compiled, _shortcut=None)).evaluate(scope))
    except PenstockError as error:
        return False, str(error)


@settings(max_examples=600, deadline=None)
@given(text=EXPRESSIONS, scope=st.fixed_dictionaries({}, optional={"a": VALUES, "b": VALUES}))
def test_a_shortcut_changes_nothing(text: str, scope: dict[str, Any]) -> None:
    """
    Every expression gives the same value, or the same error, with and without its shortcut.
    """
    assert outcome(text, scope, quick=False) == outcome(text, scope, quick=True)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a.b", "x"),
        ("a.list[0]", "x"),
        ("a.gone | default('y')", "y"),
        ("a.b ~ '/' ~ a.b", "x/x"),
        ("a.b == 'x' and 'y' not in a.list", True),
        ("a.null is none or gone", True),
        ("not a.b", False),
    ],
)
def test_what_people_write_most_is_a_shortcut(text: str, expected: Any) -> None:
    """
    Paths, defaults, joined texts, comparisons and their combinations need no sandbox.
    """
    known = compile_expression(text)._shortcut
    assert known is not None

    assert expected == known({"a": {"b": "x", "list": ["x"], "null": None}})


def test_what_must_be_measured_is_left_to_the_sandbox() -> None:
    """
    A text that is too long, or grows too long, is refused as before.
    """
    known = compile_expression("a ~ a")._shortcut
    assert known is not None

    assert known({"a": "x" * MAX_TEXT}) is NOTHING
