"""
Salesforce's REST API through simple-salesforce, on threads of its own, behind a guarded adapter.

What simple-salesforce does by itself and we do not want (measured on 1.12.10): it goes on signing in for ever when a token
is always refused, leaves headers of a call out when it repeats it, has no time limits for writes, and loses the headers
of answers. The adapter gives every request the deadline of its call, ends a call at its second 401, and keeps headers;
what every request has to carry stands on the session.
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
REFUSALS = 2  # answers 401 at which a call ends
UNTIL_TOMORROW = 3600.0  # seconds until the daily limit is looked at again
LARGEST = 16 * 1024 * 1024  # bytes of an answer

_LATER = {"UNABLE_TO_LOCK_ROW", "SERVER_UNAVAILABLE", "REQUEST_LIMIT_EXCEEDED", "CONCURRENT_REQUESTS_LIMIT_EXCEEDED"}
_GONE = {"NOT_FOUND", "ENTITY_IS_DELETED", "INVALID_CROSS_REFERENCE_KEY", "MALFORMED_ID", "INVALID_ID_FIELD"}
_AUTH = {"INVALID_SESSION_ID", "INVALID_LOGIN", "INSUFFICIENT_ACCESS", "API_DISABLED_FOR_ORG", "INVALID_AUTH"}
_USAGE = re.compile(r"api-usage=(\d+)/(\d+)")


class Refused(requests.RequestException):
    """
    The token is refused again.
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
        if state is not None and state.fence is not None and "/oauth2/token" not in request.url:
            state.fence()
        if self._base is not None:
            parts = urlsplit(request.url)
            request.url = parts._replace(scheme=self._base.scheme, netloc=self._base.netloc).geturl()
            request.headers["Host"] = self._base.netloc
        words["timeout"] = (min(CONNECT, left), left)
        if state is not None:
            state.sent += "/oauth2/token" not in request.url
        response = super().send(request, *args, **words)
        if state is not None:
            state.headers = dict(response.headers)
            state.refusals += response.status_code == 401
            if state.refusals >= REFUSALS:
                response.close()
                raise Refused(f"{response.status_code} again", response=response)
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
        self.refusals = 0
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
        self._salesforce: tuple[str, Salesforce] | None = None
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
            raise self._not_let_in(what, error) from None
        except SalesforceError as error:
            raise self._meant(what, error, state, write=write) from None
        except requests.RequestException as error:
            never = isinstance(error, requests.ConnectTimeout) or "NewConnectionError" in repr(error)
            kind = UnknownOutcome if write and state.sent and not never else Unavailable
            raise kind(f"{what}: no answer came: {type(error).__name__}") from None
        except (ValueError, KeyError, IndexError, TypeError) as error:
            kind = UnknownOutcome if write and state.sent else Unavailable
            raise kind(f"{what}: the answer cannot be read: {type(error).__name__}") from None
        finally:
            self._guard.local.state = None
            self._learn(state.headers)
        return found

    def _signed_in(self) -> Salesforce:
        secret = self._settled.secrets("client_secret")[0]
        with self._lock:
            if self._salesforce is None or self._salesforce[0] != secret:
                made = Salesforce(
                    consumer_key=self._settled.values["client_id"],
                    consumer_secret=secret,
                    domain=self._settled.values["domain"],
                    session=self._session,
                    version=self._settled.values["api_version"],
                )
                self._salesforce = secret, made
            return self._salesforce[1]

    def _learn(self, headers: Mapping[str, str]) -> None:
        found = _USAGE.search(next((text for name, text in headers.items() if name.lower() == "sforce-limit-info"), ""))
        if found:
            self._used = int(found[1]), int(found[2])

    def _not_let_in(self, what: str, error: SalesforceAuthenticationFailed) -> EdgeError:
        self._salesforce = None
        code = str(getattr(error, "code", ""))
        said = f"{what}: Salesforce does not let us in: {self._clean(code)}"
        return Unavailable(said) if (code.isdecimal() and int(code) >= 500) or code == "429" else AuthFailed(said)

    def _meant(self, what: str, error: SalesforceError, state: _State, *, write: bool) -> EdgeError:
        status = int(error.status) if str(error.status).isdecimal() else 0
        content: Any = error.content
        first = content[0] if isinstance(content, list) and content and isinstance(content[0], dict) else {}
        code = str(first.get("errorCode") or "")
        said = f"{what}: {status} {code} {self._clean(first.get('message') or '')[:200]}".rstrip()
        if code in _LATER or status in (429, 503):
            wait = self._wait(state.headers)
            if code == "REQUEST_LIMIT_EXCEEDED" and wait is None:
                wait = UNTIL_TOMORROW
            return Unavailable(said, retry_after=wait)
        if code in _AUTH or status in (401, 403):
            return AuthFailed(said)
        if code in _GONE or status == 404:
            return NotFound(said)
        if status in (409, 412):
            return Conflict(said)
        if status >= 500 or not code:
            return (UnknownOutcome if write else Unavailable)(said) if status >= 500 or status < 400 else Rejected(said)
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

    def access(self) -> tuple[str, str]:
        """
        Return token and instance URL; signs in when needed. For a thread.
        """
        signed_in = self._signed_in()
        return str(signed_in.session_id), f"https://{signed_in.sf_instance}"

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


def _ignored(future: asyncio.Future[Any]) -> None:
    """
    Take note of what came too late, so that nobody warns of it.
    """
    if not future.cancelled():
        future.exception()
