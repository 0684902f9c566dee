"""
The one way out of the process over HTTP.

Adapters build an `httpx.Request`; an `Http` sends it and gives back a finished `Response`. There is
no client object, no redirect, no hidden retry, no cookie jar. Tests pass their own `Http`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

import orjson

if TYPE_CHECKING:
    import httpx

MAX_ANSWER = 10 * 1024 * 1024  # bytes, after decompression


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
        request: httpx.Request,
        *,
        timeout: float,
        fence: Callable[[], None] | None = None,
        max_body: int = MAX_ANSWER,
    ) -> Response:
        """
        Send *request* within *timeout* seconds in all.

        *fence* is called when the connection is in hand, before the first byte leaves; what it
        raises ends the call with nothing sent.

        Raises `NotSent` when no byte left us, `SentNoAnswer` when bytes left and no complete answer
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


class SentNoAnswer(Exception):
    """
    The request left, and no complete answer came back.
    """

    def __init__(self, message: str, *, timeout: bool = False) -> None:
        super().__init__(message)
        self.timeout = timeout
        """True when the total deadline ended the wait."""
