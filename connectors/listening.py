"""
An ASGI application on a port of this machine, for as long as a block lasts.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import uvicorn


@contextlib.asynccontextmanager
async def listening(app: Any, *, host: str = "127.0.0.1", port: int = 0) -> AsyncIterator[str]:
    """
    Serve any ASGI application; yields its base URL.
    """
    config = uvicorn.Config(
        app, host=host, port=port, log_config=None, access_log=False, lifespan="off", timeout_graceful_shutdown=1
    )
    socket = config.bind_socket()
    server = uvicorn.Server(config)
    task = asyncio.create_task(server._serve([socket]))  # noqa: SLF001  # `serve` would take our signals
    try:
        while not server.started and not task.done():  # noqa: ASYNC110  # uvicorn has no event for it
            await asyncio.sleep(0.005)
        yield "http://{}:{}".format(*socket.getsockname()[:2])
    finally:
        server.should_exit = True
        await task
        socket.close()
