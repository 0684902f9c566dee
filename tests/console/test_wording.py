"""
Amounts, times and bars as people read them.
"""

from __future__ import annotations

import pytest

from console.cli import wording
from penstock.errors import Invalid

NOW = 1_795_500_000_000  # 2026-11-24T06:00:00Z


@pytest.mark.parametrize(
    ("micro", "text"),
    [(0, "$0"), (310, "$0.00031"), (12_500_000, "$12.50"), (1, "$0.000001"), (2_000_000_000, "$2,000.00")],
)
def test_money_keeps_every_digit_that_counts(micro: int, text: str) -> None:
    """
    Micro-USD are shown exactly, and never with fewer than two decimals.
    """
    assert text == wording.money(micro)


@pytest.mark.parametrize(("ms", "text"), [(85, "85 ms"), (2_400, "2.4 s"), (180_000, "3 min"), (7_560_000, "2.1 h")])
def test_durations_read_as_people_say_them(ms: int, text: str) -> None:
    """
    A span has the unit that makes it a small number.
    """
    assert text == wording.duration(ms)


@pytest.mark.parametrize(
    ("part", "whole", "shown"),
    [
        (50, 100, "█████░░░░░"),
        (100, 100, "██████████"),
        (99, 100, "██████████"),
        (70, 100_000, "███████░░░"),  # what did not fit on the scale is not shown longer than it
        (1, 100_000, "█░░░░░░░░░"),  # something kept is never shown as nothing
        (0, 100, "░░░░░░░░░░"),
        (0, 0, ""),
    ],
)
def test_a_bar_is_filled_by_what_was_kept(part: int, whole: int, shown: str) -> None:
    """
    The bar is as long as what was wanted, at most the scale, and filled by what was kept.
    """
    assert shown == wording.bar(part, whole, 100, width=10)


@pytest.mark.parametrize(
    ("text", "ms"),
    [
        ("2h", NOW - 7_200_000),
        ("7d", NOW - 604_800_000),
        ("2026-11-24", 1_795_478_400_000),
        ("2026-11-24T01:00:00+01:00", 1_795_478_400_000),
    ],
)
def test_since_takes_spans_and_dates(text: str, ms: int) -> None:
    """
    A span counts back from now; a date without a zone is UTC.
    """
    assert ms == wording.since(text, NOW)


def test_since_refuses_what_it_cannot_read() -> None:
    """
    Neither a span nor a date says what would be one.
    """
    with pytest.raises(Invalid, match="write 90m, 2h"):
        wording.since("yesterday", NOW)
