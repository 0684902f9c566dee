"""
Batches under the executor, on both ledgers: events come from the bus, wait for hours, and go on; workers die meanwhile.
"""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import AsyncIterator
from typing import Any

import pytest

import ai
import bus as bus_room
from ai import batches
from ai.batches import QUIET, SEALED
from ai.double import ModelDouble
from ai.models import ModelSpec, Rates
from engine import Engine, machine
from ledger.batching import Limits
from ledger.contract import RunQuery
from ledger.testing import beside, bury
from penstock.clock import SystemClock
from penstock.http_aiohttp import AiohttpHttp
from penstock.metrics import Instruments
from penstock.retry import Backoff
from penstock.secrets import Secrets
from tests.engine.bench import outgoing
from tests.engine.hall import Hall

MANY = 20
BATCHED = {"ask__mode": "batch", "ask__within": "4h", "limits__spend": "10 USD/day"}


class Killed(BaseException):
    """
    The process is gone.
    """


@pytest.fixture(params=["openai", "anthropic"])
async def double(request: pytest.FixtureRequest, world: Any, hall: Hall) -> AsyncIterator[ModelDouble]:
    """
    A model server whose batches end when the test says so.
    """
    async with ModelDouble() as made:
        url = made.openai_url if request.param == "openai" else made.url
        world.models = {"small": {"provider": request.param, "model": "m", "url": url}}
        made.batches.seconds = float("inf")
        made.batches.now = lambda: hall.clock.now_ms() / 1000
        yield made


@pytest.fixture
async def worker(world: Any, hall: Hall, double: ModelDouble) -> AsyncIterator[Any]:
    """
    A maker of AI layers, each that of one worker; it may die at a failpoint.
    """
    http = AiohttpHttp()

    def made(ledger: Any, dies_at: str = "") -> ai.AI:
        def fail(name: str) -> None:
            if name == dies_at:
                raise Killed(name)

        declared = world.models["small"]
        rates = Rates(input=1_000_000, output=2_000_000)
        spec = ModelSpec(name="small", price=rates, **declared)
        parts: dict[str, Any] = {"http": http, "ledger": ledger, "secrets": Secrets({}), "clock": hall.clock}
        return ai.open({"small": spec}, instruments=Instruments(), fail=fail, **parts)

    yield made
    await http.close()


def paid(double: ModelDouble) -> int:
    """
    Return what the metered calls cost in batches.
    """
    return sum(-(-(call.input * 500_000 + call.output * 1_000_000) // 1_000_000) for call in double.calls)


async def money(ledger: Any) -> tuple[int, int]:
    rows = await ledger.store.read(
        lambda connection: connection.execute("SELECT spent, reserved FROM budgets").fetchall()
    )
    return sum(row["spent"] for row in rows), sum(row["reserved"] for row in rows)


async def reasons(ledger: Any) -> set[tuple[str, str | None]]:
    return {(run.state, run.reason) for run in await ledger.runs(RunQuery(limit=500))}


async def looks(hall: Hall, model: ai.AI, seconds: float) -> None:
    """
    Let time pass while *model*'s worker looks after batches.
    """
    for _ in range(int(seconds // 30)):
        await hall.clock.advance(30)
        await hall.turn()
        await model.batches.look()


@pytest.mark.parametrize("dies_at", ["", "batch:sending", "batch:created", "batch:booked"])
async def test_twenty_events_and_a_worker_that_dies(
    world: Any, hall: Hall, double: ModelDouble, worker: Any, ticket: Any, dies_at: str
) -> None:
    """
    Twenty events through one batch; the worker that looks after it dies at the worst moment, and another goes on.
    """
    world.model = worker(hall.ledger)
    second = await beside(hall.ledger)
    dying = worker(second, dies_at)
    async with hall.working(hall.runner(**BATCHED)):
        await hall.give(*(ticket(str(number), subject=str(number)) for number in range(MANY)))
        async with asyncio.timeout(60):
            while (
                await reasons(hall.ledger) != {("waiting", "batch")} or len(await hall.ledger.runs(RunQuery())) < MANY
            ):
                await hall.turn()
        await hall.clock.advance(SEALED.age + 1)
        if dies_at:
            if dies_at == "batch:booked":
                await dying.batches.look()
                double.batches.end("completed")
                await hall.clock.advance(30)
            with pytest.raises(Killed):
                await dying.batches.look()
            await bury(second)
        await looks(hall, world.model, QUIET + 120)
        double.batches.end("completed")
        await looks(hall, world.model, 660)
        async with asyncio.timeout(60):
            while {one.verdict for one in await hall.ledger.runs(RunQuery(limit=500))} != {"delivered"}:
                await hall.clock.advance(1)
                await hall.turn()

    assert len(double.batches.works) == 1
    assert len(double.calls) == MANY
    assert await money(hall.ledger) == (paid(double), 0)
    assert len(world.desk.notes) == MANY
    assert {run.attempts for run in await hall.ledger.runs(RunQuery(limit=500))} == {0}


async def test_a_whole_engine(world: Any, ticket: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    Nobody calls anything: events on the bus come back from a batch, on the machine's own clock.
    """
    monkeypatch.setattr(machine, "BATCHES_EVERY", 0.05)
    monkeypatch.setattr(batches, "_LOOKS", Backoff(first=0.1, last=0.2, attempts=9))
    clock, http = SystemClock(), AiohttpHttp()
    bus = bus_room.open(None, partitions=machine.EMBEDDED.partitions, keep=3600.0, clock=clock)
    async with ModelDouble() as double:
        world.models = {"small": {"provider": "openai", "model": "m", "url": double.openai_url}}
        spec = ModelSpec(name="small", price=Rates(input=1_000_000, output=2_000_000), **world.models["small"])
        parts: dict[str, Any] = {"http": http, "ledger": world.ledger, "clock": clock}
        model = ai.open({"small": spec}, secrets=Secrets({}), **parts)
        model.batches.limits = Limits(items=3, size=1_000_000, age=3600.0)
        made = Engine({"p": world.plan(**BATCHED)}, connectors={"desk": world.desk}, ai=model, bus=bus, **parts)
        await made.start()
        events = [ticket(str(number), subject=str(number)) for number in range(3)]
        await bus.publish(
            [dataclasses.replace(outgoing(event), topic=machine.EMBEDDED.topic("desk")) for event in events]
        )
        async with asyncio.timeout(30):
            while {one.verdict for one in await world.ledger.runs(RunQuery())} != {"delivered"}:
                await asyncio.sleep(0.05)
        await made.stop(5.0)
    await bus.close()
    await http.close()

    assert len(double.batches.works) == 1
    assert [call.path for call in double.calls] == ["/v1/batches"] * 3
    assert await money(world.ledger) == (paid(double), 0)
