"""
The cache: each question is asked by one run at a time, its answer is found as soon as it is kept, and whoever dies,
fails or waits keeps nobody from asking.
"""

from __future__ import annotations

import asyncio

import pytest

from ledger.cache import MOST_FAILURES
from ledger.caching import Asking, Cached, Hit, Question
from ledger.costs import CostQuery, SavingSum
from ledger.testing import beside, bury
from penstock.errors import Fenced

KEY, OTHER = "ab" * 32, "cd" * 32
DAY = 86_400.0
QUESTION = Question(key=KEY, step="ask", keep=DAY, patience=120.0)
ASK = {"kind": "ask", "action_class": "ai", "timeout": 60.0}
NEXT = iter(range(1, 1000))


@pytest.fixture
def start(book, site, make):
    """Claim another run, each in a lane of its own."""

    async def starting(of=None, **more):
        number = str(next(NEXT))
        return await site.claim(of or book, make(number, lane=number, **more))

    return starting


async def answer(book, claim, *, key=KEY, hit=None, **more):
    """Let a run's ask end with an answer to the question of *key*."""
    async with book.step(claim, "ask", **ASK) as step:
        await step.done({"question": key, "output": {"summary": "x"}} | more, hit=hit)


async def test_one_asks_and_the_others_take_its_answer(book, start):
    """Nobody is known first; then one asks; then its answer is there, while it still delivers."""
    one, two = await start(), await start()
    nothing = await book.cached(QUESTION, one)
    mine = await book.ask_for(QUESTION, one)
    refused = await book.ask_for(QUESTION, two)
    meanwhile = await book.cached(QUESTION, two)
    await answer(book, one)
    found = await book.cached(QUESTION, two)

    assert (nothing, mine, refused) == (None, True, False)
    assert isinstance(meanwhile, Asking)
    assert meanwhile.run == one.run
    assert isinstance(found, Cached)
    assert (found.run, found.result["output"]) == (one.run, {"summary": "x"})
    assert await book.ask_for(QUESTION, two) is False


async def test_of_many_at_once_one_asks(book, start):
    """Two workers, twenty runs each at the same moment: one of them all is let through."""
    other = await beside(book)
    claims = [(each, await start(each)) for each in (book, other) * 20]

    won = await asyncio.gather(*(each.ask_for(QUESTION, claim) for each, claim in claims))

    assert sum(won) == 1


async def test_whoever_waits_or_ends_keeps_nobody_back(book, start):
    """A run that is put off, aside or final without an answer asks no more: the next one may."""
    ends = [
        lambda claim: book.wait(claim, "outage", b"{}", why="down", gate="model:small"),
        lambda claim: book.aside(claim, "parked", b"{}", why="unknown"),
    ]
    for end in ends:
        claim = await start()
        assert await book.ask_for(QUESTION, claim) is True
        await end(claim)

    assert await book.ask_for(QUESTION, await start()) is True


async def test_a_dead_worker_keeps_nobody_back(book, start):
    """What it asked is asked by another; its own run asks again only when that one has failed."""
    other = await beside(book)
    claim = await start(other)
    assert await other.ask_for(QUESTION, claim) is True
    last = await start()
    assert isinstance(await book.cached(QUESTION, last), Asking)

    await bury(other)

    assert await book.cached(QUESTION, last) is None
    assert await book.ask_for(QUESTION, last) is True


async def test_after_failures_in_a_row_all_may_ask(book, start):
    """Where nobody gets an answer, the runs do not fail one after the other; an answer starts the count anew."""
    for _ in range(MOST_FAILURES + 1):
        claim = await start()
        assert await book.ask_for(QUESTION, claim) is True
        await book.finish(claim, "refused")
    free = [await start() for _ in range(3)]
    assert [await book.ask_for(QUESTION, claim) for claim in free] == [True] * 3

    await answer(book, free[-1])
    await book.clear_cache()
    assert await book.ask_for(QUESTION, free[0]) is True
    assert await book.ask_for(QUESTION, free[1]) is False


async def test_nobody_waits_for_ever(book, site, start):
    """One that asks for longer than any ask may take is not waited for."""
    assert await book.ask_for(QUESTION, await start()) is True
    await site.clock.advance(QUESTION.patience - 1)
    waiting = await start()
    assert await book.ask_for(QUESTION, waiting) is False

    await site.clock.advance(2)
    assert await book.ask_for(QUESTION, waiting) is True


async def test_a_run_asks_again_what_it_asked(book, start):
    """Its own earlier try keeps it from nothing, and is no failure of another."""
    claim = await start()
    assert [await book.ask_for(QUESTION, claim) for _ in range(MOST_FAILURES + 2)] == [True] * (MOST_FAILURES + 2)
    assert await book.cached(QUESTION, claim) is None
    assert isinstance(await book.cached(QUESTION, await start()), Asking)


