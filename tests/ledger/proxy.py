"""
A TCP proxy in a thread of its own that cuts connections: at COMMIT, all at once, or for as long as it is told.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from typing import Literal

Cut = Literal["before", "after"] | None
COMMIT = b"COMMIT\x00"  # and not that of READ COMMITTED


class Proxy:
    """
    Passes everything on to *port*; what `cuts` says of the next COMMIT happens to its connection.
    """

    def __init__(self, port: int) -> None:
        self.cuts: list[Cut] = []
        self.done: list[Cut] = []
        self.away = False
        """Whether new connections are refused."""
        self._open: set[asyncio.StreamWriter] = set()
        self.port = 0
        self._to = port
        self._loop = asyncio.new_event_loop()
        self._up = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        self._up.wait()

    def cut(self) -> None:
        """
        Cut every connection now.
        """
        self._loop.call_soon_threadsafe(self._cut)

    def _cut(self) -> None:
        for writer in self._open:
            writer.transport.abort()

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        served = self._loop.run_until_complete(asyncio.start_server(self._serve, "127.0.0.1", 0))
        self.port = served.sockets[0].getsockname()[1]
        self._up.set()
        self._loop.run_forever()
        served.close()
        left = asyncio.all_tasks(self._loop)
        for task in left:
            task.cancel()
        self._loop.run_until_complete(asyncio.gather(*left, return_exceptions=True))
        self._loop.run_until_complete(asyncio.sleep(0.05))  # until what was closed is
        self._loop.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            if self.away:
                raise ConnectionRefusedError
            theirs, ours = await asyncio.open_connection("127.0.0.1", self._to)
        except OSError:
            writer.transport.abort()
            return
        self._open |= {writer, ours}
        back = asyncio.create_task(_pass(theirs, writer))
        try:
            with contextlib.suppress(ConnectionError):
                await self._forward(reader, theirs, ours, back)
        finally:
            self._open -= {writer, ours}
            back.cancel()
            writer.close()
            ours.close()

    async def _forward(
        self,
        reader: asyncio.StreamReader,
        theirs: asyncio.StreamReader,
        ours: asyncio.StreamWriter,
        back: asyncio.Task[None],
    ) -> None:
        while data := await reader.read(65536):
            cut = self.cuts.pop(0) if COMMIT in data and self.cuts else None
            if cut == "before":
                self.done.append(cut)
                return
            if cut == "after":
                back.cancel()
                await asyncio.wait([back])
                ours.write(data)
                await _ended(reader, theirs, ours)  # committed; its answer is lost
                self.done.append(cut)
                return
            ours.write(data)
            await ours.drain()


async def _ended(reader: asyncio.StreamReader, theirs: asyncio.StreamReader, ours: asyncio.StreamWriter) -> None:
    """
    Wait until the server has ended the transaction; the client may have more to say before it does.
    """
    rest, reply = asyncio.create_task(_pass(reader, ours)), b""
    while COMMIT not in reply and b"ROLLBACK\x00" not in reply:
        if not (part := await theirs.read(65536)):
            break
        reply += part
    rest.cancel()


async def _pass(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(ConnectionError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    writer.close()  # also when the other side was killed: nobody may wait for its answer
