"""
Going no faster than a provider takes, from the first answer that says how much that is.
"""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

import ledger as ledgers
from ai.double import Fault
from ai.errors import AIError
from ai.models import ModelSpec
from ai.pacing import FIRST_PAUSE, HORIZON, Paced, Pacer, Paces, name_of
from ledger.contract import Ledger
from ledger.pacing import Need, Pace, Quota
from ledger.testing import beside
from penstock.clock import ManualClock
from penstock.errors import Unavailable
from penstock.secrets import SecretRefs

PROVIDERS = ("small", "azure", "large", "google", "vertex", "bedrock")
NEED = Need(input=100, output=100)
NAME = "openai/small@1"


class Lane:
    """
    A pacer on a ledger in memory, under a clock that tests move.
    """

    def __init__(self, ledger: Ledger, clock: ManualClock) -> None:
        self.ledger = ledger
        self.clock = clock
        self.pacer = Pacer(nothing_known(), ledger=ledger, clock=clock, spread=lambda: 1.0)
        self.went: list[float] = []

    async def go(self, need: Need = NEED, *, patience: float = 3.0) -> None:
        await self.pacer.turn("small", need, patience=patience)
        self.went.append(self.clock.monotonic())


def nothing_known() -> Pace:
    return Pace(name=NAME, quota=Quota(), told=False, paused_until=0, cut=1.0, next_at=0)


@pytest.fixture
async def lane() -> Any:
    clock = ManualClock()
    ledger = await ledgers.open(None, clock=clock)
    yield Lane(ledger, clock)
    await ledger.close()


async def settled(clock: ManualClock, seconds: float) -> None:
    """
    Let time pass; the ledger answers from a thread.
    """
    for _ in range(int(seconds * 20)):
        await asyncio.sleep(0.002)
        await clock.advance(0.05)
    await asyncio.sleep(0.01)


async def test_requests_go_one_after_the_other(lane: Any) -> None:
    """Ten at once at ten a second take a second; they are asked for together."""
    lane.pacer.told(await lane.ledger.set_pace(NAME, Quota(requests=600), told=True))
    tasks = [asyncio.create_task(lane.go()) for _ in range(10)]
    await settled(lane.clock, 2)
    await asyncio.gather(*tasks)

    assert 0.5 < lane.went[-1] - lane.went[0] < 1.2
    assert lane.went == sorted(lane.went)


async def test_who_would_wait_too_long_comes_again_later(lane: Any) -> None:
    """What has no turn within its patience is told when to come, and its place is free."""
    lane.pacer.told(await lane.ledger.set_pace(NAME, Quota(requests=6), told=True))
    await lane.go()
    with pytest.raises(Paced, match="takes no more a minute") as caught:
        await lane.go()

    assert caught.value.due_at - lane.clock.now_ms() > 9_000


async def test_how_many_may_begin(lane: Any) -> None:
    """As many as have their turn within a second, those that are on their way counted."""
    lane.pacer.told(await lane.ledger.set_pace(NAME, Quota(requests=600), told=True))
    assert lane.pacer.room == 10 * HORIZON

    for run in ("a", "b", "c"):
        lane.pacer.begins(run)
    assert lane.pacer.room == 7

    lane.pacer.told(await lane.ledger.slow_down(NAME, until=lane.clock.now_ms() + 5_000))
    assert lane.pacer.room <= 0


async def test_runs_whose_context_takes_long_begin_earlier(lane: Any) -> None:
    """Who needs five seconds before it asks may begin five seconds earlier, or the pace would not be used."""
    lane.pacer.told(await lane.ledger.set_pace(NAME, Quota(requests=600), told=True))
    for number in range(60):
        lane.pacer.begins(str(number))
        await lane.clock.advance(5)
        lane.pacer.arrives(str(number))
    assert 55 <= lane.pacer.room <= 60

    lane.pacer.begins("slow")
    await lane.clock.advance(3600)
    lane.pacer.arrives("slow")
    assert lane.pacer.room < 10 * (HORIZON + 8)


