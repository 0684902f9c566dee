"""
Rates: each event counts once, and never more start in a window than the rate allows.
"""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

import ledger
from ledger.limits import Allowed
from ledger.testing import beside
from penstock.clock import ManualClock
from penstock.errors import Fenced

HOUR = 3_600_000  # ms
MINE = Allowed(scope="pipeline:p/user=1", count=2, window_ms=HOUR)
RECORD = Allowed(scope="pipeline:p/key=7", count=1, window_ms=2 * HOUR)


@pytest.fixture
def count(book, site, make):
    """Count an event, and say in how many ms it may run."""

    async def counting(name, *rates, wait=True):
        claim = await site.claim(book, make(name, lane=name))
        return await book.count(claim, rates or [MINE], wait=wait) - site.clock.now_ms()

    return counting


async def test_events_over_the_rate_get_the_first_times_that_are_free(count):
    """Two an hour: the third and fourth start an hour later, the fifth and sixth after two."""
    assert [await count(name) for name in "abcdef"] == [0, 0, HOUR, HOUR, 2 * HOUR, 2 * HOUR]


async def test_an_event_counts_once(book, site, make):
    """Asked again at a restart, an event keeps the time it has; nothing more is counted."""
    first, second, third = [await site.claim(book, make(name, lane=name)) for name in "abc"]
    other = await beside(book)
    now = site.clock.now_ms()
    for claim in (first, second, third):
        times = {await each.count(claim, [MINE], wait=True) for each in (book, other, book)}
        assert times == {now if claim is not third else now + HOUR}


async def test_without_waiting_nothing_is_kept(count):
    """Where events over the rate end, they take no place from those that come later."""
    assert [await count(name, wait=False) for name in "abcd"] == [0, 0, HOUR, HOUR]
    assert await count("e") == HOUR


async def test_all_rates_hold_at_once(count):
    """An event waits for the slower of its rates, and counts against both from then on."""
    assert await count("a", MINE, RECORD) == 0
    assert await count("b", MINE, RECORD) == 2 * HOUR
    assert await count("c", MINE) == HOUR


async def test_the_window_moves(count, site):
    """An hour after the first there is room again."""
    assert [await count("a"), await count("b")] == [0, 0]
    await site.clock.advance(3600)

    assert await count("c") == 0


async def test_a_lost_lane_counts_nothing(book, site, make):
    """Who holds the lane no longer cannot count."""
    claim = await site.claim(book, make("a"))
    await book.finish(claim, "delivered")
    with pytest.raises(Fenced):
        await book.count(claim, [MINE], wait=True)


async def test_workers_count_together(book, site, make):
    """Events counted at once by two workers get different times."""
    workers = [book, await beside(book)]
    claims = [await site.claim(workers[n % 2], make(str(n), lane=str(n))) for n in range(20)]
    rate = Allowed(scope="r", count=1, window_ms=HOUR)
    times = await asyncio.gather(*(workers[n % 2].count(claim, [rate], wait=True) for n, claim in enumerate(claims)))

    assert sorted(times) == [site.clock.now_ms() + n * HOUR for n in range(20)]


async def test_old_counts_are_forgotten_when_their_run_is_over(book, site, make):
    """A run that still waits keeps its place, however long; one that is final leaves no trace."""
    first, second = [await site.claim(book, make(name, lane=name)) for name in "ab"]
    for claim in (first, second):
        await book.count(claim, [MINE], wait=True)
    await book.finish(second, "delivered")
    await book.prune(site.clock.now_ms() + 1000 * 86_400_000)
    rows = await book.store.read(lambda c: c.execute("SELECT run FROM counted").fetchall())

    assert [bytes(row[0]).hex() for row in rows] == [first.run]


@given(
    arrivals=st.lists(st.tuples(st.integers(0, 400), st.sampled_from(["user", "key", "both"])), max_size=30),
    most=st.integers(1, 3),
)
def test_no_window_ever_holds_more(arrivals: list[tuple[int, str]], most: int) -> None:
    """However events arrive, in no window do more of them start than the rate allows."""
    rates = {
        "user": [Allowed(scope="user", count=most, window_ms=1000_000)],
        "key": [Allowed(scope="key", count=1, window_ms=300_000)],
    }
    rates["both"] = rates["user"] + rates["key"]
    asyncio.run(_arrive(arrivals, rates))


async def _arrive(arrivals, rates):
    from tests.ledger.conftest import new

    clock = ManualClock()
    book = await ledger.open(None, clock=clock)
    started: dict[str, list[int]] = {"user": [], "key": []}
    for number, (pause, kind) in enumerate(arrivals):
        await clock.advance(pause)
        claim = await book.claim(new(str(number), lane=str(number)))
        at = await book.count(claim, rates[kind], wait=True)
        for rate in rates[kind]:
            started[rate.scope].append(at)
    await book.close()
    for rate in rates["both"]:
        times = sorted(started[rate.scope])
        for first, over in zip(times, times[rate.count :], strict=False):
            assert over - first >= rate.window_ms
