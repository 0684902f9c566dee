"""
A TCP proxy in a thread of its own, between a client and a server, that fails where it is told.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import threading
from dataclasses import dataclass, replace
from typing import Literal

Kind = Literal[
    "drop-before",  # hang up before the server hears it
    "drop-during",  # in the middle of the server's answer
    "drop-after",  # after the server has answered
    "garbage",  # the server hears it; its answer is rubbish
    "hang",  # the server hears nothing, the client waits, then it is hung up
    "slow",  # the server hears it later
    "say",  # the server hears nothing, and `answer` is said in its place
]
RUBBISH = b"\x00\xffwhat did you say?\r\n"
AWHILE = 0.5  # seconds in which a server has done what it heard


@dataclass(frozen=True, slots=True, kw_only=True)
class Trouble:
    """
    What the next *times* things meet that a client says and *match* is found in, once *skip* of them have passed.
    """

    kind: Kind
    match: re.Pattern[bytes]
    times: int = 1
    skip: int = 0
    seconds: float = 0.0
    answer: bytes = b""
    """May refer to groups of *match*."""


class Between:
    """
    Passes everything on to *port*.
    """

    def __init__(self, port: int) -> None:
        self.troubles: list[Trouble] = []
        self.said: list[bytes] = []
        """What clients said, piece by piece."""
        self.connections = 0
        self.failed = 0
        """How often it failed."""
        self.away = False
        """Whether new connections are refused."""
        self._open: set[asyncio.StreamWriter] = set()
        self._to = port
        self._loop = asyncio.new_event_loop()
        self._up = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        self._up.wait()

    def fails(self, trouble: Trouble) -> None:
        """
        Let that happen.
        """
        self.troubles.append(trouble)

    def hangs_up(self, pattern: bytes, when: Literal["before", "after"]) -> None:
        """
        Hang up once a client says that: before the server hears it, or after it has answered.
        """
        kind: Kind = "drop-before" if when == "before" else "drop-after"
        self.fails(Trouble(kind=kind, match=re.compile(pattern, re.DOTALL | re.IGNORECASE)))

    def cut(self) -> None:
        """
        Cut every connection now.
        """
        self._loop.call_soon_threadsafe(self._cut)

    def _cut(self) -> None:
        for writer in self._open:
            writer.transport.abort()

    def close(self) -> None:
        """
        End it, with every connection.
        """
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
        self.connections += 1
        try:
            if self.away:
                raise ConnectionRefusedError
            theirs, ours = await asyncio.open_connection("127.0.0.1", self._to)
        except OSError:
            writer.transport.abort()
            return
        self._open |= {writer, ours}
        link = Link(reader, writer, theirs, ours)
        try:
            with contextlib.suppress(ConnectionError, asyncio.CancelledError):  # only `close` cancels
                await self.forward(link)
        finally:
            self._open -= {writer, ours}
            link.close()

    async def forward(self, link: Link) -> None:
        """
        Pass on what a client says, as long as the connection shall live.
        """
        while data := await link.reader.read(65536):
            self.said.append(data)
            trouble = self._met(data)
            if trouble is None:
                await link.tell(data)
                continue
            self.failed += 1
            if not await link.troubled(trouble, data):
                return

    def _met(self, data: bytes) -> Trouble | None:
        for place, trouble in enumerate(self.troubles):
            if not trouble.match.search(data):
                continue
            if trouble.skip:
                self.troubles[place] = replace(trouble, skip=trouble.skip - 1)
                continue
            if trouble.times > 1:
                self.troubles[place] = replace(trouble, times=trouble.times - 1)
            else:
                del self.troubles[place]
            return trouble
        return None


class Link:
    """
    One connection: the client's end and the server's.
    """

    def __init__(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        theirs: asyncio.StreamReader,
        ours: asyncio.StreamWriter,
    ) -> None:
        self.reader, self.writer, self.theirs, self.ours = reader, writer, theirs, ours
        self.back = asyncio.create_task(passed(theirs, writer))

    async def tell(self, data: bytes) -> None:
        """
        Let the server hear it.
        """
        self.ours.write(data)
        await self.ours.drain()

    async def quiet(self) -> None:
        """
        Let the client hear no more of the server.
        """
        self.back.cancel()
        await asyncio.wait([self.back])

    async def troubled(self, trouble: Trouble, data: bytes) -> bool:
        """
        Let *trouble* happen to what the client said; return whether the connection goes on.
        """
        if trouble.kind in ("hang", "slow"):
            await asyncio.sleep(trouble.seconds)
        if trouble.kind == "slow":
            await self.tell(data)
        elif trouble.kind == "say":
            found = trouble.match.search(data)
            assert found is not None
            self.writer.write(found.expand(trouble.answer))
        elif trouble.kind in ("drop-during", "drop-after", "garbage"):
            await self._half(data, trouble.kind)
        if trouble.kind in ("slow", "say"):
            return True
        self.writer.transport.abort()
        return False

    async def _half(self, data: bytes, kind: Kind) -> None:
        """
        Let the server hear this and whatever belongs to it, and do it; the client hears half an answer, or none.
        """
        await self.quiet()
        await self.tell(data)
        rest = asyncio.create_task(passed(self.reader, self.ours))
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(AWHILE):
                answer = await self.theirs.read(65536)
                if kind == "drop-during":
                    self.writer.write(answer[: max(1, len(answer) // 2)])
                elif kind == "garbage":
                    self.writer.write(RUBBISH)
                await self.writer.drain()
                await passed(self.theirs, None)
        rest.cancel()

    def close(self) -> None:
        """
        End both.
        """
        self.back.cancel()
        self.writer.close()
        self.ours.close()


async def passed(reader: asyncio.StreamReader, writer: asyncio.StreamWriter | None) -> None:
    """
    Pass on what comes, or nothing of it, until there is no more.
    """
    with contextlib.suppress(ConnectionError):
        while data := await reader.read(65536):
            if writer is not None:
                writer.write(data)
                await writer.drain()
    if writer is not None:
        writer.close()  # also when the other side was killed: nobody may wait for its answer
