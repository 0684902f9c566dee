"""
A TCP proxy that cuts connections: at COMMIT, all at once, or for as long as it is told.
"""

from __future__ import annotations

import asyncio
from typing import Literal

from tests.between import Between, Link, passed

Cut = Literal["before", "after"] | None
COMMIT = b"COMMIT\x00"  # and not that of READ COMMITTED


class Proxy(Between):
    """
    Passes everything on to *port*; what `cuts` says of the next COMMIT happens to its connection.
    """

    def __init__(self, port: int) -> None:
        self.cuts: list[Cut] = []
        self.done: list[Cut] = []
        super().__init__(port)

    async def forward(self, link: Link) -> None:
        while data := await link.reader.read(65536):
            cut = self.cuts.pop(0) if COMMIT in data and self.cuts else None
            if cut == "before":
                self.done.append(cut)
                return
            if cut == "after":
                await link.quiet()
                link.ours.write(data)
                await _ended(link.reader, link.theirs, link.ours)  # committed; its answer is lost
                self.done.append(cut)
                return
            await link.tell(data)


async def _ended(reader: asyncio.StreamReader, theirs: asyncio.StreamReader, ours: asyncio.StreamWriter) -> None:
    """
    Wait until the server has ended the transaction; the client may have more to say before it does.
    """
    rest, reply = asyncio.create_task(passed(reader, ours)), b""
    while COMMIT not in reply and b"ROLLBACK\x00" not in reply:
        if not (part := await theirs.read(65536)):
            break
        reply += part
    rest.cancel()
