"""
Salesforce's REST API through simple-salesforce, on threads of its own, behind a guarded adapter.

What simple-salesforce does by itself and we do not want (measured on 1.12.10): it goes on signing in for ever when a token
is always refused, leaves headers of a call out when it repeats it, has no time limits for writes, and loses the headers
of answers. The adapter gives every request the deadline of its call, ends a call when a token it was just given is refused,
bounds answers, and keeps headers; what every request has to carry stands on the session.
"""

from __future__ import annotations

import asyncio
import re
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any, TypeVar
from urllib.parse import urlsplit

import requests
from requests.adapters import HTTPAdapter
from simple_salesforce.api import Salesforce
from simple_salesforce.exceptions import SalesforceAuthenticationFailed, SalesforceError

from connectors.contract import Call
from connectors.settings import Settled
from penstock.clock import Clock
from penstock.errors import (
    AuthFailed,
    Conflict,
    Crowded,
    EdgeError,
    NotFound,
    Rejected,
    Unavailable,
    UnknownOutcome,
)
from penstock.retry import parse_retry_after

T = TypeVar("T")

AT_ONCE = 16  # calls, each on a thread of its own
CONNECT = 5.0  # seconds
UNTIL_TOMORROW = 3600.0  # seconds until the daily limit is looked at again
LARGEST = 16 * 1024 * 1024  # bytes of an answer
PART = 64 * 1024  # bytes of an answer that are read at once
SIGN_IN = "/services/oauth2/token"

_LATER = {"UNABLE_TO_LOCK_ROW", "SERVER_UNAVAILABLE", "REQUEST_LIMIT_EXCEEDED", "CONCURRENT_REQUESTS_LIMIT_EXCEEDED"}
_GONE = {"NOT_FOUND", "ENTITY_IS_DELETED", "INVALID_CROSS_REFERENCE_KEY", "MALFORMED_ID", "INVALID_ID_FIELD"}
_AUTH = {"INVALID_SESSION_ID", "INVALID_LOGIN", "API_DISABLED_FOR_ORG", "INVALID_AUTH"}
_USAGE = re.compile(r"api-usage=(\d+)/(\d+)")


class Refused(requests.RequestException):
    """
    A token that Salesforce gave us for this very call is refused.
    """


class TooLarge(requests.RequestException):
    """
    An answer is beyond `LARGEST`.
    """


class Guard(HTTPAdapter):
    """
    Gives each request the deadline of its call, ends calls that are refused, keeps headers, and sends tests elsewhere.
    """

    def __init__(self, base: str | None) -> None:
        super().__init__(pool_connections=4, pool_maxsize=AT_ONCE, max_retries=0)
        self._base = urlsplit(base) if base else None
        self.local = threading.local()

    def send(self, request: Any, *args: Any, **words: Any) -> requests.Response:
        """
        Send *request* once.
        """
        state: _State | None = getattr(self.local, "state", None)
        left = state.left() if state is not None else CONNECT
        if left <= 0:
            raise requests.ConnectTimeout("no time was left")
        signing = SIGN_IN in request.url
        if state is not None and state.fence is not None and not signing:
            state.fence()
        if self._base is not None:
            parts = urlsplit(request.url)
            request.url = parts._replace(scheme=self._base.scheme, netloc=self._base.netloc).geturl()
            request.headers["Host"] = self._base.netloc
        words["timeout"] = (min(CONNECT, left), left)
        if state is not None:
            state.sent += not signing
            state.status = 0
        response = super().send(request, *args, **words)
        if state is not None:
            state.status, state.headers = response.status_code, dict(response.headers)
            if response.status_code == 401 and state.signed_in and not signing:
                response.close()
                raise Refused("refused again", response=response)
            state.signed_in |= signing
            _read(response, state)
        return response

    def get_connection_with_tls_context(self, request: Any, verify: Any, proxies: Any = None, cert: Any = None) -> Any:
        """
        Return the pool for where *request* really goes.
        """
        if self._base is not None:
            return self.poolmanager.connection_from_url(self._base.geturl())
        return super().get_connection_with_tls_context(request, verify, proxies=proxies, cert=cert)


