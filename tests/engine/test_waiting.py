"""
Keys, starts, ages and patience through the real executor and runner.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest

from engine import Gates
from ledger.contract import RunQuery
from penstock.errors import Rejected, Unavailable
from tests.engine.hall import Hall

HOUR = 3600.0  # seconds
EVENTS = 20


class Down:
    """
    Trouble of the desk that lasts until the test says otherwise.
    """

    def __init__(self, hall: Hall) -> None:
        self._hall = hall
        self.now = True

    def __bool__(self) -> bool:
        return self.now

    def pop(self, _index: int) -> Exception | None:
        return Unavailable("down") if self.now else None


def of_org(ticket: Any, number: str, org: Any, **changes: Any) -> Any:
    return ticket(number, subject=f"t{number}", data={"id": number, "org_id": org}, **changes)


async def test_a_sink_that_is_down_for_an_hour_kills_nothing(hall: Hall, ticket: Any) -> None:
    """
    P11: no dead letter, every event delivered after it, each record's in order, each asked once.
    """
    down = hall.world.desk.trouble["write"] = Down(hall)
    (hall.world.root / "templates/note.j2").write_text("{{ event.id }}")
    events = [ticket(str(n), subject=f"t{n % 5}") for n in range(EVENTS)]
    async with hall.working(hall.runner(on_error={"retry": 0})):
        for event in events:
            await hall.give(event)
            await hall.passes(HOUR / EVENTS, step=20)
        await hall.idle()
        await hall.ended(**{f"_{n}": "waiting" for n in range(EVENTS)})
        down.now = False
        await hall.passes(80, step=5)
        await hall.ended(**{f"_{n}": "delivered" for n in range(EVENTS)})

    written: dict[str, list[int]] = {}
    for _, record, text in hall.world.desk.notes:
        written.setdefault(record, []).append(int(text))
    assert written == {f"t{n}": list(range(n, EVENTS, 5)) for n in range(5)}
    assert hall.world.model.asked == EVENTS


@pytest.mark.parametrize("died", [False, True])
async def test_nobody_waits_at_a_gate_longer_than_the_pipeline_has_patience(
    hall: Hall, ticket: Any, *, died: bool
) -> None:
    """
    The desk stays down: an hour after their first try the runs are dead, also after a restart, and say why.
    """
    hall.world.desk.trouble["write"] = Down(hall)
    runner = hall.runner(on_error={"give_up_after": "1h"})
    async with hall.working(runner) as executor:
        await hall.give(*(ticket(str(n), subject=f"t{n}") for n in range(5)))
        await hall.ended(**{f"_{n}": "waiting" for n in range(5)})
        await hall.passes(HOUR - 300, step=30)
        await hall.ended(**{f"_{n}": "waiting" for n in range(5)})
        await executor._commit()
        if not died:
            await hall.ended(moving=30, **{f"_{n}": "dead" for n in range(5)})
    if died:
        await hall.reopen()
        async with hall.working(hall.runner(on_error={"give_up_after": "1h"})):
            await hall.ended(moving=30, **{f"_{n}": "dead" for n in range(5)})
    detail = await hall.ledger.detail((await runs_of(hall))[0].run)

    assert detail is not None
    assert "given up 1h after the first try" in str(detail.run.error)
    assert detail.event is not None


async def runs_of(hall: Hall) -> list[Any]:
    return await hall.ledger.runs(RunQuery(limit=1000))


async def test_a_run_is_not_tried_again_too_long_after_the_first_try(world: Any, ticket: Any) -> None:
    """
    Further tries are left, and the next one would come later than `give_up_after`: dead, with the reason.
    """
    runner = world.runner(on_error={"retry": 20, "backoff": "10m..10m", "give_up_after": "1s"})
    world.desk.trouble["write"] = [OSError("unforeseen")]
    detail = await world.run(runner, ticket())

    assert (detail.run.verdict, len(world.desk.calls)) == ("dead", 1)
    assert str(detail.run.error).endswith("(given up 1s after the first try)")


async def test_a_refusal_is_no_matter_of_patience(world: Any, ticket: Any) -> None:
    """
    What the desk rejects is dead at once and says nothing of giving up.
    """
    world.desk.trouble["write"] = [Rejected("no")]
    detail = await world.run(world.runner(), ticket())

    assert (detail.run.verdict, detail.run.error) == ("dead", "no")


async def test_events_of_one_key_run_one_after_the_other(memory_hall: Hall, ticket: Any) -> None:
    """
    P4: `key` decides the lane, in the order of admission; identity does not use it.
    """
    runner = memory_hall.runner(trigger__key="event.data.org_id")
    offered = [runner.offer(of_org(ticket, str(n), 7 + n % 2)) for n in range(4)]

    assert [new.lane for new in offered] == ["7", "8", "7", "8"]
    assert [new.run for new in offered] == [
        memory_hall.runner().offer(of_org(ticket, str(n), 7 + n % 2)).run for n in range(4)
    ]
    async with memory_hall.working(runner):
        await memory_hall.give(*(of_org(ticket, str(n), "7") for n in range(20)))
        await memory_hall.until(lambda: len(memory_hall.world.desk.notes) == 20)
        found = await runs_of(memory_hall)

    assert {run.lane for run in found} == {"7"}
    spans = sorted((run.seq, run.started_at, run.finished_at) for run in found)
    assert all(before[2] <= after[1] for before, after in pairwise(spans))


@pytest.mark.parametrize(
    ("data", "why"),
    [({"id": "1"}, "'event.data.org_id' is not there"), ({"id": "1", "org_id": None}, "must give text")],
)
async def test_an_event_without_its_key_is_dead(world: Any, ticket: Any, data: Any, why: str) -> None:
    """
    The reason names the event and the field.
    """
    detail = await world.run(world.runner(trigger__key="event.data.org_id"), ticket("77", data=data))

    assert detail.run.verdict == "dead"
    assert "event 77" in detail.run.error
    assert why in detail.run.error


async def test_an_unwanted_event_needs_no_key(world: Any, ticket: Any) -> None:
    """
    What the trigger does not want is filtered, whatever it lacks.
    """
    runner = world.runner(trigger__key="event.data.org", trigger__where="event.data.id == '2'")
    detail = await world.run(runner, ticket("77"))

    assert detail.run.verdict == "filtered"


async def test_a_changed_key_holds_for_events_that_come_after_it(hall: Hall, ticket: Any) -> None:
    """
    What waits keeps its lane; the new expression makes new lanes beside it, and every event runs once.
    """
    down = hall.world.desk.trouble["write"] = Down(hall)
    async with hall.working(hall.runner()) as executor:
        await hall.give(of_org(ticket, "1", "7"))
        await hall.ended(_1="waiting")
        await executor._commit()
    await hall.reopen()
    async with hall.working(hall.runner(trigger__key="event.data.org_id")):
        await hall.give(of_org(ticket, "1", "7"), of_org(ticket, "2", "7"))
        await hall.ended(_1="waiting", _2="waiting")
        down.now = False
        await hall.passes(120, step=10)
        await hall.ended(_1="delivered", _2="delivered")
        found = await runs_of(hall)

    assert {run.event_id: run.lane for run in found} == {"1": "t1", "2": "7"}


@pytest.mark.parametrize(("start", "expected"), [("now", ["4"]), ("oldest", ["1", "2", "3", "4"]), ("90m", ["3", "4"])])
async def test_a_new_pipeline_begins_where_it_says(
    memory_hall: Hall, ticket: Any, start: str, expected: list[str]
) -> None:
    """
    The position is recorded before the first fetch, and holds from then on whatever `start` says later.
    """
    for number in ("1", "2", "3"):
        await memory_hall.give(ticket(number, subject=f"t{number}"))
        await memory_hall.clock.advance(HOUR)
    async with memory_hall.working(memory_hall.runner(trigger__start=start)):
        await memory_hall.give(ticket("4", subject="t4"))
        await memory_hall.idle()
        await memory_hall.ended(**{f"_{number}": "delivered" for number in expected})
    async with memory_hall.working(memory_hall.runner(trigger__start="oldest")):
        await memory_hall.idle()
        await memory_hall.ended(**{f"_{number}": "delivered" for number in expected})


async def test_an_old_event_is_stale_without_cost(world: Any, ticket: Any) -> None:
    """
    Its age is that of the change; what is not wanted anyway is filtered.
    """
    runner = world.runner(trigger__max_age="1h", trigger__where="event.data.id == '35'")
    now = datetime.fromtimestamp(world.clock.now_ms() / 1000, UTC)
    young = await world.run(runner, ticket("1", time=now - timedelta(minutes=59)))
    old = await world.run(runner, ticket("2", time=now - timedelta(minutes=61)))
    other = await world.run(runner, ticket("3", time=now - timedelta(minutes=61), data={"id": "2"}))

    assert [one.run.verdict for one in (young, old, other)] == ["delivered", "stale", "filtered"]
    assert old.run.error == "its change is more than 1h ago (trigger.max_age)"
    assert world.model.asked == 1


@pytest.mark.parametrize(("down", "expected"), [("lookup", "stale"), ("write", "delivered")])
async def test_what_became_old_while_it_waited(hall: Hall, ticket: Any, down: str, expected: str) -> None:
    """
    Two hours at a gate: nothing was begun, so it is stale; an answer that is paid for is delivered all the same.
    """
    outage = hall.world.desk.trouble[down] = Down(hall)
    sections = {"ticket": {"from": "event.data"}, "customer": {"fetch": "desk.customer", "by": "event.data.org_id"}}
    changes: dict[str, Any] = {"trigger__max_age": "1h", "context__sections": sections}
    now = datetime.fromtimestamp(hall.clock.now_ms() / 1000, UTC)
    async with hall.working(hall.runner(**changes)) as executor:
        await hall.give(ticket("1", time=now))
        await hall.ended(_1="waiting")
        await executor._commit()
    await hall.reopen()
    async with hall.working(hall.runner(**changes)):
        await hall.passes(2 * HOUR, step=300)
        outage.now = False
        await hall.passes(120, step=10)
        await hall.ended(_1=expected)

    assert hall.world.model.asked == (0 if expected == "stale" else 1)


async def test_a_gate_that_another_process_opened_lets_runs_through(hall: Hall, ticket: Any) -> None:
    """
    A process that remembers an outage whose end another one saw does not send its runs back to the open gate.
    """
    runner = hall.runner()
    await hall.world.gates.shut("connection:desk", "down")
    other = Gates(hall.ledger, hall.clock)
    await other.load()
    async with hall.working(runner):
        await hall.give(ticket("1"))
        await hall.ended(_1="waiting")
        await other.worked("connection:desk")
        await hall.ended(_1="delivered")
