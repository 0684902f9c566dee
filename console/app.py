"""
Where the parts are put together, and nowhere else.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import ai as ai_room
import bus as bus_room
import ledger as ledger_room
from ai import AI
from bus.contract import Bus
from connectors import catalog
from connectors.contract import Connector
from console.cluster import cluster_of
from console.failpoint import failpoint
from engine import Engine, Layout
from ledger.contract import Ledger
from penstock.clock import Clock, SystemClock
from penstock.http import Http
from penstock.http_aiohttp import AiohttpHttp
from penstock.secrets import Secrets, is_reference
from pipelines.declaration import Declaration
from pipelines.models import model_specs
from pipelines.plan import Plan, compile_pipeline

LEDGER = "ledger.db"  # in `hub.state`


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
) -> AsyncIterator[Hub]:
    """
    Open every part of a checked declaration; *root* is the folder of its `pipelines.yaml`.

    Parts given as arguments are used as they are and stay open; the others are opened here and
    closed at the end. Nothing runs until `hub.engine.start()`.
    """
    async with contextlib.AsyncExitStack() as stack:
        clock = clock or SystemClock()
        secrets = secrets or Secrets()
        fail = fail or failpoint()
        place = ledger_place(declaration, root, secrets)
        if http is None:
            http = AiohttpHttp()
            stack.push_async_callback(http.close)
        if ledger is None:
            ledger = await ledger_room.open(place, clock=clock, keep=declaration.hub.keep, fail=fail)
            stack.push_async_callback(ledger.close)
        if bus is None:
            bus = await _open_bus(declaration, root, secrets=secrets, clock=clock)
            stack.push_async_callback(bus.close)
        connectors = _open_connectors(declaration, secrets=secrets, http=http, clock=clock)
        models = ai_room.open(
            model_specs(declaration), http=http, ledger=ledger, secrets=secrets, clock=clock, fail=fail
        )
        plans = {name: compile_pipeline(declaration, name, root) for name in declaration.pipelines}
        engine = Engine(
            plans,
            connectors=connectors,
            ai=models,
            bus=bus,
            ledger=ledger,
            http=http,
            clock=clock,
            fail=fail,
            layout=layout(declaration),
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


def _open_connectors(
    declaration: Declaration, *, secrets: Secrets, http: Http, clock: Clock
) -> Mapping[str, Connector]:
    return {
        name: catalog.open(connection.connector, connection.settings, secrets=secrets, http=http, clock=clock)
        for name, connection in declaration.connections.items()
    }


def layout(declaration: Declaration) -> Layout:
    """
    Return how the hub's topics are named and cut.
    """
    kafka = declaration.hub.bus
    return Layout() if kafka is None else Layout(prefix=kafka.prefix, partitions=int(kafka.partitions))


async def _open_bus(declaration: Declaration, root: Path, *, secrets: Secrets, clock: Clock) -> Bus:
    keep, kafka = declaration.hub.keep, declaration.hub.bus
    if kafka is None:
        return bus_room.open(root / declaration.hub.state / "bus.db", keep=keep, clock=clock)
    return await bus_room.connect(cluster_of(kafka, root, secrets), partitions=int(kafka.partitions), keep=keep)


def ledger_place(declaration: Declaration, root: Path, secrets: Secrets) -> Path | str:
    """
    Return where the ledger is: the file in `hub.state`, or the server that `hub.ledger` names.
    """
    named = declaration.hub.ledger
    if named is None:
        return root / declaration.hub.state / LEDGER
    return secrets.get(named).reveal() if is_reference(named) else named
