"""
One IMAP connection on a thread of its own, through imapclient.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any, TypeVar

from imapclient import IMAPClient, SocketTimeout
from imapclient.exceptions import IMAPClientAbortError, IMAPClientError, LoginError

from connectors.mailbox.signing_in import SigningIn, context
from penstock.clock import Clock
from penstock.errors import AuthFailed, EdgeError, NotFound, Rejected, Unavailable

T = TypeVar("T")

CONNECT = 10.0  # seconds
READ = 30.0  # seconds one answer may take
LARGEST = 8 * 1024 * 1024  # bytes of one mail that are fetched
FOLDERS = 40  # that are looked through for a mail that was moved
UNSENT = b"\\Draft"
"""The flag of a copy among what was sent whose sending has no known end yet."""


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Fetched:
    """
    One mail as it lies in a folder.
    """

    uid: int
    raw: bytes
    whole: bool
    flags: tuple[bytes, ...]
    came: datetime | None


class Imap:
    """
    Signs in when it is needed, and again after an error; its calls take turns.
    """

    def __init__(self, server: Server, user: str, signing_in: SigningIn, clock: Clock) -> None:
        self._server = server
        self._user = user
        self._signing_in = signing_in
        self._clock = clock
        self._pool = ThreadPoolExecutor(1, "imap")
        self._turn = asyncio.Lock()
        self._client: IMAPClient | None = None
        self._selected: tuple[str, bool] | None = None

    async def do(self, work: Callable[[IMAPClient], T], deadline: float) -> T:
        """
        Do *work* with a signed-in connection before *deadline* (monotonic seconds); raises an `EdgeError`.

        *work* may be done anew when the connection turned out to be gone before it began.
        """
        left = deadline - self._clock.monotonic()
        try:
            async with asyncio.timeout(max(0.0, left)), self._turn:
                secret = await self._signing_in.secret()
                return await self._threaded(work, secret)
        except TimeoutError:
            self._drop()
            raise Unavailable(f"{self._server.host}: no answer came within {left:.0f} s") from None
        except AuthFailed:
            await self._signing_in.refused()
            raise

    async def _threaded(self, work: Callable[[IMAPClient], T], secret: str) -> T:
        loop = asyncio.get_running_loop()
        future = loop.run_in_executor(self._pool, self._work, work, secret)
        try:
            return await asyncio.shield(future)
        except asyncio.CancelledError:
            self._drop()  # wakes the thread
            future.add_done_callback(_ignored)
            raise

    def _work(self, work: Callable[[IMAPClient], T], secret: str) -> T:
        try:
            return work(self._ready(secret))
        except EdgeError:
            raise
        except LoginError as error:
            self._drop()
            raise AuthFailed(f"{self._server.host} refuses to let us in: {_said(error, secret)}") from None
        except (IMAPClientAbortError, OSError, ssl.SSLError, EOFError) as error:
            self._drop()
            raise Unavailable(f"{self._server.host}: {type(error).__name__}: {_said(error, secret)}") from None
        except IMAPClientError as error:
            raise Rejected(f"{self._server.host}: {_said(error, secret)}") from None
        except (ValueError, KeyError, IndexError, AssertionError) as error:
            self._drop()
            raise Unavailable(f"{self._server.host}: its answer cannot be read: {type(error).__name__}") from None

    def _ready(self, secret: str) -> IMAPClient:
        if self._client is not None:
            try:
                self._client.noop()
                return self._client
            except (IMAPClientError, OSError, EOFError):
                self._drop()
        secure = self._server.security == "tls"
        timeout = SocketTimeout(connect=CONNECT, read=READ)
        words: dict[str, Any] = {"ssl_context": context()} if secure else {}
        client = IMAPClient(self._server.host, self._server.port, ssl=secure, use_uid=True, timeout=timeout, **words)
        try:
            if self._server.security == "starttls":
                client.starttls(context())
            if self._signing_in.by_token:
                client.oauth2_login(self._user, secret)
            else:
                client.login(self._user, secret)
        except BaseException:
            with contextlib.suppress(Exception):
                client.shutdown()
            raise
        self._client, self._selected = client, None
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
        self._drop()
        self._pool.shutdown(wait=False, cancel_futures=True)


def _ignored(future: asyncio.Future[Any]) -> None:
    """
    Take note of what came too late, so that nobody warns of it.
    """
    if not future.cancelled():
        future.exception()


def _said(error: object, secret: str) -> str:
    text = " ".join(str(error).split())[:200]
    return text.replace(secret, "***") if secret else text


# ---- what is done with a connection, on its thread -----------------------------------------------


def select(client: IMAPClient, folder: str, *, write: bool = False) -> tuple[int, int]:
    """
    Select a folder; return its UIDVALIDITY and the next UID. Raises `NotFound`.
    """
    try:
        found = client.select_folder(folder, readonly=not write)
    except IMAPClientAbortError:
        raise
    except IMAPClientError as error:
        raise NotFound(f"there is no folder {folder!r}: {_said(error, '')}") from None
    return int(found[b"UIDVALIDITY"]), int(found.get(b"UIDNEXT") or 1)


def fetch(client: IMAPClient, uids: Sequence[int]) -> list[Fetched]:
    """
    Return mails of the selected folder, without marking them as seen; of a large one its beginning.
    """
    if not uids:
        return []
    wanted = ["RFC822.SIZE", "FLAGS", "INTERNALDATE", f"BODY.PEEK[]<0.{LARGEST}>"]
    found: list[Fetched] = []
    for uid, data in sorted(client.fetch(list(uids), wanted).items()):
        raw = next((value for name, value in data.items() if name.startswith(b"BODY[]")), None)
        if isinstance(raw, bytes):
            whole = int(data.get(b"RFC822.SIZE") or len(raw)) <= LARGEST
            came = data.get(b"INTERNALDATE")
            flags = tuple(data.get(b"FLAGS") or ())
            found.append(Fetched(uid=uid, raw=raw, whole=whole, flags=flags, came=came))
    return found


def above(client: IMAPClient, uid: int) -> list[int]:
    """
    Return the UIDs above *uid* in the selected folder, in order: the server gives its last one for an empty range too.
    """
    return sorted(one for one in client.search(["UID", f"{uid + 1}:*"]) if one > uid)


def since(client: IMAPClient, day: date) -> list[int]:
    """
    Return the UIDs of what came since *day*.
    """
    return sorted(client.search(["SINCE", day]))


def with_header(client: IMAPClient, name: str, text: str) -> list[int]:
    """
    Return the UIDs of mails whose header *name* holds *text*, in order.
    """
    return sorted(client.search(["HEADER", name, text]))


def where(client: IMAPClient, folder: str, place: tuple[int, int], message_id: str) -> tuple[str, int]:
    """
    Return folder and UID of a mail: where it came in, or where people have moved it. Raises `NotFound`.
    """
    validity, _ = select(client, folder)
    if validity == place[0] and client.search(["UID", str(place[1])]):
        return folder, place[1]
    if message_id:
        others = [name for _, _, name in client.list_folders() if name != folder][:FOLDERS]
        for name in (folder, *others):
            with contextlib.suppress(NotFound, IMAPClientError):
                if name != folder:
                    select(client, name)
                if found := with_header(client, "Message-ID", f"<{message_id}>"):
                    return name, found[-1]
    raise NotFound(f"the mail {message_id or place} is in no folder any more")


def today() -> date:
    """
    Return the day by which replies are counted.
    """
    return datetime.now(UTC).date()
