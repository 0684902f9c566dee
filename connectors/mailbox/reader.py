"""
Reads mails in a process of its own, with limits on memory, processor and time.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
from pathlib import Path
from typing import Any

import orjson

from connectors.mailbox.identity import digest
from connectors.mailbox.letters import outline

WITHIN = 10.0  # seconds for one mail
MOST = 500  # mails of one process
LARGEST = 16 * 1024 * 1024  # bytes of what is told of one: 680,000 characters of text, of 12 bytes each at worst
ENDING = 5.0  # seconds a process may take to go that was killed
CHUNK = 64 * 1024  # bytes
TRUNCATED, ATTACHED = 1, 2
"""What a frame says of its mail: only its beginning is there; its attachments are to be read as well."""


class Broken(Exception):
    """
    The process did not tell what the mail says.
    """


class Reader:
    """
    One such process at a time; begun when it is needed, and again when a mail ended it.
    """

    def __init__(self) -> None:
        self._lock = asyncio.Lock()
        self._process: asyncio.subprocess.Process | None = None
        self._left = 0

    async def read(self, raw: bytes, *, whole: bool, attached: bool = True) -> dict[str, Any]:
        """
        Return a mail as data, *attached*: with the texts of its attachments.

        Never raises for a mail: what cannot be read is left out, and `problem` says so.
        """
        truncated = 0 if whole else TRUNCATED
        async with self._lock:
            try:
                return await self._exchange(raw, truncated | (ATTACHED if attached else 0))
            except Broken as error:
                problem = str(error)
            with contextlib.suppress(Broken):  # an attachment may be to blame: the text is worth more
                found = await self._exchange(raw, truncated)
                return {**found, "problem": f"its attachments were not read: {problem}"}
        return {**outline(raw, problem), "digest": digest(raw)}

    async def _exchange(self, raw: bytes, how: int) -> dict[str, Any]:
        """
        Send one mail and return the answer; a process that was left in between is ended: its answer would be the next's.
        """
        done = False
        try:
            async with asyncio.timeout(WITHIN):
                found = await self._asked(raw, how)
            done = True
        except TimeoutError:
            raise Broken(f"it could not be read within {WITHIN:g} seconds") from None
        except (asyncio.IncompleteReadError, OSError, ValueError):
            raise Broken("it cannot be read: it took too much memory or processor time") from None
        finally:
            if not done:
                await self._end()
        return {**found, "digest": digest(raw)}

    async def _asked(self, raw: bytes, how: int) -> dict[str, Any]:
        process = await self._started()
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(len(raw).to_bytes(4, "big") + bytes([how]) + raw)
        await process.stdin.drain()
        size = int.from_bytes(await process.stdout.readexactly(4), "big")
        if size > LARGEST:
            raise ValueError(size)
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
        if process.stdin is not None:
            process.stdin.close()
        with contextlib.suppress(TimeoutError, OSError):
            async with asyncio.timeout(ENDING):
                while process.stdout is not None and await process.stdout.read(CHUNK):
                    pass  # while something is left unread, the end of the process is not noticed
                await process.wait()

    async def close(self) -> None:
        """
        End the process.
        """
        async with self._lock:
            await self._end()
