"""
Loop net 4: a pipeline that was delivered too often for one record stops there, and goes on when that is over.
"""

from __future__ import annotations

import logging
from types import SimpleNamespace
from typing import Any
from zoneinfo import ZoneInfo

import orjson
import pytest

from engine.alerts import Alerts, Webhook
from engine.dispatch import Dispatch
from engine.metrics import Metrics
from ledger.fuses import FUSE
from ledger.returning import Return
from penstock.http import Response


async def run(world: Any, runner: Any, event: Any) -> Any:
    """
    Run an event whose answer is another one than before.
    """
    world.model.says = {"summary": f"On {event.id}.", "confidence": 0.9}
    return await world.run(runner, event)


async def test_a_robot_that_answers_every_answer_is_stopped(world: Any, ticket: Any) -> None:
    """
    Another account writes after each write of ours: no other net can know, and the conversation ends all the same.
    """
    runner = world.runner(limits__fuse="3/hour")
    ends = []
    for number in range(1, 7):
        detail = await run(world, runner, ticket(str(number), actor="robot"))
        ends.append(detail.run.verdict)
        if detail.run.verdict != "delivered":
            break
    other = await run(world, runner, ticket("9", subject="36", partitionkey="36"))

    assert ends == ["delivered", "delivered", "delivered", "dead"]
    assert world.model.asked == 4  # the other record's one, too
    assert other.run.verdict == "delivered"
    assert (detail.run.failed_step, detail.run.deaths, detail.run.cost) == ("trigger", 1, 0)
    assert detail.run.error.startswith("3 runs were delivered for '35' in less time than `limits.fuse: 3/hour` allows")
    assert detail.event["id"] == "4"


async def test_it_recovers_and_what_it_stopped_can_be_replayed(world: Any, ticket: Any) -> None:
    """
    What was stopped does not count: an hour after the first delivery the next event runs. A replay asks nobody.
    """
    runner = world.runner(limits__fuse="2/hour")
    for number in "123":
        stopped = await run(world, runner, ticket(number))
        world.clock.ahead += 600
    assert stopped.run.verdict == "dead"
    world.clock.ahead += 1750
    late = await run(world, runner, ticket("4"))
    assert late.run.verdict == "dead"
    back = [Return(run=stopped.run.run, seq=stopped.run.seq, insist=True)]
    assert await world.ledger.replay(back, person="mira")
    await world.resume(runner)
    assert (await world.ledger.detail(stopped.run.run)).run.verdict == "delivered"
    world.clock.ahead += 3600

    assert (await run(world, runner, ticket("5"))).run.verdict == "delivered"
    assert await world.ledger.fuses() == []


async def test_what_was_replayed_blows_no_fuse(world: Any, ticket: Any) -> None:
    """
    Everything it stopped is replayed an hour later; the next event of a person runs.
    """
    runner = world.runner(limits__fuse="2/hour")
    runs = [(await run(world, runner, ticket(number))).run for number in "12345"]
    world.clock.ahead += 3700
    dead = [Return(run=one.run, seq=one.seq, insist=True) for one in runs if one.verdict == "dead"]
    assert await world.ledger.replay(dead, person="mira")
    for number in range(3):
        world.model.says = {"summary": f"Again {number}.", "confidence": 0.9}
        await world.resume(runner)
    ends = [(await world.ledger.detail(one.run)).run.verdict for one in dead]

    assert ends == ["delivered"] * 3
    assert (await run(world, runner, ticket("6"))).run.verdict == "delivered"


def test_a_key_of_ones_own_has_no_fuse_unless_one_is_set(world: Any) -> None:
    """
    A customer's events may be more than a hundred an hour, and none of them is to end dead for that.
    """
    plans = [world.plan(trigger__key="event.data.id", **more) for more in ({}, {"limits__fuse": "9/hour"})]

    assert [str(plan.fuse) for plan in plans] == ["None", "9/hour"]


@pytest.mark.parametrize("fuse", ["off", "100/hour"])
async def test_it_is_wide_unless_somebody_says_otherwise(world: Any, ticket: Any, fuse: str) -> None:
    """
    By default a hundred in an hour; `off` is none.
    """
    runner = world.runner(**({"limits__fuse": "off"} if fuse == "off" else {}))
    assert str(runner.plan.fuse) == ("None" if fuse == "off" else fuse)
    for number in range(5):
        assert (await run(world, runner, ticket(str(number)))).run.verdict == "delivered"


async def test_people_are_told(world: Any, ticket: Any, caplog: pytest.LogCaptureFixture) -> None:
    """
    One line in the log and one signed post per fuse, however many events it stops; Prometheus sees that it holds.
    """
    runner = world.runner(limits__fuse="1/hour")
    for number in "123":
        await run(world, runner, ticket(number))
    posted: list[Any] = []

    async def send(request: Any, **_how: Any) -> Response:
        posted.append(request)
        return Response(status=204)

    webhook = Webhook(url="https://ops.example/hook", secrets=lambda: ["s" * 32], http=SimpleNamespace(send=send))  # type: ignore[arg-type]
    alerts = Alerts(world.clock, webhook)
    dispatch = Dispatch(world.ledger, world.clock, {FUSE: alerts.blown})
    with caplog.at_level(logging.WARNING):
        assert [await dispatch.look(), await dispatch.look()] == [1, 0]
    said = orjson.loads(posted[0].content)
    shown = (await Metrics(world.ledger, world.clock, ZoneInfo("UTC")).text()).decode()

    assert len([one for one in caplog.records if "the fuse of p blew for '35'" in one.message]) == 1
    assert (said["type"], said["data"]["pipeline"], said["data"]["lane"]) == ("fuse.blown", "p", "35")
    assert "more runs than 1/hour" in said["data"]["text"]
    assert 'penstock_fuses_blown{pipeline="p"} 1.0' in shown
