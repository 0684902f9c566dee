"""
Answers that are used again, judged by the log of the model server: as many calls as there are different questions.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import logging
from collections.abc import AsyncIterator
from typing import Any

import orjson
import pytest
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

import ai
from ai.double import Fault, ModelDouble
from ai.models import ModelSpec, Rates
from engine.holds import Holds
from ledger.contract import RunQuery
from ledger.costs import CostQuery, SavingSum
from ledger.returning import Return
from penstock.http_aiohttp import AiohttpHttp
from penstock.otel import REUSED, Otel
from penstock.secrets import Secrets
from schemas.entries import RunDetail
from tests.engine.bench import Bench, outgoing

PRICE = Rates(input=1_000_000, output=2_000_000)
LOST = {"id": "35", "subject": "Lost", "description": "My parcel is lost.", "org_id": "9", "status": "new"}
PUBLIC = {
    "context": {"tokens": 500, "sections": {"ticket": {"from": "event.data", "fields": ["subject", "description"]}}}
}
TENANT = {"who": {"tenant": "event.data.org_id"}}


@pytest.fixture
async def scene(world: Any, ticket: Any) -> AsyncIterator[Any]:
    """
    The world with the real AI layer on a model server.
    """
    http = AiohttpHttp()
    async with ModelDouble() as double:
        spec = ModelSpec(name="small", provider="openai", model="m", url=double.openai_url, price=PRICE)
        world.models = {"small": {"provider": "openai", "model": "m", "url": double.openai_url}}
        parts = {"http": http, "ledger": world.ledger, "secrets": Secrets({}), "clock": world.clock}
        world.model = ai.open({"small": spec}, instruments=world.instruments, **parts)
        yield Scene(world, double, ticket)
    await http.close()


@dataclasses.dataclass
class Scene:
    """
    One pipeline that asks a model server.
    """

    world: Any
    double: ModelDouble
    ticket: Any
    events: int = 0

    def runner(self, cache: Any = "exact", **changes: Any) -> Any:
        return self.world.runner(**PUBLIC | {"ask__cache": cache} | changes)

    def event(self, description: str = LOST["description"], **data: str) -> Any:
        self.events += 1
        number = str(self.events)
        return self.ticket(number, subject=number, data=LOST | {"description": description} | data)

    async def run(self, runner: Any, description: str = LOST["description"], **data: str) -> RunDetail:
        found: RunDetail = await self.world.run(runner, self.event(description, **data))
        return found

    async def runs(self) -> list[Any]:
        found: list[Any] = await self.world.ledger.runs(RunQuery(limit=500))
        return found

    async def saved(self) -> SavingSum | None:
        (found,) = await self.world.ledger.savings(CostQuery(since=0, until=2**60)) or [None]
        return found

    @property
    def asked(self) -> int:
        return len(self.double.calls)


def answer(detail: RunDetail) -> dict[str, Any]:
    """
    Return what a run's newest ask ended with.
    """
    (*_, step) = (step for step in detail.steps if step.kind == "ask")
    return step.result  # type: ignore[no-any-return]


async def test_the_same_question_is_paid_once(scene: Any) -> None:
    """
    Two tickets say the same: both are answered, one is paid for, and the other says whose answer it has.
    """
    runner = scene.runner()
    first, second = await scene.run(runner), await scene.run(runner)

    assert (first.run.verdict, second.run.verdict) == ("delivered", "delivered")
    assert scene.asked == 1
    assert answer(second)["output"] == answer(first)["output"]
    assert (answer(second)["cached"], answer(second)["saved"]) == (first.run.run, first.run.cost)
    assert (second.run.cost, answer(second)["cost"], second.calls) == (0, 0, ())
    assert [text for _, _, text in scene.world.desk.notes] == [answer(first)["output"]["summary"]] * 2
    assert second.steps[0].receipt["prompt"]["user"] != first.steps[0].receipt["prompt"]["user"]  # their nonces
    assert await scene.saved() == SavingSum(hits=1, saved=first.run.cost)
    assert first.run.cost > 0


async def test_what_is_counted(scene: Any, caplog: pytest.LogCaptureFixture) -> None:
    """
    Hits, misses and what was saved are in the metrics and in the log; no call and no money is counted twice.
    """
    caplog.set_level(logging.INFO, "penstock.ai")
    runner = scene.runner()
    first = await scene.run(runner)
    second = await scene.run(runner)
    await scene.run(runner, "Something else.")
    shown = scene.world.instruments.text().decode()

    (told,) = (vars(record) for record in caplog.records if "penstock.cached_run" in vars(record))

    assert (told["penstock.run"], told["penstock.cached_run"]) == (second.run.run, first.run.run)
    assert (told["penstock.saved_micro_usd"], told["penstock.model"]) == (first.run.cost, "small")
    assert 'penstock_cache_hits_total{model="small",pipeline="p"} 1.0' in shown
    assert 'penstock_cache_misses_total{pipeline="p"} 2.0' in shown
    assert f'penstock_cache_saved_usd_total{{model="small",pipeline="p"}} {first.run.cost / 1e6}' in shown
    assert 'penstock_calls_total{model="small",outcome="ok",pipeline="p"} 2.0' in shown


async def test_a_hit_has_a_span_of_its_own(scene: Any) -> None:
    """
    One call and one hit: the hit says whose answer it is and what that saved, and nothing counts it as a call.
    """
    spans, metrics = InMemorySpanExporter(), InMemoryMetricReader()
    otel = Otel(SimpleSpanProcessor(spans), metrics)
    scene.world.model.cache._tracing = otel
    scene.world.model._tools = dataclasses.replace(scene.world.model._tools, tracing=otel)
    runner = scene.runner()
    first, second = await scene.run(runner), await scene.run(runner)

    call, hit = spans.get_finished_spans()
    assert (call.name, hit.name) == ("chat m", REUSED)
    assert dict(hit.attributes or {}) == {
        "penstock.cache": "hit",
        "penstock.cached_run": first.run.run,
        "penstock.model": "small",
        "penstock.pipeline": "p",
        "penstock.run": second.run.run,
        "penstock.saved_micro_usd": first.run.cost,
        "penstock.step": "ask",
    }
    told = metrics.get_metrics_data()
    assert told is not None
    points = [each for of in told.resource_metrics for scope in of.scope_metrics for each in scope.metrics]
    assert {each.name: [point.count for point in each.data.data_points] for each in points} == {  # type: ignore[union-attr]
        "gen_ai.client.operation.duration": [1],
        "gen_ai.client.token.usage": [1, 1],
    }


async def test_other_questions_are_asked(scene: Any) -> None:
    """
    Another text, tenant, template, schema, room or model is another question.
    """
    world = scene.world
    await scene.run(scene.runner())
    await scene.run(scene.runner(), "My parcel is late.")
    await scene.run(scene.runner(**TENANT))
    await scene.run(scene.runner(**TENANT), org_id="10")
    await scene.run(scene.runner(ask__max_output="400"))
    world.models["small"] = world.models["small"] | {"region": "eu"}
    await scene.run(scene.runner())
    (world.root / "templates/ask.j2").write_text((world.root / "templates/ask.j2").read_text().replace("Sum", "Resum"))
    await scene.run(scene.runner())
    schema = orjson.loads((world.root / "schemas/out.json").read_bytes())
    (world.root / "schemas/out.json").write_bytes(orjson.dumps(schema | {"title": "another"}))
    await scene.run(scene.runner())

    assert scene.asked == scene.events == 8
    assert await scene.saved() is None


async def test_without_a_cache_nothing_is_looked_up(scene: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    A pipeline that does not want it asks for every event, and the ledger hears of no question.
    """
    for name in ("cached", "ask_for"):
        monkeypatch.setattr(scene.world.ledger, name, None)
    first, _ = [await scene.run(scene.runner(cache=None)) for _ in range(2)]

    assert scene.asked == 2
    assert {"question", "cached", "saved"} & answer(first).keys() == set()


