"""
Lineage: the writes that may have led to an event, and how deep a run is.
"""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

import ledger
from ledger import WriteIntent
from ledger.lineage import Heard
from ledger.queries import queries
from schemas.entries import OriginEntry

BODY = b'{"specversion":"1.0"}'


def heard(run, pipeline="q", event="ticket.updated"):
    return Heard(run=run, pipeline=pipeline, event=event)


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
    await book.keep_origin(heard(second.run), origin)
    await book.keep_origin(heard(second.run), origin.model_copy(update={"depth": 7}))
    await wrote("2", pipeline="q")
    newest, oldest = await book.causes("desk", "35", 0)

    assert (newest.run, newest.depth, oldest.depth) == (second.run, 1, 0)
    assert (await book.detail(second.run)).origin == origin
    assert (await book.detail(first.run)).origin is None


async def test_a_renamed_pipeline_stays_the_cause(book, wrote):
    """It takes over what it wrote and what came of it."""
    first = await wrote("1")
    await book.keep_origin(heard(first.run), OriginEntry(run="ab" * 16, pipeline="p", step="desk.note", depth=1))
    await book.adopt("p", "brief")
    (cause,) = await book.causes("desk", "35", 0)

    assert (cause.pipeline, (await book.detail(first.run)).origin.pipeline) == ("brief", "brief")


async def test_lineage_goes_with_the_details(book, site, wrote):
    """Pruning leaves nothing of it."""
    claim = await wrote("1")
    await book.keep_origin(heard(claim.run), OriginEntry(run="ab" * 16, pipeline="p", step="desk.note", depth=1))
    await site.clock.advance(40 * 86_400)
    await book.prune()
    left = await book.store.read(lambda connection: connection.execute("SELECT count(*) AS n FROM lineage").fetchone())

    assert left["n"] == 0


async def test_a_write_explains_one_event_of_a_type(book, wrote):
    """Of each pipeline that heard of it; the same event again is no other."""
    await wrote("1")
    (cause,) = await book.causes("desk", "35", 0)
    origin = OriginEntry(run=cause.run, pipeline="p", step=cause.step, depth=1)
    await book.keep_origin(heard("ab" * 16), origin)
    others = [heard("cd" * 16), heard("ab" * 16), heard("cd" * 16, "p"), heard("cd" * 16, event="ticket.created")]

    assert [await book.explains_another(cause, other) for other in others] == [True, False, False, False]
    await book.adopt("q", "brief")
    assert await book.explains_another(cause, heard("cd" * 16, "brief"))


def test_causes_are_found_by_an_index():
    """Both ways, on SQLite, which knows nothing of what is in the tables: no look at every write of a connection."""
    database = sqlite3.connect(":memory:")
    database.executescript((Path(ledger.__file__).parent / "schema.sql").read_text())
    named = {"connection": "desk", "record": "35", "since": 0, "most": 20}
    plan = [row[3] for row in database.execute("EXPLAIN QUERY PLAN " + queries["causes"], named)]
    database.close()

    assert [step for step in plan if " w " in step] == [
        "SEARCH w USING INDEX writes_record (connection=? AND record=?)",
        "SEARCH w USING INDEX writes_version (connection=? AND version=? AND at>?)",
    ]
