"""
Loop net 3: which of several writes an event comes of, and what each of them explains.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from tests.engine.conftest import Desk
from tests.engine.office import BOTH, CREATED, UPDATED, Office, later, valued


@pytest.mark.parametrize("known", ["actor", "values"])
async def test_an_echo_that_is_known_leaves_no_write_for_somebody_elses_event(world: Any, known: str) -> None:
    """
    Its author or its values told that it is ours; what an unnamed person does next comes of no write any more.
    """
    office = Office(world, a=CREATED, b=UPDATED)
    office.change(kind="ticket.created")
    await office.settle(most=1)
    office.happened.clear()
    if known == "values":
        office.changed = ["comment"]
        valued(office, office.change(), comment="On 1.")
    else:
        office.change(actor="4711")
    world.clock.ahead += 20
    person = office.change()
    ends = await office.settle(most=2)

    assert (ends["3", "b"], ends[person.id, "b"]) == ("own-write", "delivered")


async def test_an_own_write_of_another_type_explains_nothing(world: Any) -> None:
    """
    The echo that names its author was of another type: the one that names none is still stopped.
    """
    office = Office(world, a=CREATED, b=BOTH)
    office.change(kind="ticket.created")
    await office.settle(most=1)
    office.happened.clear()
    office.change(actor="4711", kind="ticket.created")
    echo = office.change()

    assert (await office.settle(most=2))[echo.id, "b"] == "own-write"


async def test_two_writes_within_a_second_have_an_echo_each(world: Any) -> None:
    """
    Both are told a moment later: the second event comes of the other write.
    """
    office = Office(world, a=CREATED, b=CREATED, p=UPDATED)
    office.change(kind="ticket.created")
    await office.settle(most=1)
    office.happened[:] = [later(event, 2.0) for event in office.happened]
    ends = await office.settle(most=2)
    origins = {(await office.detail(event, "p")).origin.pipeline for event in "23"}

    assert (ends["2", "p"], ends["3", "p"], origins) == ("own-write", "own-write", {"a", "b"})


@pytest.mark.parametrize("shift", [2.0, -0.8])
async def test_a_chain_is_not_lost_to_another_write_of_the_same_second(world: Any, shift: float) -> None:
    """
    A and Q write on one event, B follows A: it runs once, whatever order the echoes are told in.
    """
    office = Office(world, a=CREATED, q=CREATED, b=UPDATED | {"follows": ["a"]})
    office.change(kind="ticket.created")
    await office.settle(most=1)
    office.happened[:] = [later(event, shift, actor="4711") for event in office.happened]
    ends = await office.settle(most=2)

    assert sorted(str(ends[event, "b"]) for event in "23") == ["delivered", "own-write"]


async def test_what_a_poll_lumps_together_runs(world: Any) -> None:
    """
    Our write and somebody's change a moment later are one event, which says neither who nor what.
    """
    office = Office(world, a=CREATED, b=UPDATED)
    office.change(kind="ticket.created")
    await office.settle(most=1)
    office.happened.clear()
    lump = office.change(after=10.0, lumped=True)

    assert (await office.settle(most=1))[lump.id, "b"] == "delivered"


async def test_an_own_write_of_the_future_does_not_wait_for_it(world: Any) -> None:
    """
    The system's clock is a year ahead: no write of ours is that old, and the lane goes on.
    """
    office = Office(world, p=UPDATED | {"follows": ["a"]}, a=CREATED)
    office.change(actor="4711", after=365 * 86_400.0)

    assert (await office.settle())["1", "p"] == "own-write"


async def test_a_circle_ends_where_each_write_is_told_of_twice(world: Any) -> None:
    """
    The second event of a write is as deep as the first: it may run, and the circle ends all the same.
    """
    office = Office(world, a=BOTH | {"depth": 2, "follows": ["b"]}, b=UPDATED | {"depth": 2, "follows": ["a"]})
    tell = office._tell

    async def twice(record: str, args: Any, mode: Any, call: Any) -> Any:
        written = await tell(record, args, mode, call)
        office.change(record)
        return written

    world.desk._write = twice
    office.change(kind="ticket.created")
    await office.settle(most=60)

    assert office.happened == []


async def test_a_chain_hears_a_person_right_after_it_wrote(world: Any) -> None:
    """
    What looks like a second echo of its own write may be anybody's: where no circle has to end, it runs.
    """
    office = Office(world, a=CREATED, b=UPDATED | {"follows": ["a"]})
    office.change(kind="ticket.created")
    await office.settle(most=3)
    person = office.change()
    ends = await office.settle(most=1)

    assert (ends["2", "b"], ends["3", "b"], ends[person.id, "b"]) == ("delivered", "own-write", "delivered")


class Desks(Desk):
    """
    A desk where `open` is another action than `note`: it changes another field, and causes more events.
    """

    @property
    def actions(self) -> Mapping[str, Any]:
        note = super().actions["note"]
        more = {"emits": frozenset({"ticket.created", "ticket.updated"}), "touches": frozenset({"status"})}
        return {"note": note, "open": replace(note, name="open", **more)}


@pytest.fixture
def desks(world: Any) -> Any:
    world.desk.__class__ = Desks
    return world


async def test_each_write_has_its_own_types(desks: Any) -> None:
    """
    Some pipeline writes what causes `ticket.created`, but what was written here does not.
    """
    office = Office(desks, a=CREATED, q=UPDATED, to={"q": "desk.open"})
    office.change(kind="ticket.created")
    await office.settle(most=1)
    office.happened.clear()
    office.change(kind="ticket.created", after=1.0)

    assert (await office.settle(most=1))["3", "a"] == "delivered"


@pytest.mark.parametrize(
    ("changed", "kind", "first"),
    [
        (["comment"], "ticket.updated", "desk.note"),  # the later one changes `status`
        (None, "ticket.created", "desk.open"),  # the later one causes no such event
    ],
)
async def test_what_a_write_causes_and_changes_goes_before_its_time(
    desks: Any, changed: list[str] | None, kind: str, first: str
) -> None:
    """
    Q wrote a second after A, but the event is what A did: B, which follows A, runs.
    """
    to = {"a": first, "q": "desk.note" if first == "desk.open" else "desk.open"}
    office = Office(desks, a=CREATED, q=CREATED, b=BOTH | {"follows": ["a"]}, to=to)
    b = office.runners.pop("b")
    tell = desks.desk._write

    async def slowly(*how: Any) -> Any:
        desks.clock.ahead += 1.0
        return await tell(*how)

    desks.desk._write = slowly
    office.change(kind="ticket.created")
    await office.settle(most=1)
    office.happened.clear()
    office.changed, office.runners = changed, {"b": b}
    told = office.change(kind=kind, actor="4711", after=1.0)

    assert (await office.settle(most=1))[told.id, "b"] == "delivered"


async def test_what_is_ours_for_sure_may_be_dated_late(world: Any) -> None:
    """
    Minutes after the write: nobody else can have been it.
    """
    office = Office(world, a=CREATED, b=UPDATED | {"follows": ["a"]})
    office.change(kind="ticket.created")
    await office.settle(most=1)
    office.happened[:] = [later(event, 300.0, actor="4711") for event in office.happened]

    assert (await office.settle(most=1))["2", "b"] == "delivered"
    assert (await office.detail("2", "b")).origin.depth == 1


async def test_what_made_a_record_explains_all_of_it(world: Any) -> None:
    """
    Also fields that the write did not name: the system fills them in.
    """
    office = Office(world, a=CREATED, b=UPDATED)
    write = office._write

    async def making(*how: Any) -> Any:
        return replace(await write(*how), remote_id="77")

    office._write = making
    office.change(kind="ticket.created")
    await office.settle(most=1)
    office.happened.clear()
    world.desk.records["77"] = {"id": "77"}
    office.changed = ["status"]
    told = office.change("77")

    assert (await office.settle(most=1))[told.id, "b"] == "own-write"


@pytest.mark.parametrize(("seconds", "ends"), [(90.0, "waiting"), (130.0, "own-write")])
async def test_a_write_that_takes_long(world: Any, seconds: float, ends: str) -> None:
    """
    While it is open it may take effect, and its event is judged later; not for ever.
    """
    office = Office(world, p=UPDATED, a=CREATED)
    office.change(kind="ticket.created")
    seen = []

    async def slow(record: str, args: Any, mode: Any, call: Any) -> Any:
        world.clock.ahead += seconds
        seen.append((await world.run(office.runners["p"], office.change(record))).run)
        return await office._write(record, args, mode, call)

    world.desk._write = slow
    await office.settle(most=1)

    assert (seen[0].verdict or seen[0].state) == ends