async def test_an_answer_grows_old(scene: Any) -> None:
    """
    After `keep` it is asked for anew.
    """
    runner = scene.runner({"keep": "1h"})
    await scene.run(runner)
    scene.world.clock.ahead += 3_500
    await scene.run(runner)
    scene.world.clock.ahead += 200
    await scene.run(runner)

    assert scene.asked == 2


async def test_an_answer_that_does_not_fit_is_asked_for(scene: Any) -> None:
    """
    Nearly the same, but the answer repeats what only the first one said: the second asks, and the first stays.
    """
    runner = scene.runner("normalised")
    says = "Trace 550e8400-e29b-41d4-a716-446655440000 failed."
    scene.double.answers.append(orjson.dumps({"summary": says}).decode())
    other = says.replace("550e8400", "77777777")
    first = await scene.run(runner, says)
    second = await scene.run(runner, other)
    third = await scene.run(runner, says)

    assert scene.asked == 2
    assert "cached" not in answer(second) or not answer(second)["cached"]
    assert answer(third)["cached"] == first.run.run


async def test_nearly_the_same_is_asked_once(scene: Any) -> None:
    """
    Where the pipeline wants it, other times and trace ids are no other question; by default they are.
    """
    texts = [f"The job of 2026-11-26T13:0{n}:36Z failed." for n in range(3)]
    scene.double.answers.append('{"summary": "A job failed."}')
    near, exact = scene.runner("normalised"), scene.runner()
    for text in texts:
        await scene.run(near, text)
    assert scene.asked == 1

    for text in texts:
        await scene.run(exact, text)
    assert scene.asked == 4


