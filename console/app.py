"""
Where the parts are put together, and nowhere else.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from socket import socket as Socket  # noqa: N812 - a type here

import uvicorn

import ai as ai_room
import bus as bus_room
import ledger as ledger_room
from ai import AI
from bus.contract import Bus
from connectors import catalog
from connectors.contract import Connector
from console.cluster import cluster_of
from engine import Engine, Layout
from ledger.contract import Ledger
from penstock.clock import Clock, SystemClock
from penstock.errors import Unreachable
from penstock.http import Http
from penstock.http_aiohttp import AiohttpHttp
from penstock.secrets import Secrets, is_reference
from pipelines.declaration import Declaration
from pipelines.models import model_specs
from pipelines.plan import Plan, compile_pipeline

log = logging.getLogger(__name__)

LEDGER = "ledger.db"  # in `hub.state`
STOP_GRACE = 20.0  # seconds running work may take after SIGTERM


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


async def serve(hub: Hub, *, ready: Callable[[str], None] = lambda _url: None) -> None:
    """
    Run until SIGTERM or SIGINT; *ready* is called with the base URL once deliveries are taken.
    """
    host, _, port = hub.declaration.hub.listen.rpartition(":")
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    try:
        await hub.engine.start()
        async with listening(hub, host.strip("[]"), int(port)) as url:
            ready(url)
            await stop.wait()
    finally:
        await hub.engine.stop(STOP_GRACE)


@contextlib.asynccontextmanager
async def listening(hub: Hub, host: str, port: int) -> AsyncIterator[str]:
    """
    Take deliveries on *host*:*port* (0: any free one); yields the base URL.
    """
    config = uvicorn.Config(
        hub.engine.ingress.asgi,
        host=host,
        port=port,
        log_config=None,
        access_log=False,
        lifespan="off",
        server_header=False,
    )
    try:
        socket = config.bind_socket()
    except (OSError, SystemExit) as error:
        said = "another program does, or this machine has no such address"
        raise Unreachable(f"Cannot listen on {host}:{port}: {said}. Change `hub.listen`.") from error
    server = _Server(config)
    task = asyncio.create_task(server.serve(sockets=[socket]))
    up = asyncio.create_task(server.up.wait())
    try:
        await asyncio.wait({up, task}, return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            raise Unreachable(f"Cannot listen on {host}:{port}: {task.exception() or 'the server ended'}.")
        yield f"http://{f'[{host}]' if ':' in host else host}:{socket.getsockname()[1]}"
    finally:
        server.should_exit = True
        up.cancel()
        await asyncio.gather(task, return_exceptions=True)
        socket.close()


class _Server(uvicorn.Server):
    """
    Uvicorn without its signal handlers: ours stop the engine first.
    """

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.up = asyncio.Event()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def startup(self, sockets: list[Socket] | None = None) -> None:
        await super().startup(sockets)
        self.up.set()


def failpoint() -> Callable[[str], None]:
    """
    Return what stops this process dead at the failpoint named in `PENSTOCK_FAIL` (`name` or `name:nth`).
    """
    wanted, _, nth = os.environ.get("PENSTOCK_FAIL", "").partition("@")
    left = [int(nth or 1)]

    def hit(name: str) -> None:
        if name == wanted:
            left[0] -= 1
            if left[0] == 0:
                os.kill(os.getpid(), signal.SIGKILL)

    return hit
