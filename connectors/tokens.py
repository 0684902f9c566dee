"""
OAuth 2 client credentials: a token that is fetched, kept until shortly before its end, and fetched anew when it is refused.
"""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Callable, Mapping
from typing import Any, Literal
from urllib.parse import quote, urlencode

from connectors.formulas import Formula, value
from connectors.part import Identifier, Part
from connectors.settings import Settled
from penstock.clock import Clock
from penstock.destinations import Reach
from penstock.errors import AuthFailed, Unavailable
from penstock.http import CertificateRefused, Http, NotSent, Request, SentNoAnswer

EARLY = 60.0  # seconds before its end that a token is replaced
LASTS = 3_600.0  # seconds of a token that does not say
WITHIN = 10.0  # seconds
KEPT = 4  # tokens whose echo is still taken out of answers


class OAuth2Rule(Part):
    """
    Where tokens come from. RFC 6749, section 4.4.
    """

    token_url: Formula
    """An expression over `settings`."""
    client_id: Formula
    client_secret: Identifier
    """The setting that holds it."""
    scope: Formula | None = None
    audience: Formula | None = None
    style: Literal["basic", "body"] = "basic"
    """How client id and secret are sent: in the header, or in the form."""


class Tokens:
    """
    The token of one connection.
    """

    def __init__(
        self,
        rule: OAuth2Rule,
        settled: Settled,
        http: Http,
        clock: Clock,
        reach: Callable[[], Reach | None] = lambda: None,
    ) -> None:
        self._reach = reach
        self._rule = rule
        self._settled = settled
        self._http = http
        self._clock = clock
        self._lock = asyncio.Lock()
        self._until = 0.0
        self.known: list[str] = []
        """Tokens that were in our hands, newest first."""

    async def ready(self) -> None:
        """
        Have a token that holds for a while; raises `AuthFailed` and `Unavailable`.
        """
        if self._until > self._clock.monotonic():
            return
        async with self._lock:
            if self._until <= self._clock.monotonic():
                await self._fetch()

    async def renew(self) -> None:
        """
        Fetch another token, since the system refuses this one.
        """
        await self._settled.renew(self._rule.client_secret)
        self._until = 0.0
        await self.ready()

    async def _fetch(self) -> None:
        scope = {"settings": self._settled.values}
        url, client = str(value(self._rule.token_url, scope)), str(value(self._rule.client_id, scope))
        secret = self._settled.secrets(self._rule.client_secret)[0]
        form: dict[str, Any] = {"grant_type": "client_credentials"}
        for name, formula in (("scope", self._rule.scope), ("audience", self._rule.audience)):
            if formula is not None and (found := value(formula, scope)):
                form[name] = found
        headers = {"content-type": "application/x-www-form-urlencoded", "accept": "application/json"}
        if self._rule.style == "body":
            form |= {"client_id": client, "client_secret": secret}
        else:
            pair = f"{quote(client, safe='')}:{quote(secret, safe='')}"
            headers["authorization"] = "Basic " + base64.b64encode(pair.encode()).decode()
        content = urlencode(form).encode()
        request = Request.to("POST", url, headers=headers, content=content, reach=self._reach())
        token, lasts = await self._asked(request)
        self.known = [token, *self.known][:KEPT]
        self._until = self._clock.monotonic() + max(1.0, lasts - EARLY)

    async def _asked(self, request: Request) -> tuple[str, float]:
        try:
            response = await self._http.send(request, timeout=WITHIN)
            found = response.json() if response.body else {}
        except CertificateRefused as error:
            raise AuthFailed(f"no token could be fetched: our certificate is refused: {error}") from None
        except (NotSent, SentNoAnswer, ValueError) as error:
            raise Unavailable(f"no token could be fetched: {type(error).__name__}") from None
        answer: Mapping[str, Any] = found if isinstance(found, Mapping) else {}
        if response.status >= 500 or response.status == 429:
            raise Unavailable(f"no token could be fetched: {response.status}")
        token, lasts = answer.get("access_token"), answer.get("expires_in")
        if response.status != 200 or not isinstance(token, str) or not token:
            raise AuthFailed(f"no token was given: {response.status} {str(answer.get('error', ''))[:60]}".rstrip())
        return token, float(lasts) if isinstance(lasts, int | float) else LASTS