async def test_a_hit_needs_no_money(scene: Any) -> None:
    """
    The cap is used up: what was answered before is answered still, anything else is over budget.
    """
    cost = (await scene.run(scene.runner())).run.cost
    runner = scene.runner(limits={"spend": f"{cost / 1e6:.6f} USD/day"})
    hit = await scene.run(runner)
    miss = await scene.run(runner, "Something else.")

    assert (hit.run.verdict, miss.run.verdict) == ("delivered", "over-budget")


async def test_a_hit_is_not_held(scene: Any) -> None:
    """
    Runs wait for money: a known question is answered meanwhile, and its pipeline goes on reading events.
    """
    limits = {"spend": "0.002 USD/day", "at_limit": "hold"}
    runner = scene.runner(limits=limits)
    asked = [await scene.run(runner, f"Something else, of {letter}.") for letter in "abcdefghijklmnop"]
    waiting = [run for run in asked if run.run.state == "waiting"]
    holds = Holds(scene.world.ledger, scene.world.clock, {"p": runner.plan})
    await holds.load()
    strict = Holds(scene.world.ledger, scene.world.clock, {"p": scene.runner(cache=None, limits=limits).plan})
    await strict.load()
    hit = await scene.run(runner, "Something else, of a.")

    assert {run.run.reason for run in waiting} == {"hold"}
    assert hit.run.verdict == "delivered"
    assert strict.paused("p")
    assert not holds.paused("p")


async def test_a_hit_passes_a_shut_gate(scene: Any) -> None:
    """
    The model is down: a known question is answered, another waits at the gate.
    """
    runner = scene.runner()
    await scene.run(runner)
    scene.double.faults.append(Fault(kind="status", status=503))
    shuts = await scene.run(runner, "Something else.")
    hit = await scene.run(runner)
    waits = await scene.run(runner, "And something else.")

    assert (shuts.run.gate, waits.run.gate) == ("model:small", "model:small")
    assert hit.run.verdict == "delivered"


async def test_made_again_it_is_asked_again(scene: Any) -> None:
    """
    `replay --again` asks and pays, and its answer takes the place of the one that was not good enough.
    """
    runner = scene.runner()
    scene.double.answers.extend(['{"summary": "Poor."}', '{"summary": "Better."}'])
    first = await scene.run(runner)
    await scene.run(runner)
    (run,) = [run for run in await scene.runs() if run.run == first.run.run]
    detail = await scene.world.ledger.detail(run.run)
    await scene.world.ledger.replay([Return(run=run.run, seq=detail.run.seq)], person="ana", again=True)
    await scene.world.resume(runner)
    last = await scene.run(runner)

    assert scene.asked == 2
    assert answer(last)["output"] == {"summary": "Better."}
    assert answer(last)["cached"] == first.run.run


