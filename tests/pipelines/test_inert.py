"""
What an answer says stays text in every system it is written to.
"""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.inert import inert

STRUCTURE = re.compile(r"</?[A-Za-z]|<!|<\?|\{\{|\{%|\{#")


@pytest.mark.parametrize(
    ("said", "written"),
    [
        ("<img src=x>", "< img src=x>"),
        ("a </b> <!-- c --> <?php", "a < /b> < !-- c --> < ?php"),
        ("{{{x}}} {% raw %} {# c #}", "{ { {x}}} { % raw %} { # c #}"),
        ("<<b>", "<< b>"),
        ("1 < 2, a<5 and {x} <- y", "1 < 2, a<5 and {x} <- y"),
        ("Grüße, 100 % sure", "Grüße, 100 % sure"),
        ({"a": ["<b>", 1, None, True], "c": {"d": "{{"}}, {"a": ["< b>", 1, None, True], "c": {"d": "{ {"}}),
    ],
)
def test_what_would_open_something_opens_nothing(said: Any, written: Any) -> None:
    """
    Tags, comments and placeholders lose their first sign; all other text stays as it is.
    """
    assert inert(said) == written


@given(st.text(alphabet="<>{}%#!?/ab \n", max_size=40))
def test_nothing_opens_whatever_is_said(said: str) -> None:
    """
    No text has structure afterwards, and nothing but spaces was added.
    """
    written = inert(said)

    assert STRUCTURE.search(written) is None
    assert written.replace(" ", "") == said.replace(" ", "")
    assert inert(written) == written
