"""
Shadows in a run: after its delivery, of no harm to it, and at most once.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import orjson
import pytest

import ai
from ai import ModelSpec, Rates
from ai.double import Fault, ModelDouble
from engine.shadowing import log
from ledger.costs import CostQuery
from ledger.pairing import SHADOW
from ledger.testing import beside, bury
from penstock.errors import Rejected
from penstock.http_aiohttp import AiohttpHttp
from penstock.secrets import SecretRefs, Secrets
from penstock.units import usd

EVER = CostQuery(since=0, until=2**60, pipeline="p")
MODELS = {"small": {"provider": "offline", "model": "s"}, "large": {"provider": "offline", "model": "l"}}
ROUTES = {"cheap": {"try": ["small", "large"], "escalate_when": "output.confidence < 0.75", "shadow": "100%"}}
ASK = {"route": "cheap", "template": "ask.j2", "output": "out.json"}
SCHEMA = {
    "type": "object",
    "required": ["summary", "mood", "confidence"],
    "additionalProperties": False,
    "properties": {
        "summary": {"type": "string"},
        "mood": {"enum": ["calm", "angry"]},
        "confidence": {"type": "number"},
    },
}


def says(mood: str = "calm", confidence: float = 0.9) -> str:
    return orjson.dumps({"summary": f"It is {mood}.", "mood": mood, "confidence": confidence}).decode()


@pytest.fixture
async def desk(world: Any) -> AsyncIterator[Any]:
    """
    The world with a real AI layer over a model server; every answer that is used is compared.
    """
    (world.root / "schemas/out.json").write_bytes(orjson.dumps(SCHEMA))
    world.models = MODELS
    http, rates = AiohttpHttp(), Rates(input=1_000_000, output=2_000_000)
    async with ModelDouble(keys={"new": "sk-canary-0123456789abcdef"}) as double:
        given: Any = {"key": SecretRefs.parse("${env:KEY}"), "url": double.openai_url, "price": rates}
        models = {name: ModelSpec(name=name, provider="openai", model=name, **given) for name in MODELS}
        secrets = Secrets({"KEY": "sk-canary-0123456789abcdef"})
        world.model = ai.open(models, http=http, ledger=world.ledger, secrets=secrets, clock=world.clock)
        world.double = double
        yield world
    await http.close()


def runner(desk: Any, **changes: Any) -> Any:
    return desk.runner(**{"routes": ROUTES, "ask": ASK} | changes)


def models(desk: Any) -> list[str]:
    return [call.model for call in desk.double.calls]


async def pairs(desk: Any) -> list[tuple[bool, bool]]:
    return [(pair.kept, pair.agree) for pair in await desk.ledger.pairs(EVER)]


async def test_it_is_asked_after_the_delivery(desk: Any, ticket: Any) -> None:
    """
    The note stands before the second model is asked, and says what the first one said; the verdict is as always.
    """
    noted: list[int] = []
    send = desk.model._tools.http.send

    async def sending(*args: Any, **more: Any) -> Any:
        noted.append(len(desk.desk.notes))
        return await send(*args, **more)

    desk.model._tools.http.send = sending
    desk.double.answers.extend([says(), says("angry")])
    detail = await desk.run(runner(desk), ticket())

    assert noted == [0, 1]
    assert [note[2] for note in desk.desk.notes] == ["It is calm."]
    assert (detail.run.verdict, models(desk)) == ("delivered", ["small", "large"])
    assert sorted((step.step, step.state) for step in detail.steps) == [  # two may begin in one millisecond
        ("ask", "done"),
        (SHADOW, "done"),
        ("desk.note", "done"),
    ]
    assert await pairs(desk) == [(True, False)]
    assert detail.run.cost == sum(call.cost for call in detail.calls)


async def test_an_escalated_event_has_no_shadow(desk: Any, ticket: Any) -> None:
    """
    Both answers are there anyway.
    """
    desk.double.answers.extend([says(confidence=0.3), says()])
    await desk.run(runner(desk), ticket())

    assert (models(desk), await pairs(desk)) == (["small", "large"], [(False, True)])


@pytest.mark.parametrize("fault", ["status", "not-json", "reset-after", "refusal"])
async def test_its_failure_is_none_of_the_runs(desk: Any, ticket: Any, fault: Any) -> None:
    """
    The run is delivered, no gate is shut, and it is not tried again.
    """
    desk.double.answers.append(says())
    good = desk.double.faults

    async def break_it(record: Any, args: Any, mode: Any, call: Any) -> Any:
        good.extend([Fault(kind=fault)] * 3)
        return await write(record, args, mode, call)

    write = desk.desk._write
    desk.desk._write = break_it
    detail = await desk.run(runner(desk), ticket())

    assert (detail.run.verdict, detail.run.attempts, await pairs(desk)) == ("delivered", 0, [])
    assert await desk.ledger.gates() == []
    assert (await desk.ledger.spent("x", "y"))[1] == 0


async def test_an_unforeseen_error_is_none_of_the_runs(
    desk: Any, ticket: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """
    A mistake of ours in comparing is logged, and loses nothing.
    """

    async def broken(*_args: Any, **_more: Any) -> None:
        raise RuntimeError("a bug")

    monkeypatch.setattr(desk.model, "shadow", broken)
    desk.double.answers.append(says())
    detail = await desk.run(runner(desk), ticket())

    assert detail.run.verdict == "delivered"
    assert [record.name for record in caplog.records if record.exc_info] == [log.name]


async def test_no_money_no_comparison(desk: Any, ticket: Any) -> None:
    """
    What is left of the cap is too little: nothing waits, nobody is over budget, and nothing is held.
    """
    desk.double.answers.extend([says(), says()])
    await desk.run(runner(desk, routes={"cheap": ROUTES["cheap"] | {"shadow": "0%"}}), ticket("1", subject="1"))
    worst = await desk.ledger.store.read(lambda c: c.execute("SELECT max(amount) FROM reservations").fetchone()[0])
    limits = {"spend": f"{usd(worst)}/day", "at_limit": "hold"}
    detail = await desk.run(runner(desk, limits=limits), ticket("2"))

    assert (detail.run.verdict, models(desk), await pairs(desk)) == ("delivered", ["small", "small"], [])
    assert await desk.ledger.holds() == []


async def test_it_takes_no_money_that_runs_wait_for(desk: Any, ticket: Any) -> None:
    """
    A run that has paid may overtake them; its comparison may not.
    """
    plan = runner(desk, limits={"spend": "1 USD/day", "at_limit": "hold"})
    (cap,) = plan.plan.spending.caps(desk.clock.now_ms())
    desk.double.answers.append(says())

    async def others_wait(record: Any, args: Any, mode: Any, call: Any) -> Any:
        waiting = await desk.ledger.claim(plan.offer(ticket("9", subject="9")))
        await desk.ledger.hold(waiting, b"{}", cap, need=cap.limit, why="no money")
        return await write(record, args, mode, call)

    write = desk.desk._write
    desk.desk._write = others_wait
    detail = await desk.run(plan, ticket())

    assert (detail.run.verdict, models(desk)) == ("delivered", ["small"])


async def test_a_paused_pipeline_compares_nothing(desk: Any, ticket: Any) -> None:
    """
    What runs comes to its end; nothing more is asked.
    """

    async def paused(record: Any, args: Any, mode: Any, call: Any) -> Any:
        await desk.ledger.pause("p", reason="spring cleaning")
        return await write(record, args, mode, call)

    write = desk.desk._write
    desk.desk._write = paused
    desk.double.answers.append(says())
    detail = await desk.run(runner(desk), ticket())

    assert (detail.run.verdict, models(desk)) == ("delivered", ["small"])


async def test_a_shut_model_compares_nothing(desk: Any, ticket: Any) -> None:
    """
    Nor does it probe.
    """
    await desk.gates.shut("model:large", "down")
    desk.double.answers.append(says())
    detail = await desk.run(runner(desk), ticket())

    assert (detail.run.verdict, models(desk)) == ("delivered", ["small"])


async def test_an_event_is_compared_at_most_once(desk: Any, ticket: Any) -> None:
    """
    A worker that dies in it leaves a delivered event: the next one ends the run, and asks and writes nothing.
    """
    other = await beside(desk.ledger)
    plan, event = runner(desk, ledger=other), ticket()
    desk.model._ledger = other
    claim: Any = await other.claim(plan.offer(event))
    await other.admit(plan.offer(event), event.to_json(), reason="behind")
    send = desk.model._tools.http.send

    async def die(*args: Any, **more: Any) -> Any:
        if desk.desk.notes:
            await bury(other)
            raise KeyboardInterrupt
        return await send(*args, **more)

    desk.model._tools.http.send = die
    desk.double.answers.append(says())
    with pytest.raises(KeyboardInterrupt):
        await plan.handle(claim, event, event.to_json())
    desk.model._ledger, desk.model._tools.http.send = desk.ledger, send
    resumed = await desk.resume(runner(desk))
    detail = await desk.ledger.detail(claim.run)

    assert (resumed, detail.run.verdict, len(desk.desk.notes)) == (1, "delivered", 1)
    assert (models(desk), await pairs(desk)) == (["small"], [])
    assert detail.run.cost == sum(call.cost for call in detail.calls)
    assert [call.step for call in detail.calls] == ["ask", SHADOW]


async def test_a_delivery_that_fails_is_not_compared(desk: Any, ticket: Any) -> None:
    """
    Nothing is asked for what was not delivered.
    """
    desk.desk.trouble["write"] = [Rejected("no")]
    desk.double.answers.append(says())
    detail = await desk.run(runner(desk), ticket())

    assert (detail.run.verdict, models(desk)) == ("dead", ["small"])


@pytest.mark.parametrize(
    "route",
    [
        ROUTES["cheap"] | {"shadow": "0%"},
        {"try": ["small", "large"], "escalate_when": "output.confidence < 0.75"},
    ],
)
async def test_without_a_share_nothing_is_compared(desk: Any, ticket: Any, route: Any) -> None:
    """
    None is the default.
    """
    desk.double.answers.append(says())
    await desk.run(runner(desk, routes={"cheap": route}), ticket())

    assert models(desk) == ["small"]


async def test_free_text_alone_is_not_compared(desk: Any, ticket: Any) -> None:
    """
    Nothing is paid for what nobody could tell.
    """
    schema = SCHEMA | {"required": ["summary"], "properties": {"summary": {"type": "string"}}}
    (desk.root / "schemas/out.json").write_bytes(orjson.dumps(schema))
    desk.double.answers.append('{"summary": "It is."}')
    await desk.run(runner(desk, routes={"cheap": {"try": ["small", "large"], "shadow": "100%"}}), ticket())

    assert models(desk) == ["small"]


async def test_the_same_events_are_compared_whoever_runs_them(desk: Any, ticket: Any) -> None:
    """
    Half of them: which ones depends on nothing but the event.
    """
    half = {"cheap": ROUTES["cheap"] | {"shadow": "50%"}}
    plan = runner(desk, routes=half)
    picked = [plan.plan.ladder.shadow.picks(plan.offer(ticket(str(number))).run) for number in range(12)]
    for number in range(12):
        desk.double.answers.extend([says()] * (1 + picked[number]))
        await desk.run(plan, ticket(str(number), subject=str(number)))

    assert 0 < sum(picked) < 12
    assert len(await pairs(desk)) == sum(picked)
    assert models(desk).count("large") == sum(picked)
