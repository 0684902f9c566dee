"""
The `Http` of production: aiohttp's client, held to one request, one answer, one deadline.

Why not httpx's own pool: beyond some 30 connections its bookkeeping takes over the processor
(`docs/why/dependencies.md` has the figures).
"""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import Callable
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import aiohttp
from yarl import URL

from penstock.http import MAX_ANSWER, NotSent, Response, SentNoAnswer

if TYPE_CHECKING:
    import httpx

CONNECTIONS = 2000  # open at once, all hosts together
KEEP_ALIVE = 4.0  # seconds: below the idle limit of common servers, so that a reused connection is alive
CHUNK = 64 * 1024  # bytes
_AUTOMATIC = frozenset({"User-Agent", "Accept", "Accept-Encoding", "Content-Type"})
_GZIP = 16 + zlib.MAX_WBITS


class _Sending:
    """
    How far one request has come.
    """

    def __init__(self, fence: Callable[[], None] | None) -> None:
        self.fence = fence
        self.left = False
        """True from the moment bytes may leave."""
        self.stopped: BaseException | None = None
        """What the fence raised."""

    def go(self) -> None:
        if self.fence is not None:
            try:
                self.fence()
            except BaseException as error:
                self.stopped = error
                raise
        self.left = True


class AiohttpHttp:
    """
    Sends requests over one pool of connections.
    """

    def __init__(self, *, connections: int = CONNECTIONS) -> None:
        self._connections = connections
        self._session: aiohttp.ClientSession | None = None

    async def send(
        self,
        request: httpx.Request,
        *,
        timeout: float,
        fence: Callable[[], None] | None = None,
        max_body: int = MAX_ANSWER,
    ) -> Response:
        """
        Send *request*; see `penstock.http.Http`.
        """
        sending = _Sending(fence)
        started = asyncio.get_running_loop().time()
        try:
            async with asyncio.timeout(timeout):
                status, headers, body = await self._exchange(request, sending, max_body)
        except (TimeoutError, aiohttp.ClientError, OSError, zlib.error, ValueError) as error:
            if error is sending.stopped:
                raise
            raise _ended(error, sending, request, timeout) from error
        seconds = asyncio.get_running_loop().time() - started
        return Response(status=status, headers=headers, body=body, seconds=seconds)

    async def close(self) -> None:
        """
        Close every connection.
        """
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def _exchange(
        self, request: httpx.Request, sending: _Sending, max_body: int
    ) -> tuple[int, dict[str, str], bytes]:
        content = await request.aread()
        async with self._opened().request(
            request.method,
            URL(str(request.url), encoded=True),
            headers=[("accept-encoding", "gzip"), *_headers(request)],
            skip_auto_headers=_AUTOMATIC,
            data=content or None,
            allow_redirects=False,
            trace_request_ctx=sending,
        ) as answer:
            raw = await _limited(answer.content, max_body)
            headers = {name.lower(): ", ".join(answer.headers.getall(name)) for name in answer.headers}
            if answer.headers.get("content-encoding", "").lower() == "gzip":
                raw = _unpacked(raw, max_body)
            return answer.status, headers, raw

    def _opened(self) -> aiohttp.ClientSession:
        if self._session is None:
            trace = aiohttp.TraceConfig()
            trace.on_connection_create_end.append(_in_hand)
            trace.on_connection_reuseconn.append(_in_hand)
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=self._connections, keepalive_timeout=KEEP_ALIVE),
                cookie_jar=aiohttp.DummyCookieJar(),
                timeout=aiohttp.ClientTimeout(total=None),
                auto_decompress=False,
                trace_configs=[trace],
            )
            # aiohttp sends an idempotent method again by itself when a kept connection was closed;
            # a PUT of ours may add a comment, so one `send` must be one request.
            self._session._retry_connection = False  # noqa: SLF001
        return self._session


async def _in_hand(_session: aiohttp.ClientSession, context: SimpleNamespace, _params: Any) -> None:
    context.trace_request_ctx.go()


def _headers(request: httpx.Request) -> list[tuple[str, str]]:
    skipped = {"accept-encoding", "content-length", "transfer-encoding"}
    return [(name, value) for name, value in request.headers.multi_items() if name.lower() not in skipped]


async def _limited(stream: aiohttp.StreamReader, most: int) -> bytes:
    parts: list[bytes] = []
    size = 0
    async for part in stream.iter_chunked(CHUNK):
        size += len(part)
        if size > most:
            raise ValueError(f"the answer has more than {most} bytes")
        parts.append(part)
    return b"".join(parts)


def _unpacked(raw: bytes, most: int) -> bytes:
    unpacker = zlib.decompressobj(_GZIP)
    body = unpacker.decompress(raw, most)
    if unpacker.unconsumed_tail:
        raise ValueError(f"the answer has more than {most} bytes once unpacked")
    return body


def _ended(error: Exception, sending: _Sending, request: httpx.Request, timeout: float) -> Exception:
    host = request.url.host
    timed_out = isinstance(error, TimeoutError)
    reason = f"no complete answer within {timeout:g} s" if timed_out else f"{type(error).__name__}: {error}"
    if sending.left:
        return SentNoAnswer(f"{request.method} to {host}: {reason}", timeout=timed_out)
    return NotSent(f"{request.method} to {host}: {reason}")
