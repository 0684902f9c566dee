"""
The `Http` of production: aiohttp's client, held to one request, one answer, one deadline.

Why not httpx's own pool: beyond some 30 connections its bookkeeping takes over the processor
(`docs/why/dependencies.md` has the figures).
"""

from __future__ import annotations

import asyncio
import re
import ssl
import zlib
from collections.abc import Callable, Iterable
from contextvars import ContextVar
from pathlib import Path
from typing import TYPE_CHECKING

import aiohttp

from penstock.destinations import Network, public_socket, socket_within
from penstock.http import MAX_ANSWER, CertificateRefused, NotSent, Request, Response, SentNoAnswer

if TYPE_CHECKING:
    from aiohttp.connector import Connection

CONNECTIONS = 2000  # open at once, all hosts together
KEEP_ALIVE = 4.0  # seconds: below the idle limit of common servers, so that a reused connection is alive
CHUNK = 64 * 1024  # bytes
MEMBERS = 100  # gzip members in one answer; unpacking each copies what follows it
_AUTOMATIC = frozenset({"User-Agent", "Accept", "Accept-Encoding", "Content-Type"})
_OURS = frozenset({"accept-encoding", "content-length", "transfer-encoding"})
_ALERTS = ("CERTIFICATE", "UNKNOWN_CA", "ACCESS_DENIED")
_CONTEXT = re.compile(r"<ssl\.SSLContext[^>]*>")
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
        """
        Let the bytes leave, once; raises what the fence raises.
        """
        if self.left:
            # aiohttp sends an idempotent method again by itself when a kept connection was closed;
            # a PUT of ours may add a comment, so one `send` is one request.
            raise aiohttp.ServerDisconnectedError("the connection was closed before an answer came")
        if self.fence is not None:
            try:
                self.fence()
            except BaseException as error:
                self.stopped = error
                raise
        self.left = True


_SENDING: ContextVar[_Sending] = ContextVar("sending")

# An aiohttp that sends in another place would send without asking: better not to start at all.
assert "send" in vars(aiohttp.ClientRequest), "this version of aiohttp cannot be fenced: install the one of the lock"


class _FencedRequest(aiohttp.ClientRequest):
    """
    A request that asks before its first byte. What is raised here closes the connection.

    The tracing hooks would be called at the same moments, but one that raises leaves the connection open.
    """

    async def send(self, conn: Connection) -> aiohttp.ClientResponse:
        _SENDING.get().go()
        return await super().send(conn)


class AiohttpHttp:
    """
    Sends requests over one pool of connections: no redirects, cookies, proxies or second tries.
    """

    def __init__(self, *, allow_private: bool = True, connections: int = CONNECTIONS) -> None:
        self._allow_private = allow_private
        self._connections = connections
        self._sessions: dict[tuple[Network, ...] | None, aiohttp.ClientSession] = {}
        """A pool for each set of private networks; None for requests without bounds of their own."""

    async def send(
        self,
        request: Request,
        *,
        timeout: float,
        fence: Callable[[], None] | None = None,
        max_body: int = MAX_ANSWER,
    ) -> Response:
        """
        Send *request*; see `penstock.http.Http`.
        """
        sending = _Sending(fence)
        _SENDING.set(sending)
        started = asyncio.get_running_loop().time()
        try:
            async with asyncio.timeout(timeout):
                status, headers, body = await self._exchange(request, max_body)
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
        while self._sessions:
            _, session = self._sessions.popitem()
            await session.close()

    async def _exchange(self, request: Request, max_body: int) -> tuple[int, dict[str, str], bytes]:
        reach = request.reach
        async with self._opened(None if reach is None else reach.networks).request(
            request.method,
            request.url,
            headers=_headers(request),
            skip_auto_headers=_AUTOMATIC,
            data=request.content or None,
            allow_redirects=False,
            ssl=True if reach is None or reach.tls is None else reach.tls,
        ) as answer:
            raw = await _limited(answer.content, max_body)
            headers = _named(answer.raw_headers)
            return answer.status, headers, _decoded(raw, headers.get("content-encoding", ""), max_body)

    def _opened(self, networks: tuple[Network, ...] | None) -> aiohttp.ClientSession:
        found = self._sessions.get(networks)
        if found is None:
            everywhere = None if self._allow_private else public_socket
            found = self._sessions[networks] = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(
                    limit=self._connections,
                    keepalive_timeout=KEEP_ALIVE,
                    socket_factory=everywhere if networks is None else socket_within(networks),
                    ssl=trusted(),
                ),
                cookie_jar=aiohttp.DummyCookieJar(),
                timeout=aiohttp.ClientTimeout(total=None),
                auto_decompress=False,
                request_class=_FencedRequest,
            )
            found._retry_connection = False  # noqa: SLF001  # `go` refuses it anyway; so the first error is heard of
        return found


