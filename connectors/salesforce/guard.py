"""
The adapter that every request to Salesforce goes through.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import urlsplit

import requests
from requests.adapters import HTTPAdapter

from penstock.clock import Clock

AT_ONCE = 16  # calls, each on a thread of its own
CONNECT = 5.0  # seconds
LARGEST = 16 * 1024 * 1024  # bytes of an answer
PART = 64 * 1024  # bytes of an answer that are read at once
SIGN_IN = "/services/oauth2/token"


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
        state: State | None = getattr(self.local, "state", None)
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


class State:
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
        """
        Return the seconds that are left.
        """
        return self._deadline - self._clock.monotonic()


def _read(response: requests.Response, state: State) -> None:
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
