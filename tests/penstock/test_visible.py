"""
Text as a person sees it.
"""

from __future__ import annotations

import pytest

from penstock.visible import in_sight, visible


@pytest.mark.parametrize(
    ("written", "seen"),
    [
        ("ev\u200bil\u00ad.ex\u2060ample", "evil.example"),
        ("\u202egpj.exe\u202c", "gpj.exe"),
        ("a\u00a0b\u3000c", "a b c"),
        ("\U000e0069\U000e0067nore", "nore"),
        ("u\u0308", "ü"),
        ("\x1b[31mred\x07", "[31mred"),
        ("Grüße, 日本語, 100 %", "Grüße, 日本語, 100 %"),
    ],
)
def test_what_shows_nothing_is_gone(written: str, seen: str) -> None:
    """
    Characters without a picture go, spaces are spaces, letters are composed; all other text stays.
    """
    assert visible(written) == seen
    assert visible(seen) == seen


def test_data_is_in_sight_with_its_names() -> None:
    """
    Every text of JSON data is looked at, names among them, and every line end is a newline.
    """
    assert in_sight({"a\u200b": ["x\r\ny", 1, None, True]}) == {"a": ["x\ny", 1, None, True]}