async def test_a_ledger_that_is_away_is_heard_of(lane: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody waits for ever, and the next one asks again."""
    lane.pacer.told(await lane.ledger.set_pace(NAME, Quota(requests=600), told=True))

    async def away(*_args: object, **_more: object) -> None:
        raise Unavailable("away")

    with monkeypatch.context() as patched:
        patched.setattr(lane.ledger, "permits", away)
        with pytest.raises(Unavailable, match="away"):
            await lane.go()
    await lane.go()
    assert len(lane.went) == 1


async def test_refusals_without_a_time_wait_longer_each(lane: Any) -> None:
    """Chance decides about each pause (here: all of it); a success starts anew."""
    slow = AIError(error_class="rate_limited")
    pauses = [lane.pacer.refused(slow) - lane.clock.now_ms() for _ in range(7)]
    lane.pacer.worked()

    assert pauses == [2_000, 4_000, 8_000, 16_000, 32_000, 60_000, 60_000]
    assert lane.pacer.refused(slow) - lane.clock.now_ms() == FIRST_PAUSE * 1000
    assert lane.pacer.refused(AIError(error_class="rate_limited", retry_after=7)) - lane.clock.now_ms() == 7_000


def test_a_pace_is_of_a_credential_and_a_model() -> None:
    """Two names for the same share one; another key, account or place has its own."""

    def named(name: str = "a", **more: Any) -> str:
        return name_of(ModelSpec(**{"name": name, "provider": "openai", "model": "m"} | more))

    key, other = (SecretRefs.parse(text) for text in ("${env:ONE}", "${env:TWO}"))
    assert named(key=key) == named("b", key=key) == named(key=SecretRefs.parse(["${env:ONE}", "${env:TWO}"]))
    names = {named(), named(key=key), named(key=other), named(model="n"), named(url="https://x"), named(region="r")}
    assert len(names) == 6


# ---- with a provider --------------------------------------------------------------------------


@pytest.mark.parametrize("model", PROVIDERS)
async def test_a_provider_that_asks_to_slow_down(desk: Any, model: str) -> None:
    """
    The run comes again when it may: nothing is booked, nobody else is let through before, in no process.
    """
    claim = await desk.claim()
    desk.double.faults.append(Fault(kind="status", status=429, retry_after=7))

    with pytest.raises(Paced, match="asked to slow down") as caught:
        await desk.ask(claim, model=model)
    with pytest.raises(Paced):
        await desk.ask(model=model)

    now = desk.ai._tools.clock.now_ms()
    (call,) = await desk.calls(claim)
    (pace,) = await desk.ledger.paces()
    assert (call.outcome, call.cost) == ("rate_limited", 0)
    assert 5_000 < caught.value.due_at - now < 10_000
    assert 5_000 < pace.paused_until - now <= 7_000
    assert desk.double.calls == []


async def test_a_later_call_waits_where_it_is(desk: Any) -> None:
    """
    What was paid for is not asked again because the repair was too fast.
    """
    desk.double.faults.extend([Fault(kind="not-json"), Fault(kind="status", status=429, retry_after=0.3)])
    claim = await desk.claim()

    answer = await desk.ask(claim)

    assert [call.outcome for call in await desk.calls(claim)] == ["ok", "rate_limited", "ok"]
    assert answer.output["mood"]


async def test_limits_are_learned_from_answers(desk: Any) -> None:
    """
    The first answer tells the limits; from then on the pace is kept, and other processes know it.
    """
    desk.double.headers = {"x-ratelimit-limit-requests": "6000", "x-ratelimit-limit-tokens": "1000000"}
    assert desk.ai.paces.of("small") is None
    await desk.ask()

    (pace,) = await desk.ledger.paces()
    assert (pace.quota, pace.told) == (Quota(requests=6000, tokens=1_000_000), True)
    assert desk.ai.paces.of("small").pace.quota == pace.quota
    await desk.ask()
    (pace,) = await desk.ledger.paces()
    assert pace.next_at > 0


async def test_the_lower_of_declared_and_told_limits_holds(desk: Any) -> None:
    """
    A hub that shares its account declares its part; what the provider says of the whole does not raise it.
    """
    spec = ModelSpec(name="small", provider="openai", model="small-1", quota=Quota(requests=60))
    paces = Paces({"small": spec}, ledger=desk.ledger, clock=desk.ai._tools.clock, meters=desk.ai._tools.meters)
    await paces.look()
    await paces.heard("small", {"x-ratelimit-limit-requests": "500", "x-ratelimit-limit-tokens": "9000"})

    (pace,) = await desk.ledger.paces()
    assert pace.quota == Quota(requests=60, tokens=9000)
    again = Paces(
        {"small": spec}, ledger=await beside(desk.ledger), clock=desk.ai._tools.clock, meters=desk.ai._tools.meters
    )
    await again.look()
    assert again.of("small") is not None
    assert (await desk.ledger.paces())[0].quota == pace.quota


async def test_a_declared_limit_can_be_raised_and_taken_out(desk: Any) -> None:
    """
    What an earlier start declared does not outlive its declaration; what the provider told does.
    """

    async def started(quota: Quota | None) -> Paces:
        spec = ModelSpec(name="small", provider="openai", model="small-1", quota=quota)
        paces = Paces({"small": spec}, ledger=desk.ledger, clock=desk.ai._tools.clock, meters=desk.ai._tools.meters)
        await paces.look()
        return paces

    for declared in (Quota(requests=60), Quota(requests=600)):
        assert (await started(declared)).of("small").pace.quota == declared
    assert (await started(None)).of("small") is None
    assert await desk.ledger.paces() == []

    await (await started(Quota(requests=60))).heard("small", {"x-ratelimit-limit-requests": "500"})
    raised = await started(Quota(requests=900))
    await raised.heard("small", {"x-ratelimit-limit-requests": "500"})
    assert raised.of("small").pace.quota == Quota(requests=500)
    assert (await started(None)).of("small").pace.quota == Quota(requests=500)


async def test_tokens_that_were_not_used_come_back(desk: Any) -> None:
    """
    Who counts an answer's room gets only the input back; the others count what was said.
    """
    desk.double.headers = {
        "x-ratelimit-limit-tokens": "600000",
        "anthropic-ratelimit-tokens-limit": "600000",
    }
    back = {}
    for model in ("small", "large"):
        await desk.ask(model=model)
        desk.ai.paces.of(model)._back = Need(input=0, output=0)
        await desk.ask(model=model)
        back[model] = desk.ai.paces.of(model)._back

    assert back["small"].output == 0 < back["small"].input
    assert back["large"].output > 200
