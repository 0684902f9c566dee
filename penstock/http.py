"""
The one way out of the process over HTTP.

Adapters build a `Request`; an `Http` sends it and gives back a finished `Response`. There is
no client object, no redirect, no hidden retry, no cookie jar. Tests pass their own `Http`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Protocol
from urllib.parse import quote, urlencode

import orjson
from yarl import URL

from penstock.destinations import Reach

MAX_ANSWER = 10 * 1024 * 1024  # bytes, after decompression
_TARGETS = 256


@dataclass(frozen=True, slots=True)
class Request:
    """
    One HTTP request, with all that is sent.

    Not httpx's: building one of those took a tenth of an event's processor time (`docs/why/speed.md`).
    """

    method: str
    url: URL
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    """Lower-case names; those that follow from *content* and the connection are added when it is sent."""
    content: bytes = field(default=b"", repr=False)
    reach: Reach | None = field(default=None, repr=False)
    """How far it may go, where its system has bounds of its own."""

    @classmethod
    def to(
        cls,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        params: Mapping[str, Any] | None = None,
        json: Any = None,
        content: bytes | None = None,
        reach: Reach | None = None,
    ) -> Request:
        """
        Build one: *params* are added to the query of *url*, *json* is the body, or else *content* is.

        Raises `ValueError` for a URL that is none.
        """
        named = {name.lower(): value for name, value in headers.items()} if headers else {}
        if content is None and json is not None:
            content = orjson.dumps(json)
            named.setdefault("content-type", "application/json")
        return cls(method, _target(url, _query(params) if params else ""), named, content or b"", reach)


def _query(params: Mapping[str, Any]) -> str:
    """
    Return *params* as a query: a list gives several, true and false are written small, None is empty.
    """
    pairs = [
        (name, _plain(one))
        for name, value in params.items()
        for one in (value if isinstance(value, (list, tuple)) else [value])
    ]
    return urlencode(pairs, quote_via=quote)


def _plain(value: Any) -> str:
    return "" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


@lru_cache(_TARGETS)
def _target(url: str, query: str) -> URL:
    target = url if not query else f"{url}{'&' if '?' in url else '?'}{query}"
    if target.isascii():  # percent signs were written by who knew what they encode
        return URL(quote(target, safe=_SAFE), encoded=True)
    return URL(target)


_SAFE = "!#$%&'()*+,-./:;=?@[]_~"
"""Besides letters and digits, what stands in a URL as it is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Response:
    """
    A complete HTTP answer.
    """

    status: int
    headers: dict[str, str] = field(default_factory=dict)
    """Lower-case names; repeated headers are joined by `, `."""
    body: bytes = b""
    seconds: float = 0.0
    """From the call to the last byte."""

    def json(self) -> Any:
        """
        Return the body as JSON data; raises `ValueError` when it is not JSON.
        """
        return orjson.loads(self.body)


class Http(Protocol):
    """
    Sends one request and returns one complete answer.
    """

    async def send(
        self,
        request: Request,
        *,
        timeout: float,
        fence: Callable[[], None] | None = None,
        max_body: int = MAX_ANSWER,
    ) -> Response:
        """
        Send *request* within *timeout* seconds in all, and no further than its `reach`.

        *fence* is called when the connection is in hand, before the first byte leaves; what it
        raises ends the call with nothing sent.

        Raises `NotSent` when no byte left us (`CertificateRefused`: or none was read), `SentNoAnswer` when bytes left and no complete answer
        came back (timeout, reset, answer larger than *max_body*).
        """
        ...

    async def close(self) -> None:
        """
        Close every connection.
        """
        ...


class NotSent(Exception):
    """
    The request never left: no connection, no name, no time left before the first byte.
    """


class CertificateRefused(NotSent):
    """
    The other side does not take our certificate, or wants one: it read nothing of the request.
    """


class SentNoAnswer(Exception):
    """
    The request left, and no complete answer came back.
    """

    def __init__(self, message: str, *, timeout: bool = False) -> None:
        super().__init__(message)
        self.timeout = timeout
        """True when the total deadline ended the wait."""
