"""
The edge of one system: its address, how we prove who we are, and what its answers mean.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Literal, NoReturn, Self

from pydantic import Field as Key
from pydantic import model_validator

from connectors.budget import Budget
from connectors.formulas import Formula, Scope, truth, value
from connectors.part import Header, Identifier, Part
from connectors.settings import Settled
from connectors.tokens import OAuth2Rule
from penstock import errors
from penstock.clock import Clock, utc
from penstock.destinations import Reach
from penstock.http import Response
from penstock.redaction import LIVE, MASK, spellings
from penstock.retry import parse_retry_after

Raises = Literal["unavailable", "auth-failed", "rejected", "not-found", "conflict", "unknown-outcome"]

REFUSED = 60.0  # seconds a refused credential is tried after the others
EXCERPT = 200  # characters of the system's own words in our messages
LOOKED_AT = 16 * 1024  # bytes of an error page that are read for them
ECHOED = 12  # characters from which a credential in an answer is no chance
_USUAL: Mapping[int, Raises] = {  # 403 is not among them: mostly it is about one record, as of a locked issue
    401: "auth-failed",
    404: "not-found",
    408: "unavailable",
    409: "conflict",
    410: "not-found",
    412: "conflict",
    425: "unavailable",
    429: "unavailable",
    503: "unavailable",
}


class Auth(Part):
    """
    How requests prove who we are: exactly one of the ways.
    """

    bearer: Identifier | None = None
    """The setting that holds the token."""
    basic: tuple[Formula, Identifier] | None = None
    """User (an expression over `settings`) and the setting that holds the password."""
    header: tuple[Header, Identifier] | None = None
    """A header of its own and the setting that holds its value."""
    oauth2: OAuth2Rule | None = None
    """A token that client credentials get."""
    nothing: Literal[True] | None = None
    """The system asks for no proof."""

    @model_validator(mode="after")
    def _one(self) -> Self:
        ways = (self.bearer, self.basic, self.header, self.oauth2, self.nothing)
        if sum(way is not None for way in ways) != 1:
            raise ValueError("auth is exactly one of 'bearer', 'basic', 'header', 'oauth2', 'nothing: true'")
        return self

    @property
    def setting(self) -> str | None:
        """
        The secret setting it uses.
        """
        if self.oauth2 is not None:
            return self.oauth2.client_secret
        pair = self.basic or self.header
        return pair[1] if pair is not None else self.bearer

    def headers(self, settled: Settled) -> list[dict[str, str]]:
        """
        Return the header that proves who we are, with each live secret, the newest first.
        """
        if self.setting is None:
            return [{}]
        return [self._with(secret, settled) for secret in settled.secrets(self.setting)]

    def told(self, settled: Settled) -> list[str]:
        """
        Return what such a header said, or might have said, with each secret that was in our hands.
        """
        if self.setting is None or self.oauth2 is not None:
            return []
        return [text for secret in settled.held(self.setting) for text in self._with(secret, settled).values()]

    def _with(self, secret: str, settled: Settled) -> dict[str, str]:
        if self.header is not None:
            return {self.header[0]: secret}
        if self.basic is None:
            return {"authorization": f"Bearer {secret}"}
        user = value(self.basic[0], {"settings": settled.values})
        return {"authorization": "Basic " + base64.b64encode(f"{user}:{secret}".encode()).decode()}


class ErrorRule(Part):
    """
    Which of our errors an answer is.
    """

    status: tuple[int, ...] = Key(min_length=1)
    when: Formula | None = None
    """Sees `status`, `headers` (lower case), `body` and `request`, as in `GET /path`."""
    raises: Raises


class Edge:
    """
    What a call needs to know about the system it goes to.
    """

    def __init__(
        self,
        base_url: str,
        *,
        headers: Callable[[], Sequence[Mapping[str, str]]],
        secrets: Callable[[], list[str]],
        renew: Callable[[], Awaitable[None]],
        rules: tuple[ErrorRule, ...],
        budget: Budget,
        clock: Clock,
        ready: Callable[[], Awaitable[None]] | None = None,
        reach: Callable[[], Reach | None] = lambda: None,
    ) -> None:
        self.ready = ready
        """What has to be done before a request has its headers."""
        self.reach = reach
        """How far requests may go, and with which certificates; None where nothing was said of that."""
        self.base_url = base_url
        self.budget = budget
        self._headers = headers
        self._secrets = secrets
        self._renew = renew
        self._rules = rules
        self._clock = clock
        self._refused: list[tuple[Mapping[str, str], float]] = []
        """Which headers were refused of late, and until when that is remembered."""

    def headers(self) -> list[Mapping[str, str]]:
        """
        Return the headers of every request with each live credential, the newest first; those refused of late last.
        """
        found = [*self._headers()]
        if self._refused:
            now = self._clock.monotonic()
            self._refused = [(headers, until) for headers, until in self._refused if until > now]
            refused = [headers for headers, _ in self._refused]
            found.sort(key=refused.__contains__)
        return found

    def refuses(self, response: Response, headers: Mapping[str, str], what: str = "") -> bool:
        """
        Tell whether *response* refuses the credential in *headers*, and remember it. Nothing was carried out then.
        """
        if response.status != 401 or self._kind(response, what, write=False) != "auth-failed":
            return False
        others = [refused for refused in self._refused if refused[0] != headers]
        self._refused = [*others, (headers, self._clock.monotonic() + REFUSED)]
        return True

    async def renew(self, within: float) -> None:
        """
        Read the credential anew, in at most *within* seconds; what cannot be read stays as it was.
        """
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(within):
                await self._renew()

    def judge(self, response: Response, what: str, *, write: bool, budget: Budget | None = None) -> None:
        """
        Raise the error *response* means; *what* is the request in words, and *budget* what it was sent under.
        """
        budget = budget or self.budget
        budget.learn(response.headers)
        if 200 <= response.status < 300:
            return
        kind = self._kind(response, what, write=write)
        said = f"{what}: {response.status}{self._excerpt(response)}"
        if kind == "unknown-outcome" and response.status == 503:
            raise errors.Away(said)
        if kind == "unavailable":
            raise self._later(response, said, budget)
        self._raise(kind, said)

    def _kind(self, response: Response, what: str, *, write: bool) -> Raises:
        scope: Scope = {
            "status": response.status,
            "headers": response.headers,
            "body": _data(response),
            "request": what,
        }
        for rule in self._rules:
            if response.status in rule.status and (rule.when is None or truth(rule.when, scope)):
                return rule.raises
        asks_to_wait = "retry-after" in response.headers
        if response.status == 403 and asks_to_wait:
            return "unavailable"
        if response.status == 503 and write and not asks_to_wait:
            return "unknown-outcome"  # a proxy says it, too, of a connection that broke behind it after all was sent
        if response.status in _USUAL:
            return _USUAL[response.status]
        if response.status >= 500:
            return "unknown-outcome" if write else "unavailable"
        return "rejected"

    def _later(self, response: Response, said: str, budget: Budget) -> errors.Unavailable:
        now = utc(self._clock.now_ms())
        wait = parse_retry_after(response.headers.get("retry-after"), now)
        if wait is None:
            wait = budget.reset_in(response.headers)
        if wait is not None:
            budget.pause(wait)
        return errors.Unavailable(said, retry_after=wait)

    def _raise(self, kind: Raises, said: str) -> NoReturn:
        kinds: Mapping[str, type[errors.EdgeError]] = {
            "auth-failed": errors.AuthFailed,
            "rejected": errors.Rejected,
            "not-found": errors.NotFound,
            "conflict": errors.Conflict,
            "unknown-outcome": errors.UnknownOutcome,
        }
        raise kinds[kind](said)

    def _excerpt(self, response: Response) -> str:
        text = " ".join(response.body[:LOOKED_AT].decode(errors="replace").split())
        return f" {self.clean(text)[:EXCERPT]!r}" if text else ""  # cleaned first: half a secret is not known as one

    def unechoed(self, response: Response) -> Response:
        """
        Return *response* without the credential it was asked with: what it says goes to models and people.
        """
        body = response.body
        for spelling in _echoes(tuple(self._secrets())):
            if spelling in body:
                body = body.replace(spelling, MASK.encode())
        return response if body is response.body else replace(response, body=body)

    def clean(self, text: str) -> str:
        """
        Return *text* without any of our secrets: a system may echo what we sent.
        """
        for secret in self._secrets():
            text = text.replace(secret, MASK)
        return LIVE.hide(text)


@lru_cache(maxsize=64)
def _echoes(secrets: tuple[str, ...]) -> list[bytes]:
    """
    Return every spelling in which a system may repeat *secrets*, the longest first.
    """
    alone = {form for secret in secrets for form in (secret, secret if "\n" in secret else secret.rpartition(" ")[2])}
    found = {form for secret in alone if len(secret) >= ECHOED for form in spellings(secret) if len(form) >= ECHOED}
    return sorted((form.encode() for form in found), key=len, reverse=True)


def _data(response: Response) -> object:
    try:
        return response.json()
    except ValueError:
        return None
