"""
Access tokens of Google Cloud: for a service account's key, or for who the machine is.

google-auth knows the ways to a token (signed JWT, metadata server, workload identity); its requests
go through our own HTTP seam.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson

from ai.errors import AIError
from penstock.http import Http, NotSent, Request, SentNoAnswer
from penstock.redaction import LIVE

SCOPE = "https://www.googleapis.com/auth/cloud-platform"
EARLY = 300.0  # seconds before its end in which a token is replaced
PATIENCE = 20.0  # seconds for one request of a sign-in
LARGEST = 1024 * 1024  # bytes of an answer


@dataclass(kw_only=True)
class _Signed:
    """
    One identity, and its token of now.
    """

    credentials: Any
    token: str = ""
    ends: float = 0.0
    """Seconds since 1970."""


class GoogleTokens:
    """
    The tokens of a process. Each is fetched once, however many wait for it.
    """

    def __init__(self, http: Http) -> None:
        self._http = http
        self._signed: dict[str | None, _Signed] = {}
        self._locks: defaultdict[str | None, asyncio.Lock] = defaultdict(asyncio.Lock)

    async def token(self, account: str | None, *, refused: str | None = None) -> str:
        """
        Return a token for *account*, the JSON of its key, or for who the machine is; never the *refused* one.

        Raises `AIError`: `auth` when no token is given, `connection` when nobody could be asked.
        """
        async with self._locks[account]:
            known = self._signed.get(account)
            if known is None or known.token == refused or time.time() > known.ends - EARLY:
                known = await self._renewed(account, known, refused)
            return known.token

    async def _renewed(self, account: str | None, known: _Signed | None, refused: str | None) -> _Signed:
        loop = asyncio.get_running_loop()
        try:
            signed = await asyncio.to_thread(_sign_in, account, _Asker(self._http, loop).send)
        except AIError as error:
            usable = known is not None and known.token != refused and time.time() < known.ends
            if error.error_class == "auth" or not usable:
                raise
            assert known is not None
            return known  # it still opens: asked again with the next request
        LIVE.add_passing(signed.token)
        self._signed[account] = signed
        return signed


@dataclass(frozen=True)
class _Answer:
    """
    What google-auth wants to know of an answer.
    """

    status: int
    headers: Mapping[str, str]
    data: bytes


class _Asker:
    """
    Sends google-auth's requests, made in a thread, from the event loop.
    """

    def __init__(self, http: Http, loop: asyncio.AbstractEventLoop) -> None:
        self._http = http
        self._loop = loop

    def send(
        self, url: str, method: str = "GET", body: Any = None, headers: Any = None, timeout: Any = None, **_: Any
    ) -> _Answer:
        """
        Send one request; raises google-auth's `TransportError`.
        """
        from google.auth.exceptions import TransportError

        content = body.encode() if isinstance(body, str) else body
        request = Request.to(method, url, headers=headers, content=content)
        within = min(timeout or PATIENCE, PATIENCE)
        sent = asyncio.run_coroutine_threadsafe(self._http.send(request, timeout=within, max_body=LARGEST), self._loop)
        try:
            answer = sent.result(within + PATIENCE)
        except (NotSent, SentNoAnswer, TimeoutError) as error:
            raise TransportError(str(error)) from error  # type: ignore[no-untyped-call]
        return _Answer(answer.status, answer.headers, answer.body)


def _sign_in(account: str | None, send: Any) -> _Signed:
    """
    Get a token now; runs in a thread.
    """
    try:
        from google.auth import exceptions
    except ImportError:
        message = "Vertex AI needs google-auth: install penstock[google]"
        raise AIError(message, error_class="auth") from None
    try:
        credentials = _credentials(account, send)
        credentials.refresh(send)
    except exceptions.TransportError as error:
        raise AIError(f"Google's sign-in cannot be reached: {error}", error_class="connection") from None
    except (ValueError, KeyError, TypeError, AttributeError):
        message = "the key is not the JSON of a service account or of a workload identity"
        raise AIError(message, error_class="auth") from None
    except exceptions.GoogleAuthError as error:
        again = bool(getattr(error, "retryable", False))
        words = LIVE.hide(str(error.args[0] if error.args else error))
        raise AIError(f"Google gives no token: {words}", error_class="server" if again else "auth") from None
    if not credentials.token:
        raise AIError("Google's sign-in gave no token", error_class="auth")
    ends = credentials.expiry.replace(tzinfo=UTC) if credentials.expiry else datetime.now(UTC)
    return _Signed(credentials=credentials, token=credentials.token, ends=ends.timestamp())


def _credentials(account: str | None, send: Any) -> Any:
    import google.auth
    from google.auth import identity_pool
    from google.oauth2 import service_account

    given = orjson.loads(account) if account is not None else _pointed_at()
    if account is None and given.get("type") not in ("service_account", "external_account"):
        return google.auth.default(scopes=[SCOPE], request=send)[0]
    if given.get("type") == "service_account":
        return service_account.Credentials.from_service_account_info(given, scopes=[SCOPE])  # type: ignore[no-untyped-call]
    return identity_pool.Credentials.from_info(given, scopes=[SCOPE])  # type: ignore[no-untyped-call]


def _pointed_at() -> dict[str, Any]:
    """
    Return what the usual variable points at: google-auth would ask for the project of some of it, in vain.
    """
    try:
        found = orjson.loads(Path(os.environ["GOOGLE_APPLICATION_CREDENTIALS"]).read_bytes())
    except (KeyError, OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
