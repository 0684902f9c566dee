"""
Traces in which the configuration, or a system's memory, changes while a run is under way.
"""

from __future__ import annotations

from typing import Any

from penstock.errors import UnknownOutcome


async def test_p13_an_action_inserted_in_front_writes_nothing_twice(world: Any, ticket: Any) -> None:
    """
    A deploy puts another delivery first while a run waits: that one is written, and the written one is not again.
    """
    world.desk.trouble["written"] = [UnknownOutcome("cut")]
    waiting = await world.run(world.runner(), ticket())
    note = {"to": "desk.note", "template": "note.j2"}
    await world.resume(world.runner(deliver=[note | {"name": "before"}, note]))
    detail = await world.ledger.detail(waiting.run.run)

    assert detail.run.verdict == "delivered"
    assert {step.step: step.state for step in detail.steps if step.kind == "write"} == {
        "before": "done",
        "desk.note": "done",
    }
    assert 2 == len(world.desk.notes) == len({key for key, _, _ in world.desk.notes})
    assert world.model.asked == 1


async def test_p15_a_key_the_system_may_have_forgotten_is_not_trusted(world: Any, ticket: Any) -> None:
    """
    The system remembers keys for a second: after a longer wait the write is looked for, not sent again.
    """
    world.desk.idempotency, world.desk.key_lifetime = "keyed", 1.0
    world.desk.trouble["written"] = [UnknownOutcome("cut")]
    runner = world.runner()
    waiting = await world.run(runner, ticket())
    world.clock.ahead += 30.0
    await world.resume(runner)
    detail = await world.ledger.detail(waiting.run.run)

    assert detail.run.verdict == "delivered"
    assert "find" in world.desk.calls
    assert 1 == len(world.desk.notes)


async def test_p15_a_young_key_is_simply_sent_again(world: Any, ticket: Any) -> None:
    """
    A system that remembers every key sorts out itself what it has already.
    """
    world.desk.idempotency = "keyed"
    world.desk.trouble["written"] = [UnknownOutcome("cut")]
    runner = world.runner()
    await world.run(runner, ticket())
    await world.resume(runner)

    assert "find" not in world.desk.calls
    assert 1 == len({key for key, _, _ in world.desk.notes})
