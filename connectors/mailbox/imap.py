"""
IMAP connections on threads of their own, through imapclient.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, TypeVar

from imapclient import IMAPClient, SocketTimeout
from imapclient.exceptions import IMAPClientAbortError, IMAPClientError, LoginError

from connectors.mailbox.signing_in import SigningIn, trust
from penstock.clock import Clock
from penstock.errors import AuthFailed, EdgeError, Rejected, Unavailable

T = TypeVar("T")

CONNECT = 10.0  # seconds
READ = 30.0  # seconds one answer may take
AT_ONCE = 3  # connections for lookups and actions
LATER = ("[UNAVAILABLE]", "[INUSE]", "[LIMIT]", "[SERVERBUG]", "[OVERQUOTA]", "TEMPORARY", "TRY AGAIN")
"""What servers say that refuse for now only (RFC 5530)."""


class Refused(Unavailable):
    """
    The server said that it does not do it now: it did nothing.
    """


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """
    Where a server is.
    """

    host: str
    port: int
    security: str

    @classmethod
    def read(cls, written: str, security: str, usual: dict[str, int]) -> Server:
        """
        Return the server that *written*, `host` or `host:port`, names.
        """
        host, _, port = written.partition(":")
        return cls(host=host, port=int(port or usual[security]), security=security)


class Imap:
    """
    One connection: signs in when it is needed, and again after an error; its calls take turns.
    """

    def __init__(self, server: Server, user: str, signing_in: SigningIn, clock: Clock) -> None:
        self._server = server
        self._user = user
        self._signing_in = signing_in
        self._clock = clock
        self._pool = ThreadPoolExecutor(1, "imap")
        self._turn = asyncio.Lock()
        self._client: IMAPClient | None = None
        self._closed = False

    def __repr__(self) -> str:
        return f"<Imap {self._server.host}:{self._server.port}>"

    async def do(self, work: Callable[[IMAPClient], T], deadline: float) -> T:
        """
        Do *work* with a signed-in connection before *deadline* (monotonic seconds); raises an `EdgeError`.

        Nothing of *work* is begun after that. What it had begun may have taken effect when this raises `Unavailable`.
        """
        left = max(0.0, deadline - self._clock.monotonic())
        try:
            async with asyncio.timeout(left), self._turn:
                secrets = await self._signing_in.secrets()
                return await self._threaded(work, secrets)
        except TimeoutError:
            raise Unavailable(f"{self._server.host}: no answer came within {left:.0f} s") from None
        except AuthFailed:
            await self._signing_in.refused()
            raise

    async def _threaded(self, work: Callable[[IMAPClient], T], secrets: tuple[str, ...]) -> T:
        given_up = threading.Event()
        future = asyncio.get_running_loop().run_in_executor(self._pool, self._work, work, secrets, given_up)
        try:
            return await asyncio.shield(future)
        except asyncio.CancelledError:
            given_up.set()
            self._drop()  # wakes the thread
            future.add_done_callback(_ignored)
            raise

    def _work(self, work: Callable[[IMAPClient], T], secrets: tuple[str, ...], given_up: threading.Event) -> T:
        try:
            client = self._ready(secrets)
            if given_up.is_set():
                raise Unavailable(f"{self._server.host}: it was too late to begin")
            return work(client)
        except EdgeError:
            raise
        except (IMAPClientAbortError, OSError, EOFError) as error:
            self._drop()
            raise Unavailable(f"{self._server.host}: {type(error).__name__}: {_said(error, secrets)}") from None
        except IMAPClientError as error:
            said = _said(error, secrets)
            kind = Refused if for_now(said) else Rejected
            raise kind(f"{self._server.host}: {said}") from None
        except (ValueError, KeyError, IndexError, AssertionError) as error:
            self._drop()
            raise Unavailable(f"{self._server.host}: its answer cannot be read: {type(error).__name__}") from None

    def _ready(self, secrets: tuple[str, ...]) -> IMAPClient:
        if self._client is not None:
            try:
                self._client.noop()
                return self._client
            except (IMAPClientError, OSError, EOFError, ValueError):
                self._drop()
        for number, secret in enumerate(secrets):
            try:
                client = self._signed_in(secret)
            except LoginError as error:
                self._judge(error, secrets, last=number == len(secrets) - 1)
            else:
                self._signing_in.worked(secret)
                self._client = client
                if self._closed:
                    self._drop()
                return client
        raise AuthFailed(f"{self._server.host}: there is nothing to sign in with")

    def _judge(self, error: LoginError, secrets: tuple[str, ...], *, last: bool) -> None:
        """
        Raise what a refused sign-in means, unless it is our secret's fault and there is another one.
        """
        said = _said(error, secrets)
        if isinstance(error.__context__, IMAPClientAbortError) or for_now(said):
            raise Unavailable(f"{self._server.host} lets nobody in now: {said}") from None
        if last:
            raise AuthFailed(f"{self._server.host} refuses to let us in: {said}") from None

    def _signed_in(self, secret: str) -> IMAPClient:
        secure = self._server.security == "tls"
        timeout = SocketTimeout(connect=CONNECT, read=READ)
        words: dict[str, Any] = {"ssl_context": trust()} if secure else {}
        client = IMAPClient(self._server.host, self._server.port, ssl=secure, use_uid=True, timeout=timeout, **words)
        try:
            if self._server.security == "starttls":
                client.starttls(trust())
            if self._signing_in.by_token:
                client.oauth2_login(self._user, secret)
            else:
                client.login(self._user, secret)
        except BaseException:
            with contextlib.suppress(Exception):
                client.shutdown()
            raise
        return client

    def _drop(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            with contextlib.suppress(Exception):
                client.shutdown()

    async def close(self) -> None:
        """
        Give connection and thread back.
        """
        self._closed = True
        self._drop()
        self._pool.shutdown(wait=False, cancel_futures=True)


class Desk:
    """
    A few connections; whoever comes takes one that is free.
    """

    def __init__(self, make: Callable[[], Imap], clock: Clock) -> None:
        self._all = [make() for _ in range(AT_ONCE)]
        self._free = list(self._all)
        self._room = asyncio.Semaphore(AT_ONCE)
        self._clock = clock

    async def do(self, work: Callable[[IMAPClient], T], deadline: float) -> T:
        """
        Do *work* with one of them; see `Imap.do`.
        """
        async with self._one(deadline) as imap:
            return await imap.do(work, deadline)

    @contextlib.asynccontextmanager
    async def _one(self, deadline: float) -> AsyncIterator[Imap]:
        try:
            async with asyncio.timeout(max(0.0, deadline - self._clock.monotonic())):
                await self._room.acquire()
        except TimeoutError:
            raise Unavailable("all our IMAP connections were busy for too long") from None
        imap = self._free.pop()  # the one that was used last: others may sleep
        try:
            yield imap
        finally:
            self._free.append(imap)
            self._room.release()

    async def close(self) -> None:
        """
        Give all of them back.
        """
        for imap in self._all:
            await imap.close()


def for_now(said: str) -> bool:
    """
    Tell whether a server that said this may say something else later.
    """
    upper = said.upper()
    return any(word in upper for word in LATER)


def _ignored(future: asyncio.Future[Any]) -> None:
    """
    Take note of what came too late, so that nobody warns of it.
    """
    if not future.cancelled():
        future.exception()


def _said(error: object, secrets: tuple[str, ...]) -> str:
    text = " ".join(str(error).split())
    for secret in secrets:
        text = text.replace(secret, "***")
    return text[:200]
