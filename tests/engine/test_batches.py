"""
Questions through batches, judged by the log of the model server and by the ledger's money.
"""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import pytest

import ai
from ai.batches import GRACE, LASTS, MARGIN, QUIET, SEALED
from ai.double import Call, Fault, ModelDouble
from ai.double_batches import Work
from ai.models import ModelSpec, Rates
from ledger.contract import RunQuery
from penstock.http_aiohttp import AiohttpHttp
from penstock.metrics import Instruments
from penstock.secrets import Secrets
from schemas.entries import RunDetail
from schemas.events import Event

PRICE = Rates(input=1_000_000, output=2_000_000)
FULL = (1_000_000, 2_000_000)
HALF = (500_000, 1_000_000)
LOST = {"id": "35", "subject": "Lost", "description": "My parcel is lost.", "org_id": "9", "status": "new"}
WITHIN = 4 * 3600.0


@pytest.fixture(params=["openai", "anthropic"])
def provider(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
async def scene(world: Any, ticket: Any, provider: str) -> AsyncIterator[Scene]:
    """
    The world with the real AI layer on a model server.
    """
    http = AiohttpHttp()
    async with ModelDouble() as double:
        url = double.openai_url if provider == "openai" else double.url
        spec = ModelSpec(name="small", provider=provider, model="m", url=url, price=PRICE)  # type: ignore[arg-type]
        world.models = {"small": {"provider": provider, "model": "m", "url": url}}
        parts = {"http": http, "ledger": world.ledger, "secrets": Secrets({}), "clock": world.clock}
        made = Scene(world, double, ticket, spec, parts)
        world.model = made.worker()
        double.batches.seconds = float("inf")
        double.batches.now = lambda: world.clock.now_ms() / 1000
        yield made
    await http.close()


class Killed(BaseException):
    """
    The process is gone.
    """


@dataclasses.dataclass
class Scene:
    """
    One pipeline that asks a model server in batches.
    """

    world: Any
    double: ModelDouble
    ticket: Any
    spec: ModelSpec
    parts: dict[str, Any]
    dies_at: str = ""

    def worker(self) -> Any:
        return ai.open({"small": self.spec}, instruments=Instruments(), fail=self._fail, **self.parts)

    def _fail(self, name: str) -> None:
        if name == self.dies_at:
            self.dies_at = ""
            raise Killed(name)

    def runner(self, **changes: Any) -> Any:
        budget = {"limits__spend": "10 USD/day"}
        return self.world.runner(**{"ask__mode": "batch", "ask__within": "4h"} | budget | changes)

    async def run(self, runner: Any, number: str) -> RunDetail:
        found: RunDetail = await self.world.run(runner, self.ticket(number, subject=number, data=LOST))
        return found

    async def passes(self, seconds: float = 0.0) -> None:
        """
        Let time pass, and whoever looks after batches look.
        """
        self.world.clock.ahead += seconds
        await self.world.model.batches.look()

    async def goes_on(self, runner: Any) -> int:
        """
        Run what is due now.
        """
        picked = await self.world.ledger.pick_up(["p"], 100)
        for one in picked:
            await runner.handle(one.claim, Event.from_json(one.body), one.body)
        return len(picked)

    async def runs(self) -> list[Any]:
        found: list[Any] = await self.world.ledger.runs(RunQuery(limit=500))
        return found

    async def money(self) -> tuple[int, int]:
        """
        What was spent and is reserved, in all.
        """
        rows = await self.world.ledger.store.read(
            lambda connection: connection.execute("SELECT spent, reserved FROM budgets").fetchall()
        )
        return sum(row["spent"] for row in rows), sum(row["reserved"] for row in rows)

    async def details(self) -> list[RunDetail]:
        return [await self.world.ledger.detail(run.run) for run in await self.runs()]

    def cost(self, rates: tuple[int, int] = HALF) -> int:
        """
        What the calls that the server metered cost, each rounded up.
        """
        return cost_of(self.double.calls, rates)


async def test_twenty_events_through_one_batch(scene: Scene) -> None:
    """
    Twenty events wait for one batch, and are delivered when it is answered, for half the price.
    """
    runner = scene.runner()
    first = [await scene.run(runner, str(number)) for number in range(20)]
    _, held = await scene.money()
    await scene.passes()
    early = len(scene.double.batches.works)
    await scene.passes(SEALED.age + 1)
    await scene.passes(20)
    waiting = await scene.goes_on(runner)
    scene.double.batches.end("completed")
    await scene.passes(60)
    went_on = await scene.goes_on(runner)
    runs = await scene.runs()

    assert {(one.run.state, one.run.reason, one.run.attempts) for one in first} == {("waiting", "batch", 0)}
    assert all(
        "waits for a batch of model 'small'; without an answer it is asked at once at " in str(one.run.error)
        for one in first
    )
    assert (early, len(scene.double.batches.works), waiting, went_on) == (0, 1, 0, 20)
    assert {run.verdict for run in runs} == {"delivered"}
    assert len(scene.double.calls) == 20
    assert await scene.money() == (scene.cost(), 0)
    assert sum(run.cost for run in runs) == scene.cost()
    assert held >= scene.cost()
    assert len(scene.world.desk.notes) == 20


async def put(scene: Scene, runner: Any, many: int) -> None:
    """
    Let *many* events wait for a batch that was sealed and is about to be sent.
    """
    for number in range(many):
        await scene.run(runner, str(number))
    scene.world.clock.ahead += SEALED.age + 1


async def look_until(scene: Scene, runner: Any, seconds: float, step: float = 60.0) -> None:
    """
    Let time pass as it does for a hub: batches are looked after, and runs that are due go on.
    """
    for _ in range(int(seconds // step)):
        await scene.passes(step)
        await scene.goes_on(runner)


@pytest.mark.parametrize("point", ["batch:sending", "batch:created", "batch:booked"])
async def test_a_kill_while_a_batch_is_made_or_booked(scene: Scene, point: str) -> None:
    """
    Wherever the worker dies, the next one finds the batch again, or sends it for the first time: nothing is paid twice.
    """
    runner = scene.runner()
    await put(scene, runner, 5)
    scene.dies_at = point
    if point == "batch:booked":
        await scene.passes()
        scene.double.batches.end("completed")
    with pytest.raises(Killed):
        await scene.passes(60)
    scene.world.model = scene.worker()
    await look_until(scene, runner, QUIET + 600)
    scene.double.batches.end("completed")
    await look_until(scene, runner, 900)

    assert {run.verdict for run in await scene.runs()} == {"delivered"}
    assert len(scene.double.batches.works) == 1
    assert len(scene.double.calls) == 5
    assert await scene.money() == (scene.cost(), 0)


@pytest.mark.parametrize(
    ("fault", "made"),
    [
        (Fault(kind="reset-after"), 1),
        (Fault(kind="reset-before"), 1),
        (Fault(kind="status", status=500), 1),
        (Fault(kind="status", status=429, retry_after=30), 1),
        (Fault(kind="status", status=400), 0),
        (Fault(kind="status", status=404), 0),
    ],
)
async def test_creating_a_batch_fails(scene: Scene, fault: Fault, made: int) -> None:
    """
    It is sent again when it surely was not taken, found when it was, and asked live when it is refused.
    """
    runner = scene.runner()
    await put(scene, runner, 3)
    scene.double.batches.faults.append(fault)
    await look_until(scene, runner, QUIET + 900)
    scene.double.batches.end("completed")
    await look_until(scene, runner, 900)

    assert {run.verdict for run in await scene.runs()} == {"delivered"}
    assert len(scene.double.batches.works) == made
    assert len(scene.double.calls) == 3
    assert await scene.money() == (scene.cost() if made else scene.cost(FULL), 0)


async def test_another_batch_is_not_taken_for_ours(scene: Scene) -> None:
    """
    A batch that somebody else made with as many questions is left alone, and ours is sent.
    """
    runner = scene.runner()
    await put(scene, runner, 2)
    scene.dies_at = "batch:sending"
    with pytest.raises(Killed):
        await scene.passes()
    foreign = foreign_batch(scene, 2)
    scene.double.batches.works[foreign.id] = foreign
    scene.double.batches.end("cancelled", foreign)
    scene.world.model = scene.worker()
    await look_until(scene, runner, QUIET + 600)
    scene.double.batches.end("completed")
    await look_until(scene, runner, 600)

    assert {run.verdict for run in await scene.runs()} == {"delivered"}
    assert len(scene.double.calls) == 2
    assert await scene.money() == (scene.cost(), 0)


def foreign_batch(scene: Scene, many: int) -> Work:
    prefix = "batch_" if scene.spec.provider == "openai" else "msgbatch_"
    return Work(
        id=f"{prefix}foreign",
        key="any",
        at=scene.world.clock.now_ms() / 1000,
        questions=[(f"q{n}", {}) for n in range(many)],
    )


@pytest.mark.parametrize("ending", ["expired", "cancelled"])
async def test_a_batch_that_is_not_finished(scene: Scene, ending: str) -> None:
    """
    What was answered is used at half the price; what was not asked costs nothing there, and is asked live.
    """
    runner = scene.runner()
    await put(scene, runner, 4)
    await scene.passes()
    scene.double.batches.answers = 3
    scene.double.batches.end(ending)  # type: ignore[arg-type]
    await look_until(scene, runner, 600)
    batched, live = scene.double.calls[:3], scene.double.calls[3:]

    assert {run.verdict for run in await scene.runs()} == {"delivered"}
    assert len(live) == 1
    assert await scene.money() == (cost_of(batched, HALF) + cost_of(live, FULL), 0)
    outcomes = sorted(call.outcome for detail in await scene.details() for call in detail.calls)
    assert outcomes == ["ok"] * 4 + ["withdrawn"]


async def test_a_batch_that_is_due_is_cancelled(scene: Scene) -> None:
    """
    Near the end of `within` the batch is cancelled, and what it has no answer to is asked live: in time.
    """
    runner = scene.runner()
    await put(scene, runner, 4)
    scene.double.batches.answers = 1
    await look_until(scene, runner, WITHIN - MARGIN - SEALED.age - 120)
    before = len(scene.double.calls)
    await look_until(scene, runner, 600)

    assert before == 0
    assert {run.verdict for run in await scene.runs()} == {"delivered"}
    assert [work.ending for work in scene.double.batches.works.values()] == ["cancelled"]
    assert len(scene.double.calls) == 4
    assert await scene.money() == (cost_of(scene.double.calls[:1], HALF) + cost_of(scene.double.calls[1:], FULL), 0)


async def test_an_item_that_is_in_no_batch_when_it_is_due(scene: Scene) -> None:
    """
    It is withdrawn, its money is given back, and it is asked live.
    """
    runner = scene.runner()
    scene.world.model.batches.limits = dataclasses.replace(SEALED, age=1e9)
    await scene.run(runner, "1")
    await look_until(scene, runner, WITHIN - MARGIN + 660, step=600)

    assert {run.verdict for run in await scene.runs()} == {"delivered"}
    assert scene.double.batches.works == {}
    assert await scene.money() == (scene.cost(FULL), 0)


@pytest.mark.parametrize("room", [True, False])
async def test_a_batch_nobody_knows_the_end_of(scene: Scene, room: bool) -> None:
    """
    Ten minutes after it was due its questions are booked in full, and asked live if the event may cost that much.
    """
    runner = scene.runner()
    await put(scene, runner, 2)
    await scene.passes()
    _, held = await scene.money()
    if not room:  # for what is booked and half as much: asked live it costs twice as much at most
        runner = scene.runner(limits__per_event=f"{0.75 * held / 1e6:.6f} USD")
    gone = list(scene.double.batches.works.values())
    scene.double.batches.works.clear()
    await look_until(scene, runner, WITHIN - MARGIN + GRACE - 300 - SEALED.age)
    early = await scene.money()
    await look_until(scene, runner, 900)

    assert len(gone) == 1
    assert early == (0, held)
    if room:
        assert {run.verdict for run in await scene.runs()} == {"delivered"}
        assert await scene.money() == (held + scene.cost(FULL), 0)
    else:
        assert {run.verdict for run in await scene.runs()} == {"over-budget"}
        assert await scene.money() == (held, 0)


@pytest.mark.parametrize(
    ("fault", "verdict", "live"),
    [
        (Fault(kind="status", status=500), "delivered", 1),  # may pass: asked live
        (Fault(kind="status", status=429), "delivered", 1),
        (Fault(kind="status", status=400), "dead", 0),  # the event's own
        (Fault(kind="refusal"), "refused", 0),
        (Fault(kind="truncated"), "delivered", 1),  # more room, live
        (Fault(kind="wrong-schema"), "delivered", 1),  # a repair, live
        (Fault(kind="invented"), "delivered", 1),
    ],
)
async def test_an_answer_that_is_none(scene: Scene, fault: Fault, verdict: str, live: int) -> None:
    """
    It goes the way of a live one: the same table, the same repair.
    """
    runner = scene.runner()
    await put(scene, runner, 1)
    await scene.passes()
    scene.double.faults.append(fault)
    scene.double.batches.end("completed")
    await look_until(scene, runner, 300)
    batched, asked = split(scene.double.calls)

    assert {run.verdict for run in await scene.runs()} == {verdict}
    assert len(asked) == live
    assert await scene.money() == (cost_of(batched, HALF) + cost_of(asked, FULL), 0)


def split(calls: list[Call]) -> tuple[list[Call], list[Call]]:
    """
    Return the calls of batches, and the others.
    """
    batched = [call for call in calls if "batches" in call.path]
    return batched, [call for call in calls if "batches" not in call.path]


def cost_of(calls: list[Call], rates: tuple[int, int]) -> int:
    return sum(-(-(call.input * rates[0] + call.output * rates[1]) // 1_000_000) for call in calls)


async def test_an_answer_is_read_against_what_was_asked(scene: Scene) -> None:
    """
    The record changes while its question waits: the prompt that is kept is the one that was paid for.
    """
    fetched = {"context__sections__customer": {"fetch": "desk.customer", "by": "event.data.org_id"}}
    runner = scene.runner(**fetched)
    first = await scene.run(runner, "1")
    scene.world.desk.customers["9"] = {"name": "Someone Else"}
    scene.world.clock.ahead += SEALED.age + 1
    await scene.passes()
    scene.double.batches.end("completed")
    await look_until(scene, runner, 300)
    detail = await scene.world.ledger.detail(first.run.run)

    assert detail.run.verdict == "delivered"
    assert "Nadia Ltd" in detail.steps[0].receipt["prompt"]["user"]
    assert scene.world.desk.calls.count("lookup") == 1


async def test_little_time_is_left(scene: Scene) -> None:
    """
    A run that was first tried long ago, and could not get further, is asked at once.
    """
    runner = scene.runner(ask__within="1h")
    await scene.world.ledger.shut("model:small", "down", probe_at=scene.world.clock.now_ms() + 2_700_000)
    await scene.world.gates.load()
    waiting = await scene.run(runner, "1")
    scene.world.clock.ahead += 2_701
    picked = await scene.world.ledger.pick_up(["p"], 10)
    for one in picked:
        probing = one.gate if one.probe else None
        await runner.handle(one.claim, Event.from_json(one.body), one.body, probing=probing)

    assert waiting.run.reason == "outage"
    assert {run.verdict for run in await scene.runs()} == {"delivered"}
    assert await scene.money() == (scene.cost(FULL), 0)


async def test_every_call_is_told_of_once(scene: Scene, caplog: pytest.LogCaptureFixture) -> None:
    """
    One structured entry per call, with its tokens and its real price, as of a live one.
    """
    caplog.set_level(logging.INFO, "penstock.ai")
    runner = scene.runner()
    await put(scene, runner, 2)
    await scene.passes()
    scene.double.batches.end("completed")
    await look_until(scene, runner, 300)
    told = [vars(record) for record in caplog.records if "penstock.call" in vars(record)]

    assert len(told) == 2
    assert sum(one["penstock.cost_micro_usd"] for one in told) == scene.cost()
    assert sum(one["gen_ai.usage.input_tokens"] for one in told) == sum(call.input for call in scene.double.calls)


async def test_an_answer_is_used_however_old_its_event_became(scene: Scene) -> None:
    """
    `max_age` ends no event whose question was put down: the batch is what made it wait.
    """
    runner = scene.runner(trigger__max_age="2h")
    now = scene.world.clock.now_ms() / 1000
    for number in ("1", "2"):
        event = scene.ticket(number, subject=number, data=LOST, time=datetime.fromtimestamp(now, UTC))
        await scene.world.run(runner, event)
    scene.world.clock.ahead += SEALED.age + 1
    await scene.passes()
    scene.world.clock.ahead += 3 * 3600
    scene.double.batches.answers = 1
    scene.double.batches.end("expired")
    await look_until(scene, runner, 300)

    batched, live = split(scene.double.calls)

    assert {run.verdict for run in await scene.runs()} == {"delivered"}
    assert (len(batched), len(live)) == (1, 1)
    assert await scene.money() == (cost_of(batched, HALF) + cost_of(live, FULL), 0)


@pytest.mark.parametrize("provider", ["openai"], indirect=True)
async def test_a_worker_that_was_away_sends_nothing(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    Stopped for longer than it leads, it wakes with its questions uploaded: it does not begin a batch any more.
    """
    runner = scene.runner()
    await put(scene, runner, 2)
    send = AiohttpHttp.send

    async def stopped(self: AiohttpHttp, request: Any, **more: Any) -> Any:
        response = await send(self, request, **more)
        if request.url.path.endswith("/files"):
            scene.world.clock.ahead += LASTS
        return response

    monkeypatch.setattr(AiohttpHttp, "send", stopped)
    await scene.passes()
    early = len(scene.double.batches.works)
    monkeypatch.setattr(AiohttpHttp, "send", send)
    await look_until(scene, runner, QUIET)
    scene.double.batches.end("completed")
    await look_until(scene, runner, 600)

    assert (early, len(scene.double.batches.works), len(scene.double.batches.files)) == (0, 1, 3)
    assert {run.verdict for run in await scene.runs()} == {"delivered"}
    assert await scene.money() == (scene.cost(), 0)
