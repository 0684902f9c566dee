"""
Another route when the pipeline's own money or rate is used up, and each model behind its own gate.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest

from ai import AIError
from ledger.contract import Claim
from schemas.entries import Answer, ModelCall
from tests.engine.conftest import Model

PRICES = {"large": 10_000, "small": 2_000, "tiny": 100}
ROUTES = {"rest": {"try": ["small", "tiny"]}, "both": {"try": ["tiny", "large"]}}
SPEND = {"spend": "0.015 USD/day", "at_limit": {"use": "rest"}}


@dataclass
class Priced(Model):
    """
    Models with prices, which climb the ladder to its top when told to.
    """

    climbs: bool = False
    errors: dict[str, list[BaseException]] = field(default_factory=dict)
    models: list[str] = field(default_factory=list)

    async def ask(self, claim: Claim, prompt: Any, *, model: Any, ask_hash: str, caps: Any, **rest: Any) -> Answer:
        async with self.ledger.step(claim, "ask", kind="ask", action_class="ai", timeout=5) as step:
            for name in model.models if self.climbs else model.models[:1]:
                model.may_ask(name)
                if self.errors.get(name):
                    raise self.errors[name].pop(0)
                async with step.call(amount=PRICES[name], caps=caps()) as slot:
                    self.models.append(name)
                    usual = {"run": claim.run, "step": "ask", "model": name, "provider": "x", "request_model": "x"}
                    await slot.settle(ModelCall(call=slot.call, cost=PRICES[name], **usual))
            says = Answer(output=self.says, model=name, provider="x", label="x", ask_hash=ask_hash, schema_hash="s")
            await step.done(says.model_dump(mode="json"))
            return says


@pytest.fixture
def prices(world: Any) -> Any:
    world.model = Priced(world.ledger)
    world.models = {name: {"provider": "offline", "model": name} for name in PRICES}
    return world


async def ended(world: Any, ticket: Any, runner: Any, count: int) -> list[str]:
    runs = [(await world.run(runner, ticket(str(n), subject=str(n)))).run for n in range(count)]
    return [str(run.verdict or run.state) for run in runs]


async def test_the_other_route_is_asked_when_the_money_does_not_reach(prices: Any, ticket: Any) -> None:
    """
    15,000 micro-USD buy one large answer, then the first model of the route that still fits, down to the last.
    """
    runner = prices.runner(limits=SPEND, ask__model="large", routes=ROUTES)
    ends = await ended(prices, ticket, runner, 14)

    assert prices.model.models == ["large", "small", "small", *["tiny"] * 10]
    assert ends == [*["delivered"] * 13, "over-budget"]


async def test_a_budget_of_many_says_itself_what_happens(prices: Any, ticket: Any) -> None:
    """
    At the limit of a hub's budget events are held, whatever route the pipeline has for its own limit.
    """
    budgets = {"all": {"spend": "0.011 USD/day", "at_limit": "hold"}}
    limits = SPEND | {"spend": "1 USD/day"}
    runner = prices.runner(limits=limits, ask__model="large", routes=ROUTES, budgets=budgets)

    assert await ended(prices, ticket, runner, 2) == ["delivered", "waiting"]
    assert prices.model.models == ["large"]


async def test_events_over_a_rate_are_asked_of_the_other_route(prices: Any, ticket: Any) -> None:
    """
    One large answer per user and day; the rest of that user's events get the cheap ones.
    """
    limits = {"per_user": "1/day", "at_limit": {"use": "rest"}}
    runner = prices.runner(limits=limits, ask__model="large", routes=ROUTES, who={"user": "event.data.org_id"})

    assert await ended(prices, ticket, runner, 3) == ["delivered"] * 3
    assert prices.model.models == ["large", "small", "small"]


async def test_a_shut_gate_of_a_later_model_is_that_models(prices: Any, ticket: Any) -> None:
    """
    The second model of a route is down: only runs that come to it wait, at its gate, and one finds it back.
    """
    prices.model.climbs = True
    prices.model.errors["large"] = [AIError("busy", error_class="overloaded", model="large")]
    runner = prices.runner(ask={"route": "both", "template": "ask.j2", "output": "out.json"}, routes=ROUTES)
    first = (await prices.run(runner, ticket("1", subject="1"))).run
    second = (await prices.run(runner, ticket("2", subject="2"))).run
    prices.model.climbs = False
    third = (await prices.run(runner, ticket("3", subject="3"))).run
    prices.model.climbs = True
    while await prices.ledger.gates():
        await prices.resume(runner)
    await prices.resume(runner)

    assert [run.gate for run in (first, second)] == ["model:large", "model:large"]
    assert third.verdict == "delivered"
    assert (await prices.ledger.detail(second.run)).run.verdict == "delivered"


def test_a_missing_field_is_not_sure(prices: Any) -> None:
    """
    An answer that leaves out what `escalate_when` reads asks the next model.
    """
    routes = {"r": {"try": ["small", "large"], "escalate_when": "output.confidence < 0.75"}}
    ask = {"route": "r", "template": "ask.j2", "output": "out.json"}
    ladder = prices.plan(ask=ask, routes=routes).ladder

    assert [ladder.unsure(output) for output in ({}, {"confidence": 0.7}, {"confidence": 0.8})] == [True, True, False]
    assert ladder.models == ("small", "large")
