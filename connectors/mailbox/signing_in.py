"""
How a mailbox proves who it is: a password, or a token that is fetched and renewed.
"""

from __future__ import annotations

import asyncio
import functools
import ssl
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode

from connectors.settings import Settled
from penstock.clock import Clock
from penstock.errors import AuthFailed, Invalid, Unavailable
from penstock.http import Http, NotSent, Request, SentNoAnswer
from penstock.http_aiohttp import trusted

EARLY = 60.0  # seconds before its end that a token is replaced
LASTS = 3_600.0  # seconds of a token that does not say
WITHIN = 10.0  # seconds


class SigningIn:
    """
    The credential of one mailbox.
    """

    def __init__(self, settled: Settled, http: Http, clock: Clock) -> None:
        self._settled = settled
        self._http = http
        self._clock = clock
        self._oauth: Mapping[str, Any] | None = settled.values.get("oauth")
        self._lock = asyncio.Lock()
        self._token: tuple[str, float] | None = None
        self._good: str | None = None
        if self._oauth is None and not settled.secrets("password"):
            raise Invalid("a mailbox needs a `password`, or `oauth`")

    @property
    def by_token(self) -> bool:
        """
        Whether `secret` is a token.
        """
        return self._oauth is not None

    async def secrets(self) -> tuple[str, ...]:
        """
        Return what to sign in with, first what worked last: passwords, or a token that holds for a while.

        Raises `AuthFailed` and `Unavailable`.
        """
        if self._oauth is None:
            live = self._settled.secrets("password")
            return tuple(sorted(live, key=lambda one: one != self._good))
        async with self._lock:
            if self._token is None or self._token[1] - EARLY < self._clock.monotonic():
                self._token = await self._fetched(self._oauth)
            return (self._token[0],)

    def worked(self, secret: str) -> None:
        """
        Take note that the server let us in with *secret*: during a rotation that is the old one for a while.
        """
        self._good = secret

    async def refused(self) -> None:
        """
        Take note that the server refuses the credential: read or fetch it anew next time.
        """
        self._token = None
        for name in ("password",) if self._oauth is None else ("client_secret", "refresh_token"):
            await self._settled.renew(name)

    def hidden(self, said: str) -> str:
        """
        Return what a server said, without the secrets it repeated.
        """
        for secret in self._settled.revealed():
            said = said.replace(secret, "***")
        return said

    async def _fetched(self, oauth: Mapping[str, Any]) -> tuple[str, float]:
        form = {"client_id": oauth["client_id"], "grant_type": "client_credentials"}
        if oauth.get("scope"):
            form["scope"] = oauth["scope"]
        if refresh := self._settled.secrets("refresh_token"):
            form |= {"grant_type": "refresh_token", "refresh_token": refresh[0]}
        if secret := self._settled.secrets("client_secret"):
            form["client_secret"] = secret[0]
        headers = {"content-type": "application/x-www-form-urlencoded", "accept": "application/json"}
        request = Request.to("POST", oauth["token_url"], headers=headers, content=urlencode(form).encode())
        try:
            response = await self._http.send(request, timeout=WITHIN)
            found = response.json() if response.body else {}
        except (NotSent, SentNoAnswer, ValueError) as error:
            raise Unavailable(f"no token could be fetched: {type(error).__name__}") from None
        if response.status >= 500 or response.status == 429:
            raise Unavailable(f"no token could be fetched: {response.status}")
        token = found.get("access_token") if isinstance(found, dict) else None
        if response.status != 200 or not isinstance(token, str):
            why = found.get("error") if isinstance(found, dict) else ""
            raise AuthFailed(f"no token was given: {response.status} {self.hidden(str(why))[:60]}".rstrip())
        lasts = found.get("expires_in")
        return token, self._clock.monotonic() + (float(lasts) if isinstance(lasts, int | float) else LASTS)


@functools.cache
def trust() -> ssl.SSLContext:
    """
    Return what servers are verified with.
    """
    return trusted()
