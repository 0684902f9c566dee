"""
Paces: what all workers send together stays below the limits, however it is counted, and comes close to them.
"""

from __future__ import annotations

import asyncio
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.paces import BURST, SHARE, Kept
from ledger.pacing import Need, Quota
from ledger.testing import beside

NAME = "openai/small@1"
NOTHING = Need(input=0, output=0)
ONE = Need(input=100, output=100)
MINUTE = 60_000  # ms


@pytest.fixture
def take(book, site):
    """Ask for permits, and say in how many ms each is due; None when it is not given."""

    async def taking(*needs, of=None, back=NOTHING, horizon=1.0):
        permits = await (of or book).permits(NAME, needs, back=back, horizon=horizon)
        return [None if due is None else due - site.clock.now_ms() for due in permits.due]

    return taking


async def test_a_pace_nobody_set_lets_everything_through(book, take):
    """Without limits there is nothing to wait for, and nothing is kept."""
    assert await take(ONE, ONE) == [0, 0]
    assert await book.paces() == []


async def test_requests_are_spread_evenly(book, take):
    """Sixty a minute go one a second; who is too far from its turn gets none, and none is kept for it."""
    await book.set_pace(NAME, Quota(requests=60), told=True)
    first = await take(*[ONE] * 5)

    assert first[0] == 0
    assert first[1] == pytest.approx(1000 / SHARE - BURST / 1000, abs=2)
    assert first[2:] == [None] * 3
    assert await take(ONE) == [None]


async def test_the_dearer_of_requests_and_tokens_counts(book, take, site):
    """Tokens of input and output, together or each for itself, space requests as far apart as they ask for."""
    await book.set_pace(NAME, Quota(requests=6000, output_tokens=6000), told=True)
    assert await take(ONE, ONE) == [0, pytest.approx(1000 / SHARE - BURST / 1000, abs=2)]

    await site.clock.advance(120)
    await book.set_pace(NAME, Quota(requests=6000, tokens=6000), told=True)
    assert await take(ONE, ONE, horizon=5) == [0, pytest.approx(2000 / SHARE - BURST / 1000, abs=2)]


async def test_what_was_not_used_comes_back(book, take):
    """The next turn comes as much sooner as tokens were given back."""
    await book.set_pace(NAME, Quota(tokens=6000), told=True)
    await take(ONE)

    assert await take(ONE, horizon=0.5) == [None]
    assert await take(ONE, back=Need(input=0, output=150), horizon=0.5) == [pytest.approx(500 / SHARE - 250, abs=2)]


async def test_all_workers_share_a_pace(book, take, site):
    """Two workers at once get no more between them than one would."""
    await book.set_pace(NAME, Quota(requests=600), told=True)
    other = await beside(book)
    found = await asyncio.gather(*(take(ONE, of=each, horizon=2) for each in (book, other) * 15))

    due = sorted(turn for turns in found for turn in turns if turn is not None)
    assert len(due) == 22  # the burst of a quarter of a second, and two seconds
    assert all(later - sooner >= 100 for sooner, later in pairwise(due[3:]))


async def test_a_pause_holds_for_everybody(book, take, site):
    """After it, requests go one after the other, not all at once."""
    await book.set_pace(NAME, Quota(requests=600), told=True)
    await book.slow_down(NAME, until=site.clock.now_ms() + 5000)

    assert await take(ONE, of=await beside(book)) == [None]
    await site.clock.advance(5)
    assert await take(ONE, ONE) == [0, pytest.approx(100 / SHARE / 0.8, abs=2)]


async def test_a_guess_is_halved_and_grows_again(book, take, site):
    """What nobody told is felt out: by half down, by a twentieth a second up, also beyond the first guess."""
    pace = await book.slow_down(NAME, until=0, guess=Quota(requests=100))
    assert (pace.told, pace.cut, pace.quota.requests) == (False, 0.5, 100)

    await site.clock.advance(0.5)
    assert (await book.slow_down(NAME, until=0)).cut == pytest.approx(0.525)  # of the same haste
    await site.clock.advance(1)
    assert (await book.slow_down(NAME, until=0)).cut == pytest.approx(0.2875, abs=0.001)
    await site.clock.advance(40)
    assert (await book.paces())[0].cut == pytest.approx(2.288, abs=0.01)


async def test_a_told_limit_never_grows_beyond_itself(book, site):
    """Others use it too: a little is left to them, for a while."""
    await book.set_pace(NAME, Quota(requests=100), told=True)
    await site.clock.advance(2)
    assert (await book.slow_down(NAME, until=0)).cut == 0.8
    await site.clock.advance(60)
    assert (await book.paces())[0].cut == 1


async def test_the_patient_go_where_nobody_waits(book, take, site):
    """A request that gives way gets no turn in the future, and comes after all others of its moment."""
    await book.set_pace(NAME, Quota(requests=60), told=True)
    patient = Need(input=1, output=1, patient=True)

    assert await take(patient, ONE, patient) == [None, 0, None]
    await site.clock.advance(2)
    assert await take(patient) == [0]


async def test_a_new_limit_holds_at_once(book, take, site):
    """Half the limit is half the pace, but for the second that was given out before."""
    await book.set_pace(NAME, Quota(requests=600), told=True)
    await take(*[ONE] * 20)
    await book.set_pace(NAME, Quota(requests=300), told=True)
    await site.clock.advance(2)

    assert await take(ONE, ONE, ONE) == [0, 0, pytest.approx(2 * 200 / SHARE - BURST / 1000, abs=2)]


async def test_paces_nobody_uses_are_forgotten(book, site):
    """With the other limits, after the time for which details are kept."""
    await book.set_pace(NAME, Quota(requests=600), told=True)
    await site.clock.advance(40 * 86_400)
    await book.prune()

    assert await book.paces() == []


@given(
    st.integers(1, 20_000),
    st.lists(st.tuples(st.integers(0, 400), st.integers(1, 30)), min_size=1, max_size=200),
)
def test_no_minute_has_more_than_its_limit(requests, arrivals):
    """Whenever requests come and however many at once, 60 s anywhere hold no more than the limit, or one."""
    kept, now, went = Kept(pace=NAME, requests=requests), 1_000_000_000, []
    for pause, count in arrivals:
        now += pause * 1000
        for _ in range(count):
            kept, due = kept.given(ONE, now, 1_000_000)
            if due <= now + 1_000_000:
                went.append(due)

    went.sort()
    most = max(1, requests, round(requests * SHARE + requests * BURST / 60e6) + 1)
    for first, last in zip(went, went[most:], strict=False):
        assert last - first >= 60_000_000


@given(st.integers(1000, 10**6), st.lists(st.integers(1, 5000), min_size=20, max_size=300))
def test_tokens_keep_their_limit_and_use_it(limit, sizes):
    """A backlog takes what the limit gives, but for the share that is left out, and never more in any minute."""
    kept, now, went = Kept(pace=NAME, tokens=limit), 1_000_000_000, []
    for size in sizes:
        kept, due = kept.given(Need(input=size, output=0), now, 10**15)
        went.append((due, size))

    took = kept.next_tokens - (now - BURST)
    assert took == pytest.approx(sum(sizes) / (limit * SHARE) * 60e6, rel=0.01)
    for place, (first, _) in enumerate(went):
        within = sum(size for due, size in went[place:] if due < first + 60_000_000)
        assert within <= limit * SHARE * (1 + BURST / 60e6) + max(sizes)
