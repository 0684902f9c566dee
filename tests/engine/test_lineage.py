"""
Loop net 3: what comes of our own writes starts nothing, unless its pipeline follows whoever wrote; and chains end.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from ledger.returning import Return
from tests.engine.office import BOTH, CREATED, UPDATED, Office, valued


async def test_two_pipelines_that_answer_each_other_stop(world: Any) -> None:
    """
    The first event runs through both; what either writes starts neither, and the reason names who wrote.
    """
    office = Office(world, a=BOTH, b=BOTH)
    office.change(kind="ticket.created")
    ends = await office.settle()
    told = await office.detail("2", "b")

    assert ends == {("1", "a"): "delivered", ("1", "b"): "delivered"} | {
        (event, name): "own-write" for event in "23" for name in "ab"
    }
    assert world.model.asked == 2
    assert told.run.error.startswith("no author is known; run ")
    assert "of a wrote desk.note, and b follows no pipeline (trigger.follows)" in told.run.error
    assert told.event["id"] == "2"


async def test_a_declared_chain_runs(world: Any) -> None:
    """
    B follows A, C follows B; each runs once on what the one before wrote, at its depth.
    """
    office = Office(world, a=CREATED, b=UPDATED | {"follows": ["a"]}, c=UPDATED | {"follows": ["b"]})
    office.change(kind="ticket.created")
    ends = await office.settle()
    first, second, third = [await office.detail(*of) for of in (("1", "a"), ("2", "b"), ("3", "c"))]

    assert [of for of, end in ends.items() if end == "delivered"] == [("1", "a"), ("2", "b"), ("3", "c")]
    assert (first.origin, second.origin.run, second.origin.pipeline) == (None, first.run.run, "a")
    assert (third.origin.run, second.origin.depth, third.origin.depth) == (second.run.run, 1, 2)
    assert ends["2", "c"] == "own-write"


@pytest.mark.parametrize(("depth", "runs"), [(1, 2), (2, 3), (5, 6)])
async def test_a_declared_circle_ends_at_its_depth(world: Any, depth: int, runs: int) -> None:
    """
    Two that follow each other answer each other as often as they say, and then no more.
    """
    office = Office(world, a=BOTH | {"depth": depth, "follows": ["b"]}, b=UPDATED | {"depth": depth, "follows": ["a"]})
    office.change(kind="ticket.created")
    ends = await office.settle()
    last = await office.detail(str(runs), "a" if runs % 2 else "b")
    stopped = [error for event, name, _ in office.ended if (error := (await office.detail(event, name)).run.error)]

    assert list(ends.values()).count("delivered") == runs == world.model.asked
    assert last.origin.depth == depth
    assert any(f"{depth + 1} writes of ours led to it" in error and f"ends at {depth}" in error for error in stopped)


@pytest.mark.parametrize("own", ["actor", "values"])
async def test_a_chain_runs_on_what_the_other_nets_hold_for_ours(world: Any, own: str) -> None:
    """
    The author is us, or the values are ours: for who follows, the write counts; for others it is an own write.
    """
    office = Office(world, a=CREATED, b=UPDATED | {"follows": ["a"]}, c=UPDATED)
    office.change(kind="ticket.created")
    office.actor = "4711" if own == "actor" else None
    if own == "values":
        office.changed = ["comment"]
        tell = office.change
        office.change = lambda record, **more: valued(office, tell(record, **more), comment="On 1.")  # type: ignore[method-assign]
    ends = await office.settle(most=2)

    assert (ends["2", "b"], ends["2", "c"]) == ("delivered", "own-write")
    assert (await office.detail("2", "b")).origin.depth == 1
    assert (await office.detail("2", "c")).run.error.startswith("actor=4711" if own == "actor" else "only fields")


async def test_what_others_do_is_not_ours(world: Any) -> None:
    """
    Another author, another field, another record, long after, or before we wrote: all of it runs.
    """
    office = Office(world, a=CREATED, b=UPDATED)
    office.world.desk.records["36"] = {"id": "36", "status": "new"}
    office.change(kind="ticket.created")
    await office.settle(most=1)
    office.happened.clear()
    for more in ({"actor": "9"}, {"record": "36"}, {"after": 61.0}, {"after": -3.0}):
        office.change(**more)
    office.changed = ["comment", "status"]
    office.change()
    before = len(office.ended)
    office._write, world.desk._write = None, office._write  # nothing is told from here on
    await office.settle()

    assert [end for _, name, end in office.ended[before:] if name == "b"] == ["delivered"] * 5


async def test_a_write_stops_one_event_and_no_more(world: Any) -> None:
    """
    A change that comes between our write and its echo may be taken for it; then the echo runs in its place.
    """
    office = Office(world, p=BOTH)
    office.change(kind="ticket.created")
    await office.settle(most=1)
    office.change()  # somebody's, which nobody can tell from the echo before it
    ends = await office.settle(most=2)

    assert (ends["2", "p"], ends["3", "p"]) == ("own-write", "delivered")


@pytest.mark.parametrize("acts_as", [None, "4711"])
async def test_a_named_author_is_believed(world: Any, acts_as: str | None) -> None:
    """
    Also while the system has not said yet who we are: no event of a person is lost for that.
    """
    world.desk.acts_as = acts_as
    office = Office(world, a=CREATED, b=UPDATED)
    office.change(kind="ticket.created", actor="9")
    await office.settle(most=1)
    office.happened.clear()
    office.change(actor="9")
    ends = await office.settle(most=1)

    assert ends["3", "b"] == "delivered"


async def test_only_what_a_write_causes_may_be_its_doing(world: Any) -> None:
    """
    A note causes no `ticket.created`: one that names no author, a second after it, is somebody's.
    """
    office = Office(world, p=CREATED)
    office.change(kind="ticket.created")
    await office.settle(most=1)
    office.happened.clear()
    office.change(kind="ticket.created", after=1.0)

    assert (await office.settle(most=1))["3", "p"] == "delivered"


async def test_one_event_of_two_pipelines_is_not_the_others_doing(world: Any) -> None:
    """
    A has written before B gets to the same event: it did not come of that.
    """
    office = Office(world, a=BOTH, b=BOTH)
    office.change()
    ends = await office.settle(most=1)

    assert ends == {("1", "a"): "delivered", ("1", "b"): "delivered"}


async def test_what_is_told_before_the_answer_waits(world: Any) -> None:
    """
    While the write is open nobody knows whether it took effect: what may have come of it is judged when it ended.
    """
    office = Office(world, p=UPDATED, a=CREATED)
    office.change(kind="ticket.created")
    tell, seen = office._tell, []

    async def overtaking(record: str, args: Any, mode: Any, call: Any) -> Any:
        early = office.change(record)
        seen.append(await world.run(office.runners["p"], early))
        return await office._write(record, args, mode, call)

    world.desk._write = overtaking
    await office.settle(most=1)
    assert (seen[0].run.state, seen[0].run.reason) == ("waiting", "behind")
    world.desk._write = tell
    await world.resume(office.runners["p"])
    detail = await world.ledger.detail(seen[0].run.run)

    assert detail.run.verdict == "own-write"


async def test_an_own_write_nobody_knows_of_ends_so(world: Any) -> None:
    """
    Another program shares our account: who follows waits for a moment in case a write ends, then it is an own write.
    """
    office = Office(world, p=UPDATED | {"follows": ["a"]}, a=CREATED)
    office.actor = "4711"
    office.change()
    ends = await office.settle()
    assert ends["1", "p"] == "waiting"
    world.clock.ahead += timedelta(seconds=31).total_seconds()
    await world.resume(office.runners["p"])
    detail = await office.detail("1", "p")

    assert detail.run.verdict == "own-write"
    assert detail.run.error == "actor=4711; no run of this hub is known to have written it"


@pytest.mark.parametrize("actor", [None, "4711"])
async def test_a_person_can_run_what_was_stopped(world: Any, actor: str | None) -> None:
    """
    `replay --again` is somebody's word: the event runs, also one that bears our name.
    """
    office = Office(world, p=BOTH)
    office.change(kind="ticket.created")
    office.actor = actor
    await office.settle()
    stopped = (await office.detail("2", "p")).run
    assert stopped.verdict == "own-write"
    assert await world.ledger.replay([Return(run=stopped.run, seq=stopped.seq, insist=True)], person="mira", again=True)
    await world.resume(office.runners["p"])

    assert (await office.detail("2", "p")).run.verdict == "delivered"
