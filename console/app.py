"""
Where the parts are put together, and nowhere else.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import ai as ai_room
import ledger as ledger_room
from ai import AI
from bus.contract import Bus
from connectors import catalog
from connectors.contract import Connector
from connectors.settings import SettingError
from console import alerting, capacity, places, telling
from console.failpoint import failpoint, lease
from console.references import references
from engine import Engine
from ledger.contract import Ledger
from penstock.clock import Clock, SystemClock
from penstock.http import Http
from penstock.http_aiohttp import AiohttpHttp
from penstock.metrics import Instruments
from penstock.secrets import Secrets
from pipelines.declaration import Declaration
from pipelines.models import model_specs
from pipelines.plan import Plan, compile_pipeline


@dataclass(frozen=True, slots=True, kw_only=True)
class Hub:
    """
    One running installation.
    """

    declaration: Declaration
    root: Path
    plans: Mapping[str, Plan]
    connectors: Mapping[str, Connector]
    ai: AI
    bus: Bus
    ledger: Ledger
    secrets: Secrets
    http: Http
    clock: Clock
    engine: Engine


@contextlib.asynccontextmanager
async def open_hub(
    declaration: Declaration,
    root: Path,
    *,
    bus: Bus | None = None,
    ledger: Ledger | None = None,
    http: Http | None = None,
    clock: Clock | None = None,
    secrets: Secrets | None = None,
    fail: Callable[[str], None] | None = None,
    instruments: Instruments | None = None,
) -> AsyncIterator[Hub]:
    """
    Open every part of a checked declaration; *root* is the folder of its `pipelines.yaml`.

    Parts given as arguments are used as they are and stay open; the others are opened here and
    closed at the end. Nothing runs until `hub.engine.start()`.
    """
    async with contextlib.AsyncExitStack() as stack:
        clock, secrets, fail = clock or SystemClock(), secrets or Secrets(), fail or failpoint()
        given_http, in_flight = http is not None, capacity.places(declaration.hub.in_flight)
        if http is None:
            http = AiohttpHttp(connections=capacity.connections(in_flight))
            stack.push_async_callback(http.close)
        await stack.enter_async_context(secrets.renewed(references(declaration), http=http))
        told = telling.told(declaration, secrets, stack, instruments)
        if ledger is None:
            ledger = await _open_ledger(declaration, root, secrets=secrets, clock=clock, fail=fail)
            stack.push_async_callback(ledger.close)
        if bus is None:
            bus = await places.open_bus(declaration, root, secrets=secrets, http=http, clock=clock)
            stack.push_async_callback(bus.close)
        connectors = _open_connectors(declaration, stack, secrets=secrets, http=http, clock=clock)
        specs = model_specs(declaration)
        models = ai_room.open(specs, http=http, ledger=ledger, secrets=secrets, clock=clock, fail=fail, **told)
        plans = {name: compile_pipeline(declaration, name, root) for name in declaration.pipelines}
        engine = Engine(
            plans,
            connectors=connectors,
            ai=models,
            bus=bus,
            ledger=ledger,
            http=http,
            clock=clock,
            in_flight=in_flight,
            fail=fail,
            layout=places.layout(declaration),
            **told,
            **alerting.alerting(declaration, secrets, http if given_http else None, stack),
        )
        yield Hub(
            declaration=declaration,
            root=root,
            plans=plans,
            connectors=connectors,
            ai=models,
            bus=bus,
            ledger=ledger,
            secrets=secrets,
            http=http,
            clock=clock,
            engine=engine,
        )


async def _open_ledger(
    declaration: Declaration, root: Path, *, secrets: Secrets, clock: Clock, fail: Callable[[str], None]
) -> Ledger:
    place = places.ledger_place(declaration, root, secrets)
    return await ledger_room.open(place, clock=clock, keep=declaration.hub.keep, lease=lease(), fail=fail)


def _open_connectors(
    declaration: Declaration, stack: contextlib.AsyncExitStack, *, secrets: Secrets, http: Http, clock: Clock
) -> Mapping[str, Connector]:
    found: dict[str, Connector] = {}
    for name, written in declaration.connections.items():
        try:
            found[name] = catalog.open(written.connector, written.settings, secrets=secrets, http=http, clock=clock)
        except SettingError as error:
            raise error.under("connections", name) from None
        stack.push_async_callback(found[name].close)
    return found