async def test_many_at_once_ask_once(scene: Any) -> None:
    """
    A storm of two questions, while the model takes its time: two calls; whoever waited longer than a moment did so in
    the ledger, and everything is delivered.
    """
    runner = scene.runner()
    scene.double.faults.extend([Fault(kind="drip", seconds=0.3)] * 2)
    texts = ["My parcel is lost.", "My parcel is late."] * 15
    await asyncio.gather(*(scene.run(runner, text) for text in texts))
    behind = [run for run in await scene.runs() if run.reason == "behind"]
    async with asyncio.timeout(20):
        while any(run.state != "final" for run in await scene.runs()):
            await scene.world.resume(runner)

    assert scene.asked == 2
    assert {run.verdict for run in await scene.runs()} == {"delivered"}
    assert len(behind) == 28
    assert {run.attempts for run in await scene.runs()} == {0}
    assert (await scene.saved()).hits == 28


async def test_when_one_fails_another_asks(scene: Any) -> None:
    """
    The asking run is refused by the model: one of those that waited asks, the others take its answer.
    """
    runner = scene.runner()
    scene.double.faults.append(Fault(kind="refusal"))
    await asyncio.gather(*(scene.run(runner) for _ in range(5)))
    async with asyncio.timeout(20):
        while any(run.state != "final" for run in await scene.runs()):
            await scene.world.resume(runner)

    assert sorted(run.verdict for run in await scene.runs()) == [*["delivered"] * 4, "refused"]
    assert scene.asked == 2


async def test_over_a_rate_the_other_route_is_asked(scene: Any) -> None:
    """
    Unless the pipeline's own has answered before; the other's answers are not kept for those who get the own one.
    """
    limits = {"per_user": "1/day", "at_limit": {"use": "rest"}}
    routes = {"rest": {"try": ["small"]}}
    runner = scene.runner(limits=limits, routes=routes, who={"user": "event.data.org_id"})
    ends = [await scene.run(runner, text) for text in ("One.", "One.", "Two.", "Two.")]

    assert {end.run.verdict for end in ends} == {"delivered"}
    assert scene.asked == 3
    assert (await scene.saved()).hits == 1


async def test_the_executor_with_a_storm(bench: Bench, scene: Any) -> None:
    """
    The real executor, bus and clock: two hundred events of four questions make four calls.
    """
    world, ledger = scene.world, bench.ledger
    parts = {"http": AiohttpHttp(), "ledger": ledger, "secrets": Secrets({}), "clock": bench.clock}
    spec = ModelSpec(name="small", provider="openai", model="m", url=scene.double.openai_url, price=PRICE)
    world.model, world.clock = ai.open({"small": spec}, **parts), bench.clock
    scene.double.faults.extend([Fault(kind="drip", seconds=0.5)] * 4)
    runner = scene.world.runner(ledger, **PUBLIC | {"ask__cache": "exact"})
    events = [scene.event(f"Question {'abcd'[n % 4]}.") for n in range(200)]
    async with bench.running(runner, in_flight=40):
        await bench.bus.publish([outgoing(event) for event in events])
        async with asyncio.timeout(60):
            while (await ledger.counts()).get(("p", "delivered"), 0) < 200:
                await asyncio.sleep(0.05)
    with contextlib.suppress(Exception):
        await parts["http"].close()

    assert scene.asked == 4
    assert await ledger.savings(CostQuery(since=0, until=2**60, by=["pipeline"])) == [
        SavingSum(pipeline="p", hits=196, saved=49 * sum((await _costs(ledger)).values()))
    ]


async def _costs(ledger: Any) -> dict[str, int]:
    return {run.run: run.cost for run in await ledger.runs(RunQuery(limit=500)) if run.cost}
