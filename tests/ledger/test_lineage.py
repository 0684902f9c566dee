"""
Lineage: the writes that may have led to an event, and how deep a run is.
"""

from __future__ import annotations

import asyncio
import sqlite3
from pathlib import Path

import orjson
import pytest

import ledger
from ledger import WriteIntent
from ledger.lineage import Heard, Kept
from ledger.queries import queries
from schemas.entries import OriginEntry

BODY = b'{"specversion":"1.0"}'


def heard(run, pipeline="q", event="ticket.updated"):
    return Heard(run=run, pipeline=pipeline, event=event)


def came(run):
    return OriginEntry(run=run, pipeline="p", step="desk.note", depth=1)


@pytest.fixture
def wrote(book, site, make):
    """Let a run of a pipeline write to a record."""

    left = []

    async def writing(number, record="35", *, pipeline="p", version=None, ends=True, fields=("mood",)):
        claim = await site.claim(book, make(number, lane=number, pipeline=pipeline))
        intent = WriteIntent(connection="desk", record=record, fields=dict.fromkeys(fields, "h"), value_hash="v")
        begun = book.step(claim, "desk.note", kind="write", action_class="keyed", timeout=5, write=intent)
        if not ends:
            await begun.__aenter__()
            left.append(begun)
            return claim
        async with begun as step:
            await site.clock.advance(2)
            await step.done({"outcome": "delivered"}, version=version)
        await book.finish(claim, "delivered", body=BODY)
        return claim

    return writing


async def test_writes_to_a_record_are_its_causes(book, site, wrote):
    """Newest first, with when they could take effect; not those of other records and connections."""
    first = await wrote("1")
    await site.clock.advance(10)
    second = await wrote("2", pipeline="q", fields=())
    await wrote("3", "36")
    one, two = await book.causes("desk", "35", 0)

    assert (one.run, one.pipeline, one.step, one.fields, one.state) == (
        second.run,
        "q",
        "desk.note",
        frozenset(),
        "done",
    )
    assert (two.run, two.fields, two.made, two.depth) == (first.run, {"mood"}, False, 0)
    assert (two.at - two.began_at, one.began_at - two.at) == (2000, 10_000)
    assert await book.causes("other", "35", 0) == []
    assert [cause.run for cause in await book.causes("desk", "35", two.at + 1)] == [second.run]


async def test_what_made_a_record_is_its_cause(book, wrote):
    """The record's id is what the system gave back for a write to something else."""
    claim = await wrote("1", "new", version="C1/17.5")
    await wrote("2", "C1/17.5", version="C1/17.5")
    causes = await book.causes("desk", "C1/17.5", 0)

    assert {(cause.run == claim.run, cause.made) for cause in causes} == {(True, True), (False, False)}


async def test_an_open_write_is_a_cause(book, site, wrote):
    """Whatever its age: the system may tell of it before it answers."""
    claim = await wrote("1", ends=False)
    await site.clock.advance(1_000)
    (cause,) = await book.causes("desk", "35", site.clock.now_ms())
    assert (cause.run, cause.state, cause.began_at) == (claim.run, "open", cause.at)
    await book.give_up(claim)


async def test_depth_grows_from_run_to_run(book, site, make, wrote):
    """What was said of a run first stays, and is part of its details; it goes with them."""
    first = await wrote("1")
    second = make("2", lane="2", pipeline="q")
    origin = OriginEntry(run=first.run, pipeline="p", step="desk.note", depth=1)
    deeper = origin.model_copy(update={"depth": 7})
    kept = [await book.come_of(heard(second.run), [one], anyway=False) for one in (origin, deeper)]
    await wrote("2", pipeline="q")
    newest, oldest = await book.causes("desk", "35", 0)

    assert kept == [Kept(origin=origin, beside=False)] * 2
    assert (newest.run, newest.depth, oldest.depth) == (second.run, 1, 0)
    assert (await book.detail(second.run)).origin == origin
    assert (await book.detail(first.run)).origin is None


async def test_a_renamed_pipeline_stays_the_cause(book, wrote):
    """It takes over what it wrote and what came of it."""
    first = await wrote("1")
    await book.come_of(heard(first.run), [came("ab" * 16)], anyway=False)
    await book.adopt("p", "brief")
    (cause,) = await book.causes("desk", "35", 0)

    assert (cause.pipeline, (await book.detail(first.run)).origin.pipeline) == ("brief", "brief")


