"""
The session slack-sdk sends with: no redirect is followed, as it would take our token along, and no answer is endless.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import NoReturn

import aiohttp

LONGEST = 8 * 1024 * 1024  # bytes of an answer
PART = 64 * 1024  # bytes that are read at once


class Redirected(aiohttp.ClientError):
    """
    The answer points to another address.
    """


class Bounded(aiohttp.ClientResponse):
    """
    An answer of at most `LONGEST` bytes; a longer one is an `aiohttp.ClientPayloadError`.
    """

    async def read(self) -> bytes:
        """
        Return the whole body.
        """
        if self._body is None:
            parts: list[bytes] = []
            size = 0
            async for part in self.content.iter_chunked(PART):
                size += len(part)
                if size > LONGEST:
                    self.close()
                    raise aiohttp.ClientPayloadError(f"the answer has more than {LONGEST:,} bytes")
                parts.append(part)
            self._body = b"".join(parts)
        return await super().read()


def session() -> aiohttp.ClientSession:
    """
    Return such a session.
    """
    watch = aiohttp.TraceConfig()
    watch.on_request_redirect.append(_refuse)
    return aiohttp.ClientSession(response_class=Bounded, trace_configs=[watch])


async def _refuse(_session: aiohttp.ClientSession, _context: SimpleNamespace, _redirect: object) -> NoReturn:
    raise Redirected("the answer points to another address, which is not followed")
