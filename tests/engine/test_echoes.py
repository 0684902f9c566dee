"""
Our own writes coming back.
"""

from __future__ import annotations

from typing import Any

from penstock.errors import UnknownOutcome


async def test_an_echo_of_our_fields_is_an_own_write(world: Any, ticket: Any) -> None:
    """
    Net 2: only fields we wrote, with the values we wrote; one more field and it is somebody else's.
    """
    fields = {"priority": {"value": "'high'"}, "mood": {"value": "'angry'"}}
    runner = world.runner(deliver=[{"to": "desk.note", "set": fields}])
    await world.run(runner, ticket("1"))
    data = {"id": "35", "priority": "high", "mood": "angry", "status": "open"}
    echo = await world.run(runner, ticket("2", type="ticket.updated", data={**data, "changed": ["priority"]}))
    mixed = await world.run(runner, ticket("3", type="ticket.updated", data={**data, "changed": ["mood", "status"]}))
    other = {**data, "priority": "low", "changed": ["priority"]}
    value = await world.run(runner, ticket("4", type="ticket.updated", data=other))

    assert echo.run.verdict == "own-write"
    assert mixed.run.verdict != "own-write"
    assert value.run.verdict != "own-write"


async def test_an_echo_that_overtakes_its_write_waits_for_it(world: Any, ticket: Any) -> None:
    """
    The system's webhook arrives before its answer to us: the change waits, then is judged.
    """
    runner = world.runner(deliver=[{"to": "desk.note", "set": {"priority": {"value": "'high'"}}}])
    data = {"id": "35", "priority": "high", "changed": ["priority"]}
    early = ticket("2", type="ticket.updated", data=data, partitionkey="other lane")
    seen: list[Any] = []

    async def overtake(*_: Any) -> None:
        seen.append(await world.run(runner, early))

    write = world.desk._write

    async def emitting(record: str, args: Any, mode: Any, call: Any) -> Any:
        await overtake()
        return await write(record, args, mode, call)

    world.desk._write = emitting
    await world.run(runner, ticket("1"))
    assert (seen[0].run.state, seen[0].run.reason) == ("waiting", "behind")
    await world.resume(runner)
    detail = await world.ledger.detail(seen[0].run.run)

    assert detail.run.verdict == "own-write"
    assert world.model.asked == 1


async def test_our_write_for_an_event_does_not_make_the_event_ours(world: Any, ticket: Any) -> None:
    """
    A person set the value that we set too, and our write was cut off: the run looks, it does not end own-write.
    """
    world.desk.trouble["written"] = [UnknownOutcome("cut")]
    runner = world.runner(deliver=[{"to": "desk.note", "set": {"priority": {"value": "'high'"}}}])
    data = {"id": "35", "priority": "high", "changed": ["priority"]}
    detail = await world.run(runner, ticket("1", type="ticket.updated", data=data))
    assert detail.run.state == "waiting"
    await world.resume(runner)
    detail = await world.ledger.detail(detail.run.run)

    assert (detail.run.verdict, len(world.desk.notes)) == ("delivered", 1)


async def test_an_event_that_waited_is_ours_once_we_know_who_we_are(world: Any, ticket: Any) -> None:
    """
    The system did not say who we are when the event came; it did before the run started.
    """
    world.desk.acts_as = None
    runner = world.runner()
    mine = ticket("1", actor="4711")
    assert runner.judge(mine) is None
    claim = await world.ledger.claim(runner.offer(mine))
    world.desk.acts_as = "4711"
    await runner.handle(claim, mine, mine.to_json())
    detail = await world.ledger.detail(claim.run)

    assert (detail.run.verdict, world.model.asked) == ("own-write", 0)