class _State:
    """
    What a thread knows of its call.
    """

    def __init__(self, clock: Clock, deadline: float, fence: Callable[[], None] | None) -> None:
        self._clock = clock
        self._deadline = deadline
        self.fence = fence
        self.headers: Mapping[str, str] = {}
        """Of the last answer."""
        self.status = 0
        """Of the last answer; 0 while there is none."""
        self.signed_in = False
        """Whether this call signed in, so that it has the newest token there is."""
        self.sent = 0

    def left(self) -> float:
        return self._deadline - self._clock.monotonic()


class Client:
    """
    One org.
    """

    def __init__(self, settled: Settled, clock: Clock) -> None:
        self._settled = settled
        self._clock = clock
        self._pool = ThreadPoolExecutor(AT_ONCE, "salesforce")
        self._guard = Guard(settled.values.get("url"))
        self._session = requests.Session()
        self._session.headers["Sforce-Call-Options"] = f"client={settled.values['app']}"
        self._session.mount("https://", self._guard)
        self._session.trust_env = False
        self._lock = threading.Lock()
        self._salesforce: tuple[tuple[str, ...], Salesforce] | None = None
        self._used: tuple[int, int] | None = None

    def __repr__(self) -> str:
        return f"<Salesforce {self._settled.values['domain']}>"

    @property
    def quota_left(self) -> int | None:
        """
        How many calls are left today, as Salesforce said last.
        """
        return None if self._used is None else self._used[1] - self._used[0]

    async def ask(self, work: Callable[[Salesforce], T], call: Call, *, what: str) -> T:
        """
        Read; raises an `EdgeError`. Stops before the daily limit is used up: others live of it too.
        """
        if self._used is not None:
            used, most = self._used
            if used >= most * (100 - int(self._settled.values["leave"])) / 100:
                self._used = None  # looked at again when we come back
                raise Unavailable(
                    f"{what}: {used} of {most} API calls of today are used, and the rest is for others",
                    retry_after=UNTIL_TOMORROW,
                )
        return await self._do(work, call, what=what, write=False)

    async def tell(self, work: Callable[[Salesforce], T], call: Call, *, what: str) -> T:
        """
        Write, once; raises an `EdgeError`, `UnknownOutcome` when the answer was lost.
        """
        return await self._do(work, call, what=what, write=True)

    async def _do(self, work: Callable[[Salesforce], T], call: Call, *, what: str, write: bool) -> T:
        left = call.deadline - self._clock.monotonic()
        if left <= 0:
            raise Crowded(f"{what}: no time was left to send it")
        state = _State(self._clock, call.deadline, call.fence)
        loop = asyncio.get_running_loop()
        future = loop.run_in_executor(self._pool, self._threaded, work, state, what, write)
        try:
            async with asyncio.timeout(left + CONNECT):
                return await asyncio.shield(future)
        except TimeoutError:
            future.add_done_callback(_ignored)
            kind = UnknownOutcome if write and state.sent else Unavailable
            raise kind(f"{what}: no answer came in time") from None
        except AuthFailed:
            await self._settled.renew("client_secret")
            raise

    def _threaded(self, work: Callable[[Salesforce], T], state: _State, what: str, write: bool) -> T:  # for a thread
        self._guard.local.state = state
        try:
            found = work(self._signed_in())
        except EdgeError:
            raise
        except Refused:
            self._salesforce = None
            raise AuthFailed(f"{what}: the token is refused again and again") from None
        except SalesforceAuthenticationFailed as error:
            raise self._not_let_in(what, error, state) from None
        except TooLarge:
            kind = UnknownOutcome if write else Rejected
            raise kind(f"{what}: the answer is larger than {LARGEST >> 20} MB") from None
        except SalesforceError as error:
            raise self._meant(what, error, state, write=write) from None
        except (requests.RequestException, ValueError, KeyError, IndexError, TypeError) as error:
            raise self._lost(what, error, state, write=write) from None
        finally:
            self._guard.local.state = None
            self._learn(state.headers)
        return found

    def _signed_in(self) -> Salesforce:
        secrets = self._settled.secrets("client_secret")
        with self._lock:
            if self._salesforce is None or self._salesforce[0] != secrets:
                self._salesforce = secrets, self._signing_in(secrets)
            return self._salesforce[1]

    def _signing_in(self, secrets: tuple[str, ...]) -> Salesforce:
        """
        Sign in with the newest secret; in the middle of a rotation the one before may be the one they know yet.
        """
        for secret in secrets[:-1]:
            try:
                return self._with(secret)
            except SalesforceAuthenticationFailed as error:
                if _passes(error):
                    raise
        return self._with(secrets[-1])

    def _with(self, secret: str) -> Salesforce:
        return Salesforce(
            consumer_key=self._settled.values["client_id"],
            consumer_secret=secret,
            domain=self._settled.values["domain"],
            session=self._session,
            version=self._settled.values["api_version"],
        )

    def _learn(self, headers: Mapping[str, str]) -> None:
        found = _USAGE.search(next((text for name, text in headers.items() if name.lower() == "sforce-limit-info"), ""))
        if found:
            self._used = int(found[1]), int(found[2])

    def _not_let_in(self, what: str, error: SalesforceAuthenticationFailed, state: _State) -> EdgeError:
        self._salesforce = None
        said = f"{what}: Salesforce does not let us in: {self._clean(getattr(error, 'code', ''))}"
        return Unavailable(said, retry_after=self._wait(state.headers)) if _passes(error) else AuthFailed(said)

    def _lost(self, what: str, error: Exception, state: _State, *, write: bool) -> EdgeError:
        """
        Return what it means that no answer came, or one that cannot be read.
        """
        said = f"{what}: no answer came, or none that can be read: {type(error).__name__}"
        if state.status == 401:
            self._salesforce = None
            return AuthFailed(said)
        never = isinstance(error, requests.ConnectTimeout) or "NewConnectionError" in repr(error)
        return UnknownOutcome(said) if write and state.sent and not never else Unavailable(said)

    def _meant(self, what: str, error: SalesforceError, state: _State, *, write: bool) -> EdgeError:
        status = int(error.status) if str(error.status).isdecimal() else 0
        content: Any = error.content
        first = content[0] if isinstance(content, list) and content and isinstance(content[0], dict) else {}
        code = str(first.get("errorCode") or "")
        said = f"{what}: {status} {code} {self._clean(first.get('message') or '')[:200]}".rstrip()
        wait = self._wait(state.headers)
        busy = status == 503 and (wait is not None or not write)  # else a proxy may say it, all being sent
        if code in _LATER or status == 429 or busy:
            if code == "REQUEST_LIMIT_EXCEEDED" and wait is None:
                wait = UNTIL_TOMORROW
            return Unavailable(said, retry_after=wait)
        if code in _AUTH or status == 401:
            return AuthFailed(said)
        if code in _GONE or status == 404:
            return NotFound(said)
        if status in (409, 412):
            return Conflict(said)
        if status >= 500 or status < 300:
            return (UnknownOutcome if write else Unavailable)(said)
        return Rejected(said)

    def _wait(self, headers: Mapping[str, str]) -> float | None:
        asked = next((text for name, text in headers.items() if name.lower() == "retry-after"), None)
        return parse_retry_after(asked, datetime.fromtimestamp(self._clock.now_ms() / 1000, UTC))

    def _clean(self, text: object) -> str:
        said = " ".join(str(text).split())
        for secret in self._settled.revealed():
            said = said.replace(secret, "***")
        token = self._salesforce[1].session_id if self._salesforce else None
        return said.replace(token, "***") if token else said

    def forget(self) -> None:
        """
        Sign in anew next time.
        """
        self._salesforce = None

    async def close(self) -> None:
        """
        Give connections and threads back.
        """
        self._session.close()
        self._pool.shutdown(wait=False, cancel_futures=True)


def _passes(error: SalesforceAuthenticationFailed) -> bool:
    """
    Return whether a sign-in failed for now only: nothing is said of the secret.
    """
    code = str(getattr(error, "code", ""))
    return (code.isdecimal() and int(code) >= 500) or code == "429"


def _read(response: requests.Response, state: _State) -> None:
    """
    Read an answer as far as it may go, while there is time.
    """
    parts, size = [], 0
    for part in response.iter_content(PART):
        parts.append(part)
        size += len(part)
        if size > LARGEST or state.left() <= 0:
            response.close()
            raise TooLarge if size > LARGEST else requests.ReadTimeout("the answer took too long")
    response._content = b"".join(parts)  # noqa: SLF001  # what it reads by itself, it reads without a bound


def _ignored(future: asyncio.Future[Any]) -> None:
    """
    Take note of what came too late, so that nobody warns of it.
    """
    if not future.cancelled():
        future.exception()
