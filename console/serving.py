"""
Deliveries in, until somebody asks the hub to stop.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import AsyncIterator, Callable, Iterator
from socket import socket as Socket  # noqa: N812 - a type here

import uvicorn

from console.app import Hub
from penstock.errors import Unreachable

STOP_GRACE = 20.0  # seconds running work may take after SIGTERM


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
