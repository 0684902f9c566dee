"""
The engine as a whole: how it starts when systems do not say who we are, and how it stops.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

import bus as bus_room
from connectors.contract import Call, Health
from engine import Engine, machine
from penstock.clock import SystemClock
from penstock.errors import Rejected, Unavailable


@asynccontextmanager
async def engine(world: Any, **more: Any) -> AsyncIterator[Engine]:
    clock = SystemClock()
    bus = bus_room.open(None, partitions=machine.EMBEDDED.partitions, keep=3600.0, clock=clock)
    made = Engine(
        {"p": world.plan()},
        connectors={"desk": world.desk},
        ai=world.model,
        bus=bus,
        ledger=world.ledger,
        http=None,  # type: ignore[arg-type]
        clock=clock,
        **more,
    )
    try:
        yield made
    finally:
        await made.stop(5.0)
        await bus.close()


@pytest.mark.parametrize("error", [Rejected("the body makes no sense"), TimeoutError()])
async def test_a_system_that_cannot_say_who_we_are_does_not_stop_the_start(
    world: Any, error: BaseException, monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    The hub starts, and asks again until it knows.
    """
    answers: list[Any] = [error, error, Health(state="ok", detail="fine", acts_as="4711")]

    async def health(_call: Call) -> Health:
        found = answers.pop(0)
        if isinstance(found, BaseException):
            raise found
        return found  # type: ignore[no-any-return]

    monkeypatch.setattr(machine, "WHOAMI_AGAIN", 0.01)
    world.desk.health = health
    world.desk.acts_as = None
    async with engine(world) as made:
        await made.start()
        async with asyncio.timeout(10):
            while world.desk.acts_as is None:
                await asyncio.sleep(0.01)

    assert answers == []


async def test_asking_who_we_are_goes_on_after_a_bug(world: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    An error nobody foresaw does not end the asking.
    """
    answers: list[Any] = [Health(state="down", detail="no"), ZeroDivisionError(), Health(state="ok", detail="fine")]

    async def health(_call: Call) -> Health:
        found = answers.pop(0)
        if isinstance(found, BaseException):
            raise found
        return found  # type: ignore[no-any-return]

    monkeypatch.setattr(machine, "WHOAMI_AGAIN", 0.01)
    world.desk.health = health
    async with engine(world) as made:
        await made.start()
        async with asyncio.timeout(10):
            while answers:
                await asyncio.sleep(0.01)


async def test_a_silent_connection_is_told(
    world: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """
    The engine listens to its sources, and people hear of one that sends nothing for too long.
    """
    monkeypatch.setattr(machine, "LISTEN_EVERY", 0.01)
    monkeypatch.setattr(machine, "LOOK_EVERY", 0.01)
    async with engine(world, silence={"desk": 0.02}) as made:
        await made.start()
        async with asyncio.timeout(10):
            while "source desk is silent since" not in caplog.text:
                await asyncio.sleep(0.01)
        shown = (await made.metrics.text()).decode()

    assert 'penstock_source_silent{connection="desk",source="*"} 1.0' in shown
    assert 'penstock_source_quiet_seconds{connection="desk",source="*"}' in shown


async def test_what_came_before_a_stop_is_counted(world: Any) -> None:
    """
    It looks every half minute, and once more when it stops.
    """
    async with engine(world, silence={"desk": "usual"}) as made:
        await made.start()
        made._heartbeat.beat("desk", "webhook", 3)
    counted = await world.ledger.beats("desk", "webhook", 0)

    assert list(counted.values()) == [3]


@pytest.mark.parametrize("error", [Unavailable("away"), ZeroDivisionError()])
async def test_a_ledger_that_is_away_does_not_hold_up_a_stop(
    world: Any, error: Exception, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """
    The count of the last half minute is lost, which the log says, and the hub leaves.
    """

    async def away(*_args: Any, **_kw: Any) -> None:
        raise error

    async with engine(world, silence={"desk": "usual"}) as made:
        await made.start()
        monkeypatch.setattr(world.ledger, "beat", away)

    assert "what sources sent last" in caplog.text


async def test_an_engine_that_never_started_stops(world: Any) -> None:
    """
    A start that failed half-way is cleaned up like any other.
    """
    async with engine(world) as made:
        assert made.executor.running == 0


async def test_a_stop_leaves_no_task_behind(world: Any) -> None:
    """
    Every loop and chore ends with the engine.
    """
    before = asyncio.all_tasks()
    async with engine(world) as made:
        await made.start()
        assert asyncio.all_tasks() != before
    assert asyncio.all_tasks() == before


@pytest.mark.parametrize(
    ("changes", "data", "verdict"),
    [
        ({}, True, "dead"),
        ({}, False, "dead"),
        ({"type": "ticket.deleted"}, False, "filtered"),
        ({"actor": "4711"}, True, "own-write"),
        ({"data": {"status": "solved"}}, True, "filtered"),
    ],
)
async def test_what_cannot_travel_is_dead_where_it_is_wanted(
    world: Any, ticket: Any, changes: dict[str, Any], data: bool, verdict: str
) -> None:
    """
    It says why; without its data nobody can say that `where` or `changed` would have kept it back.
    """
    plan = world.plan(trigger__where="event.data.status == 'new'", trigger__changed=None if data else ["status"])
    event = ticket("1", **changes) if data else ticket("1", **changes | {"data": {}})
    async with engine(world) as made:
        made._plans["p"] = plan  # type: ignore[index]
        made.runners["p"] = world.runner(
            trigger__where="event.data.status == 'new'", trigger__changed=None if data else ["status"]
        )
        await made._refuse("desk", event, "it is too large")
        found = await world.ledger.detail(made.runners["p"].offer(event).run)

    assert found.run.verdict == verdict
    assert verdict != "dead" or "it is too large" in found.run.error
