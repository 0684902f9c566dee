"""
Rates per user and record: an event over one waits for its turn, or ends, and counts once.
"""

from __future__ import annotations

from typing import Any

HOUR = 3_600_000  # ms


async def ran(world: Any, runner: Any, ticket: Any, *numbers: str, **changes: Any) -> list[Any]:
    return [(await world.run(runner, ticket(number, subject=number, **changes))).run for number in numbers]


async def test_events_over_a_users_rate_wait_for_their_turn(world: Any, ticket: Any) -> None:
    """
    Two an hour: the third and fourth are written down once with the time they may run, and run then.
    """
    runner = world.runner(who={"user": "event.data.org_id"}, limits={"per_user": "2/hour", "at_limit": "hold"})
    runs = await ran(world, runner, ticket, "1", "2", "3", "4")
    now = world.clock.now_ms()

    assert [run.verdict for run in runs] == ["delivered", "delivered", None, None]
    assert [run.reason for run in runs[2:]] == ["hold", "hold"]
    assert all(HOUR - 60_000 < run.due_at - now <= HOUR for run in runs[2:])
    assert "pipeline:p/user=9" in runs[2].error
    assert (world.model.asked, await world.resume(runner)) == (2, 1)
    assert await world.resume(runner) == 1
    assert world.model.asked == 4


async def test_events_over_a_records_rate_end(world: Any, ticket: Any) -> None:
    """
    Where events are dropped, the second of a record in a day is over-budget, that of another is not.
    """
    runner = world.runner(limits={"per_key": "1/day"})
    first = (await world.run(runner, ticket("1"))).run
    second = (await world.run(runner, ticket("2"))).run
    other = (await world.run(runner, ticket("3", subject="36"))).run

    assert [first.verdict, second.verdict, other.verdict] == ["delivered", "over-budget", "delivered"]
    assert "pipeline:p/key=" in second.error


async def test_what_runs_again_counts_once(world: Any, ticket: Any) -> None:
    """
    A try that failed, and a redelivery, take no second place.
    """
    world.model.trouble = [ZeroDivisionError("a bug")]
    runner = world.runner(limits={"per_key": "2/day"})
    await world.run(runner, ticket("1"))
    await world.resume(runner)
    await world.ledger.claim(runner.offer(ticket("1")))
    second = (await world.run(runner, ticket("2"))).run
    third = (await world.run(runner, ticket("3"))).run

    assert [second.verdict, third.verdict] == ["unchanged", "over-budget"]


async def test_users_without_a_name_are_one(world: Any, ticket: Any) -> None:
    """
    An event whose user is null counts for the user without a name, not for nobody.
    """
    runner = world.runner(who={"user": "event.data.org_id"}, limits={"per_user": "1/hour"})
    runs = []
    for number in ("1", "2"):
        event = ticket(number, subject=number)
        data = {name: value for name, value in event.data.items() if name != "org_id"} | {"org_id": None}
        runs.append((await world.run(runner, event.model_copy(update={"data": data}))).run.verdict)

    assert runs == ["delivered", "over-budget"]
