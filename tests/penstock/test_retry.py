"""
Decisions about waiting: how long, and when no more.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from penstock.retry import LONGEST_ASKED, Backoff, parse_retry_after

NOW = datetime(2026, 11, 24, 9, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("attempt", "longest"),
    [(1, 2.0), (2, 4.0), (3, 8.0), (4, 16.0), (5, 30.0), (6, 30.0), (7, None), (1000, None)],
)
def test_waits_double_up_to_the_last(attempt: int, longest: float | None) -> None:
    """Each wait is at most twice the one before, never above `last`; then it is given up."""
    policy = Backoff(first=2.0, last=30.0, attempts=6)

    assert longest == policy.decide(attempt, random=lambda: 1.0)


def test_the_whole_wait_is_jitter() -> None:
    """Full jitter: a wait is anywhere between nothing and its longest."""
    policy = Backoff(first=2.0, last=60.0, attempts=4)

    assert [0.0, 2.0, 4.0] == [policy.decide(2, random=lambda share=share: share) for share in (0.0, 0.5, 1.0)]


def test_an_unlimited_number_of_attempts_does_not_overflow() -> None:
    """The ten-thousandth wait is as long as the last one."""
    assert Backoff(first=2.0, last=60.0, attempts=100_000).decide(10_000, random=lambda: 1.0) == 60.0


@pytest.mark.parametrize(
    ("asked", "least", "most"),
    [
        (0.0, 0.0, 2.0),
        (30.0, 30.0, 32.0),
        (300.0, 300.0, 302.0),
        (-5.0, 0.0, 2.0),
        (9e9, LONGEST_ASKED, LONGEST_ASKED + 2),
    ],
)
def test_what_the_system_asks_for_is_waited_out(asked: float, least: float, most: float) -> None:
    """A wait asked for is honoured, also above `last`, up to an hour, with a little jitter on top."""
    policy = Backoff(first=2.0, last=60.0, attempts=4)

    assert [least, most] == [policy.decide(1, asked, random=lambda share=share: share) for share in (0.0, 1.0)]


def test_no_attempt_is_left_even_when_asked_to_wait() -> None:
    """Being asked to wait does not add attempts."""
    assert Backoff(attempts=0).decide(1, 5.0) is None


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("120", 120.0),
        (" 7 ", 7.0),
        ("1.5", 1.5),
        ("0", 0.0),
        (format_datetime(NOW + timedelta(seconds=90), usegmt=True), 90.0),
        ("Tue, 24 Nov 2026 08:00:00 GMT", 0.0),  # in the past
        ("Tuesday, 24-Nov-26 09:01:00 GMT", 60.0),  # obsolete, and still sent
        ("Tue Nov 24 09:01:00 2026", 60.0),
        (None, None),
        ("", None),
        ("-1", None),
        ("nan", None),
        ("inf", None),
        ("1e9", None),
        ("soon", None),
        ("9" * 5000, None),
        ("Tue, 99 Nov 2026 08:00:00 GMT", None),
        ("Tue, 24 Nov 99999999 08:00:00 GMT", None),
        ("٣", None),  # a digit, and none that HTTP knows
        ("Tue, " * 1000, None),
    ],
)
def test_retry_after_is_a_number_or_a_date(value: str | None, seconds: float | None) -> None:
    """Both forms of the header are read; anything else is as if it were not there."""
    assert seconds == parse_retry_after(value, NOW)
