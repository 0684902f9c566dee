"""
Deliveries in: verify, publish, answer. Nothing else happens before the answer.

`POST /in/<connection>` answers 202 with the event ids once the bus has them durably; 401 for what
cannot prove its sender, 400, 413 and 415 for what cannot be read, 503 with Retry-After while the bus
cannot take it: every vendor worth the name delivers again.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence

import orjson
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from bus.contract import Bus
from connectors.contract import Call, Connector, Decision, Delivery, Received
from engine.heartbeat import WEBHOOK
from engine.metrics import Metrics
from engine.outgoing import outgoing
from engine.sources import Told, followed
from penstock.clock import Clock
from penstock.errors import Forged, Rejected, Unavailable
from penstock.http import Http
from penstock.metrics import CONTENT_TYPE
from penstock.secrets import SecretAway

log = logging.getLogger(__name__)

BODY_MOST = 1024 * 1024  # bytes
ANSWER_WITHIN = 2.0  # seconds: the shortest vendor deadline is 3
BODY_WITHIN = 10.0  # seconds to send the whole body
COME_BACK = 5  # seconds, Retry-After of a 503

Decide = Callable[[Sequence[Decision]], Awaitable[None]]
"""Keeps what people decided, durably."""


class Ingress:
    """
    The HTTP side of every source.
    """

    def __init__(
        self,
        connectors: Mapping[str, Connector],
        *,
        bus: Bus,
        clock: Clock,
        topic: Callable[[str], str],
        http: Http | None = None,
        decide: Decide | None = None,
        metrics: Metrics | None = None,
        told: Sequence[Told] = (),
    ) -> None:
        self._connectors = connectors
        self._bus = bus
        self._clock = clock
        self._topic = topic
        self._metrics = metrics
        self._http = http
        self._decide = decide
        self._told = told
        self._follows: set[asyncio.Task[None]] = set()
        self.asgi = Starlette(
            routes=[
                Route("/in/{connection}", self._receive, methods=["POST"]),
                Route("/health", self._health, methods=["GET"]),
                Route("/metrics", self._show, methods=["GET"]),
            ]
        )
        self.asgi.router.redirect_slashes = False  # a stranger's `Host` would say where to

    async def _health(self, _request: Request) -> Response:
        return JSONResponse({"status": "ok"})

    async def _show(self, _request: Request) -> Response:
        if self._metrics is None:
            return _problem(404, "This hub shows no metrics.")
        try:
            return Response(await self._metrics.text(), media_type=CONTENT_TYPE)
        except Unavailable:
            return _problem(503, "The ledger cannot be read now.", {"Retry-After": str(COME_BACK)})

    async def _receive(self, request: Request) -> Response:
        name = request.path_params["connection"]
        connector = self._connectors.get(name)
        if connector is None:
            return _problem(404, f"There is no connection {name!r} in this hub.")
        if _media_type(request.headers.get("content-type", "")) not in connector.accepts:
            kinds = " or ".join(f"`Content-Type: {kind}`" for kind in sorted(connector.accepts))
            return _problem(415, f"Deliveries to {name!r} are sent with {kinds or 'nothing: it takes none'}.")
        body = await _body(request)
        if isinstance(body, Response):
            return body
        delivery = Delivery(
            method=request.method,
            url=_url(request),
            headers={key.lower(): value for key, value in request.headers.items()},
            body=body,
            received_ms=self._clock.now_ms(),
        )
        return await self._take(name, connector, delivery)

    async def _take(self, name: str, connector: Connector, delivery: Delivery) -> Response:
        try:
            received = connector.receive(delivery)
        except Forged as error:
            log.warning("refused a delivery for %s: %s", name, error)
            return _problem(401, "The delivery does not prove its sender.")
        except SecretAway as error:
            log.warning("cannot judge a delivery for %s: %s", name, error)
            return _problem(503, "Who sent this cannot be told now; deliver again.", {"Retry-After": str(COME_BACK)})
        except Rejected as error:
            log.warning("cannot read a delivery for %s: %s", name, error)
            return _problem(400, str(error))
        if (trouble := await self._keep(name, connector, received)) is not None:
            return trouble
        for told in self._told if received.events else ():
            told.beat(name, WEBHOOK, len(received.events))
        if received.follow is not None and self._http is not None:
            self._follow(name, connector, received.follow, self._http)
        if received.reply is not None:
            reply = received.reply
            return Response(reply.body, reply.status, dict(reply.headers))
        answer: dict[str, object] = {"events": [event.id for event in received.events]}
        if received.ignored:
            answer["ignored"] = received.ignored
        return JSONResponse(answer, 202)

    async def _keep(self, name: str, connector: Connector, received: Received) -> Response | None:
        """
        Publish the events and keep the decisions; return the answer when that cannot be done now.
        """
        try:
            async with asyncio.timeout(ANSWER_WITHIN):
                if received.events:
                    topic = self._topic(name)
                    await self._bus.publish([outgoing(topic, connector, event) for event in received.events])
                if received.decisions and self._decide is not None:
                    await self._decide(received.decisions)
        except (Unavailable, TimeoutError) as error:
            log.warning("the bus cannot take a delivery for %s: %s", name, error or "too slow")
            return _problem(503, "The bus cannot take events now; deliver again.", {"Retry-After": str(COME_BACK)})
        return None

    def _follow(self, name: str, connector: Connector, follow: Callable[[Call], Awaitable[None]], http: Http) -> None:
        task = asyncio.create_task(followed(connector, follow, http=http, clock=self._clock, name=name))
        self._follows.add(task)
        task.add_done_callback(self._follows.discard)


def _media_type(content_type: str) -> str:
    """
    Return the media type; one that ends in `+json` goes with plain JSON.
    """
    kind = content_type.partition(";")[0].strip().lower()
    return "application/json" if kind.startswith("application/") and kind.endswith("+json") else kind


def _url(request: Request) -> str:
    """
    Return the address as it was asked for, byte by byte: some systems sign it, and not all of it has to be UTF-8.
    """
    path = request.scope.get("raw_path") or request.scope["path"].encode()
    query = request.scope["query_string"]
    target = (path + b"?" + query if query else path).decode("latin-1")
    return f"{request.scope['scheme']}://{request.headers.get('host', '')}{target}"


async def _body(request: Request) -> bytes | Response:
    """
    Return the body, or the answer for one that is too large or does not come.
    """
    too_large = _problem(413, f"A delivery has at most {BODY_MOST} bytes.")
    declared = request.headers.get("content-length", "")
    if declared.isdecimal() and int(declared) > BODY_MOST:
        return too_large
    parts: list[bytes] = []
    size = 0
    try:
        async with asyncio.timeout(BODY_WITHIN):
            async for part in request.stream():
                size += len(part)
                if size > BODY_MOST:
                    return too_large
                parts.append(part)
    except TimeoutError:
        return _problem(408, f"The body did not arrive within {BODY_WITHIN:g} seconds.")
    except ClientDisconnect:
        return _problem(400, "The sender hung up before the body was complete.")
    return b"".join(parts)


def _problem(status: int, detail: str, headers: Mapping[str, str] | None = None) -> Response:
    """
    Answer as RFC 9457 problem details.
    """
    body = orjson.dumps({"status": status, "detail": detail})
    return Response(body, status, dict(headers or {}), media_type="application/problem+json")
