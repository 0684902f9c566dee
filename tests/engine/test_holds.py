"""
Money that is used up: runs wait in order at the budget's gate, and the topic waits with them.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

import bus as bus_room
import ledger as ledger_room
from bus.contract import Outgoing
from engine import Engine, machine
from engine.holds import Holds
from ledger.contract import Cap, Claim, Ledger
from ledger.limits import CapReached
from penstock.clock import SystemClock
from penstock.errors import Unavailable
from pipelines.plan import Plan
from schemas.entries import Answer, ModelCall
from tests.engine.conftest import Desk, Model

WORST, REAL = 20_000, 2_000  # micro-USD of one call
DAY = 86_400  # seconds


class ShiftedClock(SystemClock):
    """
    The machine's clock, turned by as much as a test says.
    """

    ahead = 0.0

    def now_ms(self) -> int:
        return super().now_ms() + int(self.ahead * 1000)

    def to_midnight(self) -> None:
        now = datetime.fromtimestamp(self.now_ms() / 1000, UTC)
        following = now.replace(hour=0, minute=0, second=1, microsecond=0) + timedelta(days=1)
        self.ahead += (following - now).total_seconds()

    def to_noon(self) -> None:
        self.to_midnight()
        self.ahead += DAY / 2


@dataclass
class Payer(Model):
    """
    A model whose every answer costs a tenth of what was reserved for it.
    """

    held: list[int] = field(default_factory=list)
    """Spent and reserved money while calls were under way."""
    pause: float = 0.002  # seconds

    async def ask(self, claim: Claim, prompt: Any, *, output: Any, ask_hash: str, caps: Any, **rest: Any) -> Answer:
        wanted = caps()
        async with self.ledger.step(claim, "ask", kind="ask", action_class="ai", timeout=5) as step:
            async with step.call(amount=WORST, caps=wanted) as slot:
                self.held.append(sum(await self.ledger.spent(wanted[0].scope, wanted[0].period)))
                await asyncio.sleep(self.pause)
                usual = {"run": claim.run, "step": "ask", "model": "small", "provider": "x", "request_model": "x"}
                await slot.settle(ModelCall(call=slot.call, cost=REAL, **usual))
            self.asked += 1
            says = Answer(output=self.says, model="small", provider="x", label="x", ask_hash=ask_hash, schema_hash="s")
            await step.done(says.model_dump(mode="json"))
            return says


class Counting:
    """
    A ledger that counts how often each run was put off.
    """

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self.waits: Counter[str] = Counter()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._ledger, name)

    async def hold(self, claim: Claim, *args: Any, **keywords: Any) -> None:
        self.waits[claim.run] += 1
        await self._ledger.hold(claim, *args, **keywords)


@dataclass
class Hub:
    """
    An engine on a bus and a ledger of its own.
    """

    engine: Engine
    bus: Any
    ledger: Any
    clock: ShiftedClock
    model: Payer
    desk: Desk

    async def send(self, events: list[Any]) -> None:
        topic = machine.EMBEDDED.topic("desk")
        parts = [event.to_kafka() for event in events]
        await self.bus.publish(
            [Outgoing(topic=topic, key=key, value=value, headers=headers) for key, headers, value in parts]
        )

    async def settled(self, **wanted: int) -> dict[str, int]:
        """
        Wait until as many runs ended as wanted and nothing moves any more; return all counts.
        """
        before: Any = None
        async with asyncio.timeout(60):
            while True:
                found = {end: count for (_, end), count in (await self.ledger.counts()).items()}
                if found == before and all(found.get(end, 0) >= count for end, count in wanted.items()):
                    return found
                before = found
                await asyncio.sleep(0.3)


@asynccontextmanager
async def hub(world: Any, *, in_flight: int = 50, **changes: Any) -> AsyncIterator[Hub]:
    clock = ShiftedClock()
    clock.to_noon()
    ledger = Counting(await ledger_room.open(None, clock=clock))
    bus = bus_room.open(None, partitions=machine.EMBEDDED.partitions, keep=30 * DAY, clock=clock)
    model = Payer(ledger)  # type: ignore[arg-type]
    made = Engine(
        {"p": world.plan(**changes)},
        connectors={"desk": world.desk},
        ai=model,  # type: ignore[arg-type]
        bus=bus,
        ledger=ledger,  # type: ignore[arg-type]
        http=None,  # type: ignore[arg-type]
        clock=clock,
        in_flight=in_flight,
    )
    await made.start()
    try:
        yield Hub(made, bus, ledger, clock, model, world.desk)
    finally:
        await made.stop(5.0)
        await bus.close()
        await ledger.close()


async def test_nearly_the_whole_cap_is_spent_and_the_topic_is_not_copied(world: Any, ticket: Any) -> None:
    """
    P25 and P26: 600 events over 50 places, each reserves ten times its price, and the money is there for 375.
    """
    cap = 375 * REAL
    limits = {"spend": f"{cap / 1_000_000} USD/day", "at_limit": "hold"}
    async with hub(world, limits=limits) as running:
        world.desk.records |= {str(n): {"id": str(n), "status": "new"} for n in range(600)}
        await running.send([ticket(str(n), subject=str(n)) for n in range(600)])
        found = await running.settled(delivered=(cap - WORST) // REAL)
        spent, reserved = await running.ledger.spent("pipeline:p", await period(running))
        counted = running.ledger.waits

        assert cap - WORST < spent <= cap
        assert reserved == 0
        assert max(running.model.held) <= cap
        assert found["waiting"] <= 2 * 50, "the rest is still on the bus"
        assert max(counted.values()) <= 3
        assert sum(counted.values()) <= 1.5 * len(counted)

        running.clock.to_midnight()
        assert await running.settled(delivered=600) == {"delivered": 600}


async def period(running: Hub) -> str:
    return datetime.fromtimestamp(running.clock.now_ms() / 1000, UTC).strftime("%Y-%m-%d")


async def test_one_users_money_keeps_nobody_else_waiting(world: Any, ticket: Any) -> None:
    """
    A budget per user holds that user's runs in the ledger; everybody else is served, and fetching goes on.
    """
    budgets = {"each": {"per": "user", "spend": "0.02 USD/day"}}
    async with hub(world, budgets=budgets, who={"user": "event.data.org_id"}) as running:
        await running.send([one_of(ticket, n, "greedy") for n in range(10)])
        await running.settled(delivered=1)
        await running.send([one_of(ticket, 10 + n, f"user {n}") for n in range(5)])
        found = await running.settled(delivered=6)

        assert found == {"delivered": 6, "waiting": 9}
        assert [hold.scope for hold in await running.ledger.holds()] == ["budget:each/user=greedy"]


def one_of(ticket: Any, number: int, user: str) -> Any:
    event = ticket(str(number), subject=str(number))
    return event.model_copy(update={"data": event.data | {"org_id": user}})


async def test_dropping_ends_what_does_not_fit(world: Any, ticket: Any) -> None:
    """
    Where events are dropped, none is while calls under way hold the money, and all are once it is spent.
    """
    limits = {"spend": f"{30 * REAL / 1_000_000} USD/day", "at_limit": "drop"}
    async with hub(world, limits=limits) as running:
        world.desk.records |= {str(n): {"id": str(n), "status": "new"} for n in range(60)}
        await running.send([ticket(str(n), subject=str(n)) for n in range(60)])
        found = await running.settled(delivered=21)

        assert found == {"delivered": 21, "over-budget": 39}


async def test_waiting_runs_go_on_when_the_limit_was_raised(world: Any, ticket: Any) -> None:
    """
    A restart with another limit lets runs through that waited for the old one.
    """
    runner = world.runner(limits={"spend": "0.02 USD/day", "at_limit": "hold"})
    world.model = Payer(world.ledger)
    runner = world.runner(limits={"spend": "0.02 USD/day", "at_limit": "hold"})
    first = await world.run(runner, ticket("1", subject="1"))
    second = await world.run(runner, ticket("2", subject="2"))
    raised = world.plan(limits={"spend": "0.1 USD/day", "at_limit": "hold"})
    waited = await world.ledger.pick_up(["p"], 10)
    holds = Holds(world.ledger, world.clock, {"p": raised})
    await holds.load()
    assert holds.paused("p")

    assert (first.run.verdict, second.run.state, second.run.gate) == ("delivered", "waiting", "budget:pipeline:p")
    assert "pipeline:p" in second.run.error
    assert waited == []
    assert [one.claim.run for one in await world.ledger.pick_up(["p"], 10)] == [second.run.run]
    assert await holds.look()
    assert not holds.paused("p")


async def test_a_removed_budget_keeps_nobody(world: Any, ticket: Any) -> None:
    """
    A restart without the budget lets through whoever waited for it.
    """
    world.model = Payer(world.ledger)
    runner = world.runner(budgets={"b": {"spend": "0.01 USD/day"}})
    refused = await world.run(runner, ticket("1", subject="1"))
    assert refused.run.verdict == "over-budget", "one call is more than the whole day has"
    runner = world.runner(budgets={"b": {"spend": "0.02 USD/day"}})
    await world.run(runner, ticket("2", subject="2"))
    await world.run(runner, ticket("3", subject="3"))
    assert await world.ledger.pick_up(["p"], 10) == []
    await Holds(world.ledger, world.clock, {"p": world.plan()}).load()

    assert len(await world.ledger.pick_up(["p"], 10)) == 1


async def test_no_context_is_made_in_vain(world: Any, ticket: Any) -> None:
    """
    While others wait for the same money, a new run joins them without a lookup.
    """
    sections = {"ticket": {"from": "event.data"}, "customer": {"fetch": "desk.customer", "by": "event.data.org_id"}}
    world.model = Payer(world.ledger)
    runner = world.runner(limits={"spend": "0.02 USD/day", "at_limit": "hold"}, context__sections=sections)
    for number in range(4):
        detail = await world.run(runner, ticket(str(number), subject=str(number)))

    assert (detail.run.state, detail.run.reason) == ("waiting", "hold")
    assert world.desk.calls.count("lookup") == 2


@pytest.mark.parametrize(("at_limit", "verdict"), [("hold", None), ("drop", "over-budget")])
async def test_a_run_that_paid_waits_only_where_events_are_held(
    world: Any, ticket: Any, at_limit: Any, verdict: Any
) -> None:
    """
    Its repair does not fit any more: held, it needs again what it has paid; dropped, it ends.
    """
    cap = Cap(scope="pipeline:p", period="x", limit=100, at_limit=at_limit)
    claim = await world.ledger.claim(world.runner().offer(ticket("1")))
    usual = {"run": claim.run, "step": "ask", "model": "small", "provider": "x", "request_model": "x"}
    begun = world.ledger.step(claim, "ask", kind="ask", action_class="ai", timeout=5)
    async with begun as step, step.call(amount=50, caps=[cap]) as slot:
        await slot.settle(ModelCall(call=slot.call, cost=50, **usual))
    holds = Holds(world.ledger, world.clock)
    error = CapReached(cap, amount=60, spent=50, reserved=0)
    waits = await holds.waits(error, claim)
    assert waits == (verdict is None)
    if waits:
        await holds.wait(error, claim, b"{}", why=str(error))
        assert [hold.need for hold in await world.ledger.holds()] == [100]


async def test_a_user_that_is_not_there_is_an_error(world: Any, ticket: Any) -> None:
    """
    An event without the field that says who its user is ends dead, with the event and the path.
    """
    detail = await world.run(world.runner(who={"user": "event.data.nobody"}), ticket("77"))

    assert detail.run.verdict == "dead"
    assert "77" in detail.run.error
    assert "event.data.nobody" in detail.run.error


def test_wide_scopes_are_those_of_everybody(world: Any) -> None:
    """
    Only a cap that every call falls under stops a whole pipeline.
    """
    budgets = {"all": {"spend": "1 USD/day"}, "each": {"spend": "1 USD/day", "per": "key"}}
    plan: Plan = world.plan(budgets=budgets, limits={"spend": "1 USD/day"})

    assert plan.spending.wide_scopes == ["budget:all", "pipeline:p"]


async def test_time_spent_waiting_for_money_is_no_try(world: Any, ticket: Any) -> None:
    """
    A run that waited for days has all its patience left when a system fails afterwards.
    """
    world.model = Payer(world.ledger)
    runner = world.runner(limits={"spend": "0.02 USD/day", "at_limit": "hold"}, on_error={"give_up_after": "1h"})
    await world.run(runner, ticket("1", subject="1"))
    held = await world.run(runner, ticket("2", subject="2"))
    assert held.run.reason == "hold"
    world.desk.trouble["write"] = [Unavailable("down")]
    await world.resume(runner)
    failed = await world.ledger.detail(held.run.run)
    await world.resume(runner)
    ended = await world.ledger.detail(held.run.run)

    assert (failed.run.gate, ended.run.verdict) == ("connection:desk", "delivered")
