"""
Reads mails in a process of its own, with limits on memory, processor and time.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
from email.parser import BytesHeaderParser
from pathlib import Path
from typing import Any

import orjson

from connectors.mailbox.letters import digest, envelope

WITHIN = 30.0  # seconds for one mail
MOST = 500  # mails of one process
HEAD = 64 * 1024  # bytes of the headers of a mail that could not be read


class Reader:
    """
    One such process at a time; begun when it is needed, and again when a mail ended it.
    """

    def __init__(self) -> None:
        self._lock = asyncio.Lock()
        self._process: asyncio.subprocess.Process | None = None
        self._left = 0

    async def read(self, raw: bytes, *, whole: bool) -> dict[str, Any]:
        """
        Return a mail as data; of one that cannot be read its envelope, and what the problem was. Never raises for a mail.
        """
        async with self._lock:
            try:
                async with asyncio.timeout(WITHIN):
                    return await self._exchange(raw, whole=whole)
            except TimeoutError:
                problem = f"it could not be read within {WITHIN:g} seconds"
            except (asyncio.IncompleteReadError, ConnectionError, ValueError):
                problem = "it cannot be read: it took too much memory or processor time"
            await self._end()
        return _outside(raw, problem)

    async def _exchange(self, raw: bytes, *, whole: bool) -> dict[str, Any]:
        process = await self._started()
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(len(raw).to_bytes(4, "big") + (b"\x01" if whole else b"\x00") + raw)
        await process.stdin.drain()
        size = int.from_bytes(await process.stdout.readexactly(4), "big")
        found: dict[str, Any] = orjson.loads(await process.stdout.readexactly(size))
        return found

    async def _started(self) -> asyncio.subprocess.Process:
        if self._left <= 0:
            await self._end()
        if self._process is None:
            self._process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-I",
                str(Path(__file__).with_name("child.py")),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.DEVNULL,
                env={"PATH": os.environ.get("PATH", "")},
            )
            self._left = MOST
        self._left -= 1
        return self._process

    async def _end(self) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()
        if process.stdin is not None:
            process.stdin.close()

    async def close(self) -> None:
        """
        End the process.
        """
        async with self._lock:
            await self._end()


def _outside(raw: bytes, problem: str) -> dict[str, Any]:
    """
    Return what the headers say of a mail that could not be read.
    """
    head = raw[:HEAD].partition(b"\r\n\r\n")[0]
    message = BytesHeaderParser().parsebytes(head + b"\r\n\r\n")
    empty = {"text": "", "quoted": "", "attachments": [], "problem": problem}
    return {**envelope(message), **empty, "digest": digest(raw, message)}
