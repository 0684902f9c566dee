"""
What a frame costs does not hang on its digits.
"""

from __future__ import annotations

import pytest

from ai import tokens
from pipelines.framing import Frame, nonce


@pytest.mark.parametrize("name", ["ticket", "previous_tickets", "crm-record", "a"])
def test_any_digits_cost_the_same(name: str) -> None:
    """Whatever three digits stand anywhere, the lines are counted as the vocabulary counts them."""
    plain = Frame(name)
    assert plain.tokens == tokens.count(plain.first) + tokens.count(plain.last)
    for three in range(1000):
        other = f"{(three * 7919) % 1000:03d}"
        framed = Frame(name, f"{three:03d}{other}{three:03d}{other}")
        assert framed.tokens == tokens.count(framed.first) + tokens.count(framed.last)


def test_a_nonce_is_framed_as_it_is() -> None:
    """The digits of a run are those its frame is counted with."""
    framed = Frame("ticket", nonce(b"secret", "1f"))

    assert framed.tokens == tokens.count(framed.first) + tokens.count(framed.last)