async def test_lineage_goes_with_the_details(book, site, wrote):
    """Pruning leaves nothing of it."""
    claim = await wrote("1")
    await book.come_of(heard(claim.run), [came("ab" * 16)], anyway=False)
    await site.clock.advance(40 * 86_400)
    await book.prune()
    left = await book.store.read(lambda connection: connection.execute("SELECT count(*) AS n FROM lineage").fetchone())

    assert left["n"] == 0


async def test_a_write_explains_one_event_of_a_type(book):
    """Of each pipeline that heard of it; the same event again is no other. A second one comes of the next write."""
    one, two = came("11" * 16), came("22" * 16)
    others = [heard("cd" * 16), heard("ab" * 16), heard("ef" * 16, "p"), heard("ef" * 16, event="ticket.created")]
    await book.come_of(heard("ab" * 16), [one], anyway=False)
    kept = [await book.come_of(other, [one], anyway=False) for other in others]
    assert kept == [None, *[Kept(origin=one, beside=False)] * 3]
    await book.adopt("q", "brief")
    third = heard("cd" * 16, "brief")

    assert await book.come_of(third, [one], anyway=False) is None
    assert await book.come_of(third, [one, two], anyway=True) == Kept(origin=two, beside=False)
    assert await book.come_of(heard("99" * 16, "brief"), [two, one], anyway=True) == Kept(origin=two, beside=True)
    assert await book.come_of(heard("77" * 16, "brief"), [], anyway=True) is None


async def test_two_events_judged_at_once_do_not_share_a_write(book):
    """One of them comes of it, whichever process is first."""
    runs = [f"{number:032x}" for number in range(8)]
    kept = await asyncio.gather(*(book.come_of(heard(run), [came("11" * 16)], anyway=False) for run in runs))

    assert sum(one is not None for one in kept) == 1


async def test_a_write_that_was_tried_again_began_with_its_first_attempt(book, site, make):
    """Which may be the one that took effect."""
    claim, begin = await site.claim(book, make("1", lane="1")), site.clock.now_ms()
    intent = WriteIntent(connection="desk", record="35", fields={}, value_hash="v")
    how = {"kind": "write", "action_class": "keyed", "timeout": 5, "write": intent}
    with pytest.raises(TimeoutError):
        async with book.step(claim, "desk.note", **how):
            raise TimeoutError
    await site.clock.advance(300)
    async with book.step(claim, "desk.note", **how) as step:
        await step.done({"outcome": "delivered"}, version=None)
    (cause,) = await book.causes("desk", "35", 0)
    await book.finish(claim, "delivered", body=BODY)

    assert (cause.began_at - begin, cause.at - begin) == (0, 300_000)


async def test_own_writes_nobody_has_explained_are_found(book, site, make):
    """Those of the pipeline and the record that are new enough, until they come of a write."""
    since = site.clock.now_ms()
    for number, verdict, more in [
        ("1", "own-write", {}),
        ("2", "filtered", {}),
        ("3", "own-write", {"pipeline": "p"}),
        ("4", "own-write", {"subject": "36"}),
    ]:
        new = make(number, lane=number, **{"pipeline": "q", "subject": "35"} | more)
        await book.conclude(new, verdict, "so", body=orjson.dumps({"id": number}))
    (body,) = await book.unexplained(heard("ab" * 16), "35", since)
    assert orjson.loads(body) == {"id": "1"}
    assert await book.unexplained(heard("ab" * 16), "35", since + 1) == []
    await book.come_of(heard(make("1", lane="1", pipeline="q", subject="35").run), [came("11" * 16)], anyway=False)

    assert await book.unexplained(heard("ab" * 16), "35", since) == []


def test_causes_are_found_by_an_index():
    """Both ways, on SQLite, which knows nothing of what is in the tables: no look at every write of a connection."""
    database = sqlite3.connect(":memory:")
    database.executescript((Path(ledger.__file__).parent / "schema.sql").read_text())
    named = {"connection": "desk", "record": "35", "since": 0, "most": 20}
    plan = [row[3] for row in database.execute("EXPLAIN QUERY PLAN " + queries["causes"], named)]
    named["heard_by"] = "p"
    first, *_ = [row[3] for row in database.execute("EXPLAIN QUERY PLAN " + queries["unexplained"], named)]
    database.close()

    assert [step for step in plan if " w " in step] == [
        "SEARCH w USING INDEX writes_record (connection=? AND record=?)",
        "SEARCH w USING INDEX writes_version (connection=? AND version=? AND at>?)",
    ]
    assert first == "SEARCH r USING INDEX runs_subject (subject=? AND created_at>?)"
