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

import requests
from simple_salesforce.api import Salesforce
from simple_salesforce.exceptions import SalesforceAuthenticationFailed, SalesforceError

from connectors.contract import Call
from connectors.salesforce.guard import AT_ONCE, CONNECT, LARGEST, Guard, Refused, State, TooLarge
from connectors.settings import Settled
from penstock.clock import Clock
from penstock.errors import (
    AuthFailed,
    Away,
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

UNTIL_TOMORROW = 3600.0  # seconds until the daily limit is looked at again

_LATER = {"UNABLE_TO_LOCK_ROW", "SERVER_UNAVAILABLE", "REQUEST_LIMIT_EXCEEDED", "CONCURRENT_REQUESTS_LIMIT_EXCEEDED"}
_GONE = {"NOT_FOUND", "ENTITY_IS_DELETED", "INVALID_CROSS_REFERENCE_KEY", "MALFORMED_ID", "INVALID_ID_FIELD"}
_AUTH = {"INVALID_SESSION_ID", "INVALID_LOGIN", "API_DISABLED_FOR_ORG", "INVALID_AUTH"}
_USAGE = re.compile(r"api-usage=(\d+)/(\d+)")

USERINFO = "userinfo"
"""The question who we are."""


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
        self._learnt = 0.0
        """When that was said, in monotonic seconds."""

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
        self._leave_the_rest(what)
        return await self._do(work, call, what=what, write=False)

    def _leave_the_rest(self, what: str) -> None:
        """
        Raise `Unavailable` beyond our share of the day; one call an hour looks whether another day has begun.
        """
        if self._used is None:
            return
        (used, most), now = self._used, self._clock.monotonic()
        if used < most * (100 - int(self._settled.values["leave"])) / 100:
            return
        if now - self._learnt < UNTIL_TOMORROW:
            said = f"{what}: {used} of {most} API calls of today are used, and the rest is for others"
            raise Unavailable(said, retry_after=UNTIL_TOMORROW - (now - self._learnt))
        self._learnt = now

    async def tell(self, work: Callable[[Salesforce], T], call: Call, *, what: str) -> T:
        """
        Write, once; raises an `EdgeError`, `UnknownOutcome` when the answer was lost.
        """
        return await self._do(work, call, what=what, write=True)

    async def _do(self, work: Callable[[Salesforce], T], call: Call, *, what: str, write: bool) -> T:
        left = call.deadline - self._clock.monotonic()
        if left <= 0:
            raise Crowded(f"{what}: no time was left to send it")
        state = State(self._clock, call.deadline, call.fence)
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

    def _threaded(self, work: Callable[[Salesforce], T], state: State, what: str, write: bool) -> T:  # for a thread
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
            meant = self._meant(what, error, state, write=write)
            if isinstance(meant, AuthFailed):  # the token may be to blame: some say 403 of one that is over
                self._salesforce = None
            raise meant from None
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
                if self._passes(error):
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
            self._used, self._learnt = (int(found[1]), int(found[2])), self._clock.monotonic()

    def _not_let_in(self, what: str, error: SalesforceAuthenticationFailed, state: State) -> EdgeError:
        self._salesforce = None
        said = f"{what}: Salesforce does not let us in: {self._clean(getattr(error, 'code', ''))}"
        return Unavailable(said, retry_after=self._wait(state.headers)) if self._passes(error) else AuthFailed(said)

    def _passes(self, error: SalesforceAuthenticationFailed) -> bool:
        """
        Return whether a sign-in failed for now only, whatever its answer says: nothing is said of the secret.
        """
        state: State | None = getattr(self._guard.local, "state", None)
        code = str(getattr(error, "code", ""))
        status = (state.status if state is not None else 0) or (int(code) if code.isdecimal() else 0)
        return status >= 500 or status == 429

    def _lost(self, what: str, error: Exception, state: State, *, write: bool) -> EdgeError:
        """
        Return what it means that no answer came, or one that cannot be read.
        """
        said = f"{what}: no answer came, or none that can be read: {type(error).__name__}"
        if state.status == 401:
            self._salesforce = None
            return AuthFailed(said)
        never = isinstance(error, requests.ConnectTimeout) or "NewConnectionError" in repr(error)
        return UnknownOutcome(said) if write and state.sent and not never else Unavailable(said)

    def _meant(self, what: str, error: SalesforceError, state: State, *, write: bool) -> EdgeError:
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
        if code in _AUTH or status == 401 or (status == 403 and what == USERINFO):  # which asks about the token alone
            return AuthFailed(said)
        if code in _GONE or status == 404:
            return NotFound(said)
        if status in (409, 412):
            return Conflict(said)
        if status >= 500 or status < 300:
            unknown = Away if status == 503 else UnknownOutcome
            return (unknown if write else Unavailable)(said)
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


def _ignored(future: asyncio.Future[Any]) -> None:
    """
    Take note of what came too late, so that nobody warns of it.
    """
    if not future.cancelled():
        future.exception()
