"""
Tokens that a broker takes in place of a password: fetched with our client's secret, kept while they live.
"""

from __future__ import annotations

import asyncio
import base64
import logging
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import quote_plus, urlencode

from penstock.clock import Clock
from penstock.errors import AuthFailed, EdgeError, Unavailable
from penstock.http import Http, NotSent, Request, Response, SentNoAnswer
from penstock.redaction import LIVE
from penstock.secrets import Secret

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    Token = Callable[[], Awaitable[str]]
    """Gives a token that is good now; raises `AuthFailed` or `Unavailable`."""

_log = logging.getLogger(__name__)

FETCH_WITHIN = 10.0  # seconds
LIFE = 60.0  # seconds a token is used that does not say how long it lives
EARLY = 60.0  # seconds before its end a token is replaced, at most
EARLY_SHARE = 0.2  # of its life, for short ones
MOST_ANSWER = 64 * 1024  # bytes
_CODE = re.compile(r"[a-z][a-z_]{1,40}")  # what RFC 6749 calls `error`
_TOKEN = re.compile(r"[A-Za-z0-9._~+/-]+=*")  # RFC 6750: what may follow `Bearer`


@dataclass(frozen=True, slots=True, kw_only=True)
class Client:
    """
    Who we are to a token endpoint.
    """

    url: str
    client_id: str
    secret: Callable[[], Secret]
    """Read anew for each token: a file may have changed."""
    scope: str | None = None


class ClientCredentials:
    """
    Tokens of one client, by OAuth's client credentials grant.
    """

    def __init__(self, client: Client, *, http: Http, clock: Clock) -> None:
        self._client = client
        self._http = http
        self._clock = clock
        self._token = ""
        self._fresh_until = 0.0
        self._good_until = 0.0
        self._fetching = asyncio.Lock()

    async def __call__(self) -> str:
        """
        Return a token that is good now; one that ends soon is replaced first, and used if that fails.
        """
        async with self._fetching:
            if self._clock.monotonic() >= self._fresh_until:
                try:
                    await self._fetch()
                except EdgeError as error:
                    if self._clock.monotonic() >= self._good_until:
                        raise
                    _log.warning("the present token is used until it ends: %s", error)
            return self._token

    async def _fetch(self) -> None:
        asked = self._clock.monotonic()
        answer = self._read(await self._ask())
        self._token = str(answer["access_token"])
        LIVE.add(self._token)
        life = _life(answer.get("expires_in"))
        self._good_until = asked + life
        self._fresh_until = self._good_until - min(EARLY, life * EARLY_SHARE)

    async def _ask(self) -> Response:
        client = self._client
        pair = f"{quote_plus(client.client_id)}:{quote_plus(client.secret().reveal())}"
        form = {"grant_type": "client_credentials"} | ({"scope": client.scope} if client.scope else {})
        headers = {
            "authorization": f"Basic {base64.b64encode(pair.encode()).decode()}",
            "content-type": "application/x-www-form-urlencoded",
            "accept": "application/json",
        }
        request = Request.to("POST", client.url, headers=headers, content=urlencode(form).encode())
        try:
            return await self._http.send(request, timeout=FETCH_WITHIN, max_body=MOST_ANSWER)
        except (NotSent, SentNoAnswer) as error:
            raise Unavailable(f"the token endpoint {client.url} gave no answer: {LIVE.hide(str(error))}") from error

    def _read(self, answer: Response) -> dict[str, Any]:
        where = f"the token endpoint {self._client.url}"
        try:
            found = answer.json()
        except ValueError:
            found = None
        found = found if isinstance(found, dict) else {}
        if answer.status in (408, 429) or answer.status >= 500:
            raise Unavailable(f"{where} answered {answer.status}")
        if answer.status != 200:
            said = str(found.get("error"))
            why = f"{said} ({answer.status})" if _CODE.fullmatch(said) else str(answer.status)
            raise AuthFailed(f"{where} refused the client {self._client.client_id!r}: {why}")
        if not _TOKEN.fullmatch(str(found.get("access_token") or "")):
            raise AuthFailed(f"{where} answered 200 without an `access_token` that could be one")
        return found


def _life(written: object) -> float:
    """
    Return how long a token lives, in seconds.
    """
    try:
        return max(0.0, float(str(written)))
    except ValueError:
        return LIFE


def given(secret: Callable[[], Secret]) -> Token:
    """
    Return the token that somebody else puts where *secret* finds it.
    """

    async def token() -> str:
        text = secret().reveal().strip()
        if not _TOKEN.fullmatch(text):
            raise AuthFailed("`hub.bus.security.token` leads to a text that cannot be a token")
        return text

    return token
