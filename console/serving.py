"""
Deliveries in, until somebody asks the hub to stop.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import signal
from collections.abc import AsyncIterator, Callable, Iterator
from socket import socket as Socket  # noqa: N812 - a type here

import uvicorn

from console.app import Hub
from console.keeper import Seat
from penstock.errors import Unreachable

_COLLECTIONS = (10_000, 20, 20)  # objects more than before, and looks at younger ones, until the next look
STOP_GRACE = 20.0  # seconds running work may take after SIGTERM


async def serve(
    hub: Hub,
    *,
    ready: Callable[[str], None] = lambda _url: None,
    seat: Seat | None = None,
    door: Socket | None = None,
) -> None:
    """
    Run until SIGTERM or SIGINT; *ready* is called with the base URL once deliveries are taken.

    Of several processes only the first takes deliveries, at *door*; *ready* is called with "" in the others.
    SIGINT is then for their keeper alone.
    """
    host, port = address(hub.declaration.hub.listen)
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT) if seat is None else (signal.SIGTERM,):
        loop.add_signal_handler(number, stop.set)
    _collect_seldom()
    try:
        await hub.engine.start()
        first = seat is None or seat.number == 1
        async with listening(hub, host, port, door=door) if first else contextlib.nullcontext("") as url:
            ready(url)
            await stop.wait()
    finally:
        await hub.engine.stop(STOP_GRACE)


def _collect_seldom() -> None:
    """
    Look for garbage in cycles less often, and never in what was loaded: there is hardly any.

    With Python's own thresholds it took a tenth of the event loop's time (`docs/why/speed.md`).
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(*_COLLECTIONS)


def address(listen: str) -> tuple[str, int]:
    """
    Return host and port of a `hub.listen`.
    """
    host, _, port = listen.rpartition(":")
    return host.strip("[]"), int(port)


def bound(host: str, port: int) -> Socket:
    """
    Return a socket for deliveries at *host*:*port*; nobody is answered before `listening`. Raises `Unreachable`.
    """
    try:
        return uvicorn.Config("", host=host, port=port, log_config=None).bind_socket()
    except (OSError, SystemExit) as error:
        said = "another program does, or this machine has no such address"
        raise Unreachable(f"Cannot listen on {host}:{port}: {said}. Change `hub.listen`.") from error


@contextlib.asynccontextmanager
async def listening(hub: Hub, host: str, port: int, *, door: Socket | None = None) -> AsyncIterator[str]:
    """
    Take deliveries on *host*:*port* (0: any free one), at a *door* that is bound to it already where there is one.

    Yields the base URL.
    """
    config = uvicorn.Config(
        hub.engine.ingress.asgi, log_config=None, access_log=False, lifespan="off", server_header=False
    )
    socket = door or bound(host, port)
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
