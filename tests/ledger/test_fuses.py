"""
Fuses: how often a lane was delivered lately, and who is told when that is too often.
"""

from __future__ import annotations

import orjson
import pytest

from ledger.fuses import FUSE
from ledger.returning import Return
from penstock.errors import Fenced

BODY = b'{"specversion":"1.0"}'


@pytest.fixture
def ran(book, site, make):
    """Let a run of a lane end, and some time pass."""

    async def running(number, verdict="delivered", *, lane="k", seconds=10.0, **more):
        claim = await site.claim(book, make(number, lane=lane, **more))
        await book.finish(claim, verdict, body=BODY)
        await site.clock.advance(seconds)

    return running


async def test_only_what_was_delivered_in_the_lane_counts(book, site, make, ran):
    """Not what came to nothing, nor what other lanes, pipelines and tenants did."""
    begin = site.clock.now_ms()
    await ran("1")
    await ran("2", "unchanged")
    await ran("3", "dead")
    await ran("4", "own-write")
    await ran("5", lane="other")
    await ran("6", pipeline="q")
    await ran("7", tenant="acme")
    claim = await site.claim(book, make("8"))
    lately = [await book.delivered_lately(claim, count) for count in (1, 2, 3)]
    await book.finish(claim, "dead", body=BODY)

    assert lately == [begin + 10_000, begin, None]


async def test_what_came_back_does_not_count(book, site, make, ran):
    """Somebody sent it again: that is no conversation with a robot."""
    begin = site.clock.now_ms()
    await ran("1")
    await ran("2", "dead")
    run = make("2", lane="k").run
    detail = (await book.detail(run)).run
    assert await book.replay([Return(run=run, seq=detail.seq, insist=True)], person="mira")
    (again,) = await book.pick_up(["p"], 10)
    await book.finish(again.claim, "delivered", body=BODY)
    claim = await site.claim(book, make("3"))
    lately = [await book.delivered_lately(claim, count) for count in (1, 2)]
    await book.finish(claim, "dead", body=BODY)

    assert lately == [begin, None]


async def test_people_are_told_once_until_it_is_over(book, site, make):
    """However many runs it stops; when it blows again, they are told again."""
    now = site.clock.now_ms()
    for number in ("1", "2", "3"):
        claim = await site.claim(book, make(number, lane="k"))
        await book.blow(claim, until=now + 60_000, limit="3/minute")
        await book.blow(claim, until=now + 60_000, limit="3/minute")  # its end could not be kept: it is judged again
        await book.finish(claim, "dead", body=BODY)
    (fuse,) = await book.fuses()
    (told,) = await book.take_parcels([FUSE], 9, hold=1.0)

    assert (fuse.pipeline, fuse.lane, fuse.since, fuse.until, fuse.stopped) == ("p", "k", now, now + 60_000, 3)
    assert orjson.loads(told.body) == {
        "pipeline": "p", "lane": "k", "limit": "3/minute", "until": now + 60_000, "at": now
    }  # fmt: skip
    await book.parcel_sent(told.id)
    await site.clock.advance(61)
    assert await book.fuses() == []
    claim = await site.claim(book, make("4", lane="k"))
    await book.blow(claim, until=now + 90_000, limit="3/minute")
    await book.finish(claim, "dead", body=BODY)

    assert [fuse.stopped for fuse in await book.fuses()] == [1]
    assert len(await book.take_parcels([FUSE], 9, hold=1.0)) == 1


async def test_a_lost_lane_blows_nothing(book, site, make):
    """Who has no lane any more stops nobody."""
    claim = await site.claim(book, make("1"))
    await book.finish(claim, "delivered", body=BODY)
    with pytest.raises(Fenced):
        await book.blow(claim, until=site.clock.now_ms() + 1, limit="3/minute")

    assert await book.fuses() == []


async def test_fuses_go_to_the_heir_and_are_forgotten(book, site, make):
    """A renamed pipeline keeps its fuse, until that is over for long."""
    claim = await site.claim(book, make("1"))
    await book.blow(claim, until=site.clock.now_ms() + 60_000, limit="3/minute")
    await book.finish(claim, "dead", body=BODY)
    await book.adopt("p", "brief")
    assert [fuse.pipeline for fuse in await book.fuses()] == ["brief"]
    await site.clock.advance(40 * 86_400)
    await book.prune()
    left = await book.store.read(lambda connection: connection.execute("SELECT count(*) AS n FROM fuses").fetchone())

    assert left["n"] == 0
