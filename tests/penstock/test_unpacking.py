"""
Packed answers: every honest one is read, and none costs more than its cap.
"""

from __future__ import annotations

import gzip
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.http_aiohttp import MEMBERS, _unpacked

CAP = 1000


@given(st.lists(st.binary(max_size=400), min_size=1, max_size=8), st.integers(0, CAP))
def test_honest_answers_are_read_or_too_large(parts: list[bytes], cap: int) -> None:
    """
    One member or several unpack to what was packed, as long as that is within the cap.
    """
    whole = b"".join(parts)
    packed = b"".join(gzip.compress(part) for part in parts)

    if len(whole) <= cap:
        assert whole == _unpacked(packed, cap)
    else:
        with pytest.raises(ValueError, match=f"more than {cap} bytes once unpacked"):
            _unpacked(packed, cap)


@given(st.binary(min_size=1, max_size=500), st.data())
def test_an_answer_that_breaks_off_is_none(content: bytes, data: st.DataObject) -> None:
    """
    A packed answer cut anywhere is an error, never a shorter answer.
    """
    packed = gzip.compress(content)
    cut = data.draw(st.integers(1, len(packed) - 1))

    with pytest.raises((ValueError, zlib.error)):
        _unpacked(packed[:cut], CAP)


@given(st.binary(min_size=1, max_size=100))
def test_rubbish_is_an_error(rubbish: bytes) -> None:
    """
    What only claims to be packed is refused.
    """
    with pytest.raises((ValueError, zlib.error)):
        _unpacked(b"\0" + rubbish, CAP)


def test_very_many_empty_members_are_refused() -> None:
    """
    Members that unpack to nothing cannot keep us busy: each one costs a copy of the rest.
    """
    packed = gzip.compress(b"") * (MEMBERS + 1)

    with pytest.raises(ValueError, match="more than 100 parts"):
        _unpacked(packed, CAP)


def test_no_answer_is_no_answer() -> None:
    """
    An empty body, as of 204 or HEAD, needs no unpacking.
    """
    assert b"" == _unpacked(b"", CAP)
