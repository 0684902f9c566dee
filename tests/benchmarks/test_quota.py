"""
The meter counts as it says, and whoever goes too fast or too slow is seen.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.quota.__main__ import CONTENDERS, ENDS, HALVED_AT, Contender, results
from benchmarks.quota.meter import MINUTE, Account

FIXED = Contender(name="one", kind="fixed")
HALVED = Contender(name="two", kind="sliding", halved=True)


def log(folder: Path, lines: list[tuple[str, float, int]]) -> Path:
    file = folder / "calls.log"
    file.write_text("".join(f"{name} {at:.4f} {status} 500\n" for name, at, status in lines))
    return file


def evenly(name: str, per_minute: float, first: float, last: float) -> list[tuple[str, float, int]]:
    count = int((last - first) / 60 * per_minute)
    return [(name, first + number * (last - first) / count, 200) for number in range(count)]


def test_minutes_of_the_clock() -> None:
    """What was used is forgotten when the next minute begins, and not before."""
    account = Account(kind="fixed", requests=2, tokens=1000)
    assert [account.take(at, 100) for at in (50.0, 51.0)] == [0, 0]
    assert account.take(52.0, 100) == pytest.approx(8)
    assert account.take(60.0, 100) == 0
    assert account.said(60.0)["x-ratelimit-remaining-requests"] == "1"


def test_the_last_sixty_seconds() -> None:
    """A call fits when enough of the older ones are a minute old."""
    account = Account(kind="sliding", requests=10, tokens=1000)
    assert [account.take(at, 400) for at in (10.0, 20.0)] == [0, 0]
    assert account.take(30.0, 400) == pytest.approx(40)
    assert account.take(30.0, 800) == pytest.approx(50)
    assert account.take(70.1, 400) == 0


def test_who_keeps_the_pace_meets_the_aims(tmp_path: Path) -> None:
    """Ninety-seven percent of the quota, none refused; of a halved one, half of that from soon after it has room."""
    calls = evenly("one", 582, 0, ENDS)
    calls += evenly("two", 582, 0, HALVED_AT) + evenly("two", 291, HALVED_AT + 33, ENDS)
    one, two = results((FIXED, HALVED), log(tmp_path, calls))

    assert one.met
    assert min(one.use) == pytest.approx(0.97, abs=0.002)
    assert two.met
    assert two.recovered is not None and two.recovered <= 5


@pytest.mark.parametrize("wrong", ["slow", "refused", "late"])
def test_who_does_not_misses_them(tmp_path: Path, wrong: str) -> None:
    """Too little of the quota in one minute, more than one call in a hundred refused, or back too late."""
    calls = evenly("one", 582, 0, ENDS)
    two = evenly("two", 582, 0, HALVED_AT) + evenly("two", 291, HALVED_AT + (60 if wrong == "late" else 33), ENDS)
    if wrong == "slow":
        calls = [call for call in calls if not 2 * MINUTE <= call[1] < 2 * MINUTE + 2]
    if wrong == "refused":
        calls += [("one", 130.0, 429)] * 40
    found = results((FIXED, HALVED), log(tmp_path, calls + two))

    assert [each.met for each in found] == ([True, False] if wrong == "late" else [False, True])


def test_every_kind_of_meter_has_one_and_four_processes() -> None:
    """What is asked for is what runs."""
    hubs = {(each.kind, each.processes) for each in CONTENDERS if each.module == "hub"}
    assert hubs == {(kind, processes) for kind in ("fixed", "sliding") for processes in (1, 4)}
    assert len({each.account for each in CONTENDERS}) == len(CONTENDERS)
