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

STRUCTURE = re.compile(r"</?[A-Za-z]|<!|<\?|\{\{|\{%|\{#|!\[|\]\(|(?<!\w)@\w|&#\d|penstock:\S", re.IGNORECASE)


@pytest.mark.parametrize(
    ("said", "written"),
    [
        ("<img src=x>", "< img src=x>"),
        ("a </b> <!-- c --> <?php", "a < /b> < !-- c --> < ?php"),
        ("{{{x}}} {% raw %} {# c #}", "{ { {x}}} { % raw %} { # c #}"),
        ("<<b>", "<< b>"),
        ("![x](https://a.example/i) [x](/out) [x](https://a.example)", "! [x](https://a.example/i) [x] (/out) [x](https://a.example)"),
        ("[x]: evil\n[y]: https://a.example", "[x] : evil\n[y]: https://a.example"),
        ("[x](<javascript:go>) &#64;all &lt; AT&T", "[x] (< javascript:go>) & #64;all & lt; AT&T"),
        ("@all (@ann) a@b.example https://a.example/@ann x/@ann", "@ all (@ ann) a@b.example https://a.example/@ann x/@ ann"),
        ("<!channel> <@U1> <#C1> {!Account.Name} <%= x %>", "< !channel> < @ U1> < #C1> { !Account.Name} < %= x %>"),
        ("/approve\n  /close now\n/etc/hosts and/or", "/ approve\n  / close now\n/etc/hosts and/or"),
        ("[penstock:0123] [~ann] [^1]", "[penstock :0123] [ ~ann] [ ^1]"),
        ("see penstock:ab12:cd34, pen\u200bstock:x and Penstock: a hub", "see penstock :ab12:cd34, penstock :x and Penstock: a hub"),
        ("ze\u200bro\u202e", "zero"),
        ({"<b>": "<b>"}, {"< b>": "< b>"}),
        ("1 < 2, a<5 and {x} <- y", "1 < 2, a<5 and {x} <- y"),
        ("Grüße, 100 % sure", "Grüße, 100 % sure"),
        ({"a": ["<b>", 1, None, True], "c": {"d": "{{"}}, {"a": ["< b>", 1, None, True], "c": {"d": "{ {"}}),
    ],
)  # fmt: skip
def test_what_would_open_something_opens_nothing(said: Any, written: Any) -> None:
    """
    Tags, comments and placeholders lose their first sign; all other text stays as it is.
    """
    assert inert(said) == written


@given(st.text(alphabet="<>{}%#!?/ab@[]()&1 \n", max_size=40))
def test_nothing_opens_whatever_is_said(said: str) -> None:
    """
    No text has structure afterwards, and nothing but spaces was added.
    """
    written = inert(said)

    assert STRUCTURE.search(written) is None
    assert written.replace(" ", "") == said.replace(" ", "")
    assert inert(written) == written
