"""
Questions through batches, judged by the log of the model server and by the ledger's money.
"""

from __future__ import annotations

import dataclasses
from collections.abc import AsyncIterator
from typing import Any

import pytest

import ai
from ai.batches import SEALED
from ai.double import ModelDouble
from ai.models import ModelSpec, Rates
from ledger.contract import RunQuery
from penstock.http_aiohttp import AiohttpHttp
from penstock.secrets import Secrets
from schemas.entries import RunDetail
from schemas.events import Event

PRICE = Rates(input=1_000_000, output=2_000_000)
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
        return ai.open({"small": self.spec}, instruments=self.world.instruments, fail=self._fail, **self.parts)

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

    def cost(self, rates: tuple[int, int] = HALF) -> int:
        """
        What the calls that the server metered cost, each rounded up.
        """
        return sum(-(-(call.input * rates[0] + call.output * rates[1]) // 1_000_000) for call in self.double.calls)


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
    assert (early, len(scene.double.batches.works), waiting, went_on) == (0, 1, 0, 20)
    assert {run.verdict for run in runs} == {"delivered"}
    assert len(scene.double.calls) == 20
    assert await scene.money() == (scene.cost(), 0)
    assert sum(run.cost for run in runs) == scene.cost()
    assert held >= scene.cost()
    assert len(scene.world.desk.notes) == 20
