"""
One piece of work towards one system: auth, rate budget, deadline and fence around every request.

It repeats only what was refused for its credential, with another one: such a request was not carried out.
A lost answer of a write is `UnknownOutcome`, and the engine looks before it writes again.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any
from urllib.parse import urlsplit

from connectors.addresses import absolute
from connectors.budget import Budget
from connectors.contract import Call, Connector
from connectors.edge import Edge
from penstock.clock import Clock
from penstock.errors import AuthFailed, Crowded, Rejected, Unavailable, UnknownOutcome
from penstock.http import CertificateRefused, Http, NotSent, Request, Response, SentNoAnswer

WAITING = 0.5  # share of the time left that may go by before it is our turn
CREDENTIALS = 3  # tried at most for one request: the newest, the one there is after a refusal, the one before
USER_AGENT = "penstock"  # some systems refuse requests without one

_Sent = Callable[[Mapping[str, str] | None], Awaitable[tuple[Response, Mapping[str, str]]]]
"""Sends one request with these headers, or with the newest; returns the headers too."""


class HttpCall:
    """
    The `Call` of a connector whose requests go over the HTTP seam.
    """

    def __init__(
        self,
        edge: Edge | None,
        http: Http,
        *,
        key: str,
        slot: str,
        deadline: float,
        fence: Callable[[], None],
        clock: Clock,
    ) -> None:
        self.key = key
        self.slot = slot
        self.deadline = deadline
        self._edge = edge
        self._http = http
        self._fence = fence
        self._clock = clock

    def fence(self) -> None:
        """
        Raise `Fenced` when the lane is lost.
        """
        self._fence()

    async def send(
        self,
        method: str,
        url: str,
        *,
        write: bool = False,
        headers: Mapping[str, str] | None = None,
        params: Mapping[str, Any] | None = None,
        budget: Budget | None = None,
        **body: Any,
    ) -> Response:
        """
        Send one request; see `connectors.contract.Call.send`. *budget* is for what a system limits by itself.
        """
        edge = self._edge
        if edge is None:
            raise Rejected("This connector does not speak HTTP: it has no `edge`.")
        target = absolute(edge.base_url, url)
        what = f"{method} {urlsplit(target).path}"

        async def sent(proof: Mapping[str, str] | None) -> tuple[Response, Mapping[str, str]]:
            async with (budget or edge.budget).turn(self._patience()):
                if edge.ready is not None:
                    await edge.ready()
                proof = proof or edge.headers()[0]  # after the wait: the newest there is
                named = {"user-agent": USER_AGENT, **proof, **(headers or {})}
                request = Request.to(method, target, params=params, headers=named, reach=edge.reach(), **body)
                return await self._exchange(request, what, write=write), proof

        response = await self._proven(edge, sent, what)
        edge.judge(response, what, write=write, budget=budget)
        return edge.unechoed(response)

    async def _proven(self, edge: Edge, sent: _Sent, what: str) -> Response:
        """
        Send with the newest credential; when that is refused, with the one there is by now, then with the one before.
        """
        response, proof = await sent(None)
        tried = [proof]
        while edge.refuses(response, tried[-1], what) and len(tried) < CREDENTIALS:
            if len(tried) == 1:
                await edge.renew(max(0.0, self._patience() - self._clock.monotonic()))
            other = next((proof for proof in edge.headers() if proof not in tried), None)
            if other is None or self.deadline <= self._clock.monotonic():
                break
            tried.append(other)
            try:
                response, _ = await sent(other)
            except Crowded:
                break  # what is known is that the first was refused
        return response

    def _patience(self) -> float:
        """
        Return until when a turn is waited for: the rest of the time is the request's own.
        """
        now = self._clock.monotonic()
        return now + max(0.0, self.deadline - now) * WAITING

    async def _exchange(self, request: Request, what: str, *, write: bool) -> Response:
        left = self.deadline - self._clock.monotonic()
        if left <= 0:
            raise Unavailable(f"{what}: no time was left to send it")
        self._fence()
        try:
            return await self._http.send(request, timeout=left, fence=self._fence)
        except CertificateRefused as error:
            raise AuthFailed(f"{what}: our certificate is refused: {error}") from error
        except NotSent as error:
            raise Unavailable(f"{what}: the system cannot be reached: {error}") from error
        except SentNoAnswer as error:
            if write:
                raise UnknownOutcome(f"{what}: sent, and no answer came: {error}") from error
            raise Unavailable(f"{what}: no answer came: {error}") from error


def open_call(
    connector: Connector,
    http: Http,
    *,
    key: str,
    slot: str,
    timeout: float,
    fence: Callable[[], None] | None = None,
    clock: Clock,
) -> Call:
    """
    Return the call for one piece of work of *connector* that may last *timeout* seconds.
    """
    edge: Edge | None = getattr(connector, "edge", None)  # who has none does not speak HTTP
    return HttpCall(
        edge,
        http,
        key=key,
        slot=slot,
        deadline=clock.monotonic() + timeout,
        fence=fence or _unfenced,
        clock=clock,
    )


class SourceCall(HttpCall):
    """
    The call of a reading, which may last for ever: each of its requests has a deadline of its own.
    """

    def __init__(self, *words: Any, timeout: float, **named: Any) -> None:
        self._timeout = timeout
        super().__init__(*words, **named)

    @property
    def deadline(self) -> float:
        """
        Monotonic seconds: always as far away as one request may take.
        """
        return self._clock.monotonic() + self._timeout

    @deadline.setter
    def deadline(self, _moment: float) -> None:
        """
        Stay as far away as ever.
        """


def open_source_call(connector: Connector, http: Http, *, key: str, timeout: float, clock: Clock) -> Call:
    """
    Return the call for a reading of *connector*, each request of which may last *timeout* seconds.
    """
    edge: Edge | None = getattr(connector, "edge", None)
    return SourceCall(edge, http, key=key, slot="", deadline=0.0, fence=_unfenced, clock=clock, timeout=timeout)


def _unfenced() -> None:
    """
    Let everything pass: a lookup holds no lane.
    """


def answer(response: Response, what: str, *, write: bool) -> Any:
    """
    Return the JSON of a successful *response*; no JSON means we do not know what happened.
    """
    if not response.body and write:
        return None
    try:
        return response.json()
    except ValueError as error:
        if write:
            raise UnknownOutcome(f"{what}: the answer to a write is not JSON") from error
        raise Unavailable(f"{what}: the answer is not JSON") from error