def trusted() -> ssl.SSLContext:
    """
    Trust whom the machine trusts; in a bare container that trusts nobody, whom Mozilla trusts.
    """
    context = ssl.create_default_context()
    paths = ssl.get_default_verify_paths()
    if paths.cafile is None and (paths.capath is None or not any(Path(paths.capath).iterdir())):
        import certifi

        context.load_verify_locations(certifi.where())
    return context


def _headers(request: Request) -> dict[str, str]:
    headers = {"accept-encoding": "gzip"}
    headers |= {name: value for name, value in request.headers.items() if name not in _OURS}
    return headers


def _named(raw: Iterable[tuple[bytes, bytes]]) -> dict[str, str]:
    """
    Return headers as they came by their lower-case names, repeated ones joined.
    """
    headers: dict[str, str] = {}
    for name, value in raw:
        key, text = name.decode("utf-8", "surrogateescape").lower(), value.decode("utf-8", "surrogateescape")
        headers[key] = f"{headers[key]}, {text}" if key in headers else text
    return headers


async def _limited(stream: aiohttp.StreamReader, most: int) -> bytes:
    parts: list[bytes] = []
    size = 0
    async for part in stream.iter_chunked(CHUNK):
        size += len(part)
        if size > most:
            raise ValueError(f"the answer has more than {most} bytes")
        parts.append(part)
    return b"".join(parts)


def _decoded(raw: bytes, encoding: str, most: int) -> bytes:
    match encoding.strip().lower():
        case "" | "identity":
            return raw
        case "gzip" | "x-gzip":
            return _unpacked(raw, most)
        case other:
            raise ValueError(f"the answer is encoded as {other[:20]!r}, which was not asked for")


def _unpacked(raw: bytes, most: int) -> bytes:
    body = b""
    for _ in range(MEMBERS):  # gzip may come in several
        if not raw:
            return body
        unpacker = zlib.decompressobj(_GZIP)
        body += unpacker.decompress(raw, most + 1 - len(body))
        if len(body) > most:
            raise ValueError(f"the answer has more than {most} bytes once unpacked")
        if not unpacker.eof:
            raise ValueError("the packed answer breaks off")
        raw = unpacker.unused_data
    if raw:
        raise ValueError(f"the packed answer has more than {MEMBERS} parts")
    return body


def _ended(error: Exception, sending: _Sending, request: Request, timeout: float) -> Exception:
    host = request.url.host
    timed_out = isinstance(error, TimeoutError)
    said = _CONTEXT.sub("own certificates", str(error))
    reason = f"no complete answer within {timeout:g} s" if timed_out else f"{type(error).__name__}: {said}"
    if _refuses_certificate(error):
        return CertificateRefused(f"{request.method} to {host}: {reason}")
    if sending.left:
        return SentNoAnswer(f"{request.method} to {host}: {reason}", timeout=timed_out)
    return NotSent(f"{request.method} to {host}: {reason}")


def _refuses_certificate(error: BaseException | None) -> bool:
    """
    Tell whether the other side ended the handshake over our certificate. In TLS 1.3 we hear of it after we have sent.
    """
    while error is not None:
        reason = str(getattr(error, "reason", "")) if isinstance(error, ssl.SSLError) else ""
        if "ALERT" in reason and any(word in reason for word in _ALERTS):
            return True
        error = error.__cause__ or error.__context__
    return False