async def test_an_answer_to_another_question_is_none(book, start):
    """A run that was asked something else after all answers only that."""
    claim = await start()
    await book.ask_for(QUESTION, claim)
    await answer(book, claim, key=OTHER)

    assert await book.cached(QUESTION, await start()) is None


async def test_an_old_answer_is_none(book, site, start):
    """It is good for as long as who looks wants it to be, from its end on."""
    claim = await start()
    await book.ask_for(QUESTION, claim)
    await site.clock.advance(60)
    await answer(book, claim)
    await site.clock.advance(DAY)
    late = await start()
    assert isinstance(await book.cached(QUESTION, late), Cached)

    await site.clock.advance(1)
    assert await book.cached(QUESTION, late) is None
    assert await book.ask_for(QUESTION, late) is True


async def test_what_a_person_discarded_is_used_by_nobody(book, start):
    """Its answer goes with the run."""
    claim = await start()
    await book.ask_for(QUESTION, claim)
    await answer(book, claim)
    await book.finish(claim, "discarded")

    assert await book.cached(QUESTION, await start()) is None


async def test_asking_anew_takes_the_place_of_an_answer(book, start):
    """A run that is to ask again asks, whatever there is, and its answer is used from then on."""
    claim, again = await start(), await start()
    await book.ask_for(QUESTION, claim)
    await answer(book, claim)
    assert await book.ask_for(QUESTION, again, anew=True) is True
    await answer(book, again)

    found = await book.cached(QUESTION, await start())
    assert isinstance(found, Cached)
    assert found.run == again.run


async def test_a_fenced_run_does_not_ask(book, start, make):
    """Who has lost its lane takes no question from others."""
    other = await beside(book)
    claim = await start(other)
    await bury(other)
    taken = await book.claim(make(claim.lane, lane=claim.lane))

    assert taken.run == claim.run
    with pytest.raises(Fenced):
        await book.ask_for(QUESTION, claim)


async def test_clearing(book, start):
    """Of one pipeline, or of all."""
    for pipeline, key in (("p", KEY), ("q", OTHER)):
        claim = await start(pipeline=pipeline)
        question = Question(key=key, step="ask", keep=DAY, patience=1.0)
        await book.ask_for(question, claim)
        await answer(book, claim, key=key)

    assert await book.clear_cache("q") == 1
    assert isinstance(await book.cached(QUESTION, await start()), Cached)
    assert await book.clear_cache() == 1
    assert await book.cached(QUESTION, await start()) is None


async def test_hits_are_summed(book, site, start):
    """How many answers were taken, and what they had cost, by what is asked for; fenced ones are none."""
    payer = await start()
    for pipeline, saved in (("p", 30), ("p", 12), ("q", 7)):
        claim = await start(pipeline=pipeline)
        await answer(book, claim, hit=Hit(source=payer.run, model="small", saved=saved))
    now = site.clock.now_ms()

    assert await book.savings(CostQuery(since=now, until=now + 1)) == [SavingSum(hits=3, saved=49)]
    assert sorted(await book.savings(CostQuery(since=now, until=now + 1, by=["pipeline", "model"])), key=str) == [
        SavingSum(pipeline="p", model="small", hits=2, saved=42),
        SavingSum(pipeline="q", model="small", hits=1, saved=7),
    ]
    assert await book.savings(CostQuery(since=now, until=now + 1, pipeline="q")) == [SavingSum(hits=1, saved=7)]
    assert await book.savings(CostQuery(since=now + 1, until=now + 2)) == []
    assert await book.costs(CostQuery(since=now, until=now + 1)) == []


async def test_forgetting(book, site, start):
    """Old questions go when their time is over, answers and hits with their runs, and who asks now stays."""
    claim, taker = await start(), await start()
    await book.ask_for(QUESTION, claim)
    await answer(book, claim)
    await answer(book, taker, hit=Hit(source=claim.run, model="small", saved=1))
    await book.finish(claim, "delivered")
    await book.finish(taker, "delivered")
    short = Question(key=OTHER, step="ask", keep=1.0, patience=DAY)
    asking = await start()
    await book.ask_for(short, asking)
    await site.clock.advance(2)
    await book.prune()
    counts = await _counted(book)
    await site.clock.advance(31 * DAY)
    await book.prune()

    assert counts == (2, 1)
    assert await _counted(book) == (1, 0)
    await book.finish(asking, "refused")
    await book.prune()
    assert await _counted(book) == (0, 0)


async def _counted(book):
    def count(connection):
        names = ("cache", "cache_hits")
        return tuple(connection.execute(f"SELECT count(*) FROM {name}").fetchone()[0] for name in names)

    return await book.store.read(count)


async def test_a_renamed_pipeline_keeps_its_cache(book, start):
    """It can be cleared under its new name."""
    await book.ask_for(QUESTION, await start(pipeline="old"))
    await book.adopt("old", "new")

    assert await book.clear_cache("old") == 0
    assert await book.clear_cache("new") == 1
