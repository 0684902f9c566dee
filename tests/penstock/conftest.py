from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field

import pytest

from penstock.http_aiohttp import AiohttpHttp

Script = Callable[[bytes, asyncio.StreamWriter], Awaitable[None]]


@dataclass
class RawServer:
    """
    A server that speaks bytes: for each request it runs *script*, whatever that does to HTTP.
    """

    script: Script
    port: int = 0
    connections: int = 0
    received: list[bytes] = field(default_factory=list)
    """What each connection sent, all of it."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    open: list[tuple[asyncio.Task[None], asyncio.StreamWriter]] = field(default_factory=list)

    def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.open.append((asyncio.create_task(self._serve(reader, writer)), writer))

    async def close(self) -> None:
        for task, writer in self.open:
            task.cancel()
            writer.transport.abort()
        await asyncio.gather(*(task for task, _ in self.open), return_exceptions=True)
        await asyncio.sleep(0)  # aborted transports close their sockets one turn later

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        number = self.connections
        self.connections += 1
        self.received.append(b"")
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                self.received[number] += head
                body = await reader.readexactly(_length(head))
                self.received[number] += body
                await self.script(head + body, writer)
        writer.close()


def _length(head: bytes) -> int:
    for line in head.lower().split(b"\r\n"):
        if line.startswith(b"content-length:"):
            return int(line.partition(b":")[2])
    return 0


@pytest.fixture
async def raw() -> AsyncIterator[Callable[[Script], Awaitable[RawServer]]]:
    """
    Start raw servers on free ports; they end with the test.
    """
    async with contextlib.AsyncExitStack() as stack:

        async def start(script: Script) -> RawServer:
            made = RawServer(script)
            server = await asyncio.start_server(made.serve, "127.0.0.1", 0)
            stack.push_async_callback(made.close)
            stack.callback(server.close)
            made.port = server.sockets[0].getsockname()[1]
            return made

        yield start


@pytest.fixture
async def http() -> AsyncIterator[AiohttpHttp]:
    client = AiohttpHttp()
    yield client
    await client.close()
