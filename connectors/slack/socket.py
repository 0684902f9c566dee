"""
Socket Mode: what Slack would deliver over HTTP comes through a connection we open.

An envelope is acknowledged once the bus has what is in it. One that was not comes again, through the next connection.
slack-sdk keeps the connection; when it cannot for a while, the reading ends and begins anew.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from typing import Any

import aiohttp
from slack_sdk.errors import SlackApiError
from slack_sdk.socket_mode.aiohttp import SocketModeClient
from slack_sdk.socket_mode.async_client import AsyncBaseSocketModeClient
from slack_sdk.socket_mode.request import SocketModeRequest
from slack_sdk.socket_mode.response import SocketModeResponse

from connectors.contract import Call, Decision, Page
from connectors.slack.client import Slack
from connectors.slack.events import Meant
from penstock.errors import AuthFailed, Unavailable
from schemas.events import Event

AWAY = 30.0  # seconds without a connection after which the reading begins anew
LOOK = 2.0  # seconds between looks at the connection
CONNECT = 15.0  # seconds
MOST = 50  # envelopes of one page
_quiet = logging.getLogger(f"{__name__}.sdk")
_quiet.setLevel(logging.CRITICAL)  # it logs whole payloads and tracebacks of what we report ourselves

Meaning = Callable[[str, Mapping[str, Any]], Meant]
Follow = Callable[[Meant, Call], Awaitable[None]]


async def read(slack: Slack, token: str, meaning: Meaning, follow: Follow) -> AsyncIterator[Page]:
    """
    Yield what Slack sends; raises `AuthFailed` and `Unavailable`.
    """
    came: asyncio.Queue[SocketModeRequest] = asyncio.Queue(maxsize=1_000)
    client = SocketModeClient(app_token=token, web_client=slack.web(token), logger=_quiet)

    async def heard(_client: AsyncBaseSocketModeClient, request: SocketModeRequest) -> None:
        await came.put(request)

    client.socket_mode_request_listeners.append(heard)
    try:
        client.wss_uri = await _address(slack, token)
        await _connect(client)
        away = 0.0
        while True:
            requests = await _some(came)
            if requests:
                yield _page(client, requests, meaning, follow)
            away = 0.0 if await client.is_connected() else away + LOOK
            if away > AWAY:
                raise Unavailable("Socket Mode: the connection to Slack is gone, and no other could be opened")
    finally:
        with contextlib.suppress(Exception):
            await client.close()  # type: ignore[no-untyped-call]  # of slack-sdk
        with contextlib.suppress(Exception):
            await client.aiohttp_client_session.close()


async def _address(slack: Slack, token: str) -> str:
    try:
        async with asyncio.timeout(CONNECT):
            answer = await slack.web(token).apps_connections_open(app_token=token)
    except SlackApiError as error:
        data = getattr(error.response, "data", None)
        code = data.get("error") if isinstance(data, dict) else None
        headers = getattr(error.response, "headers", None) or {}
        if code in ("ratelimited", "internal_error", "fatal_error") or code is None:
            asked = str(headers.get("Retry-After") or "")
            wait = float(asked) if asked.isdecimal() else None
            raise Unavailable(f"apps.connections.open: {code or 'no proper answer'}", retry_after=wait) from None
        raise AuthFailed(f"apps.connections.open: {code}: is `app_token` an app-level token of this app?") from None
    except (aiohttp.ClientError, TimeoutError, OSError) as error:
        raise Unavailable(f"apps.connections.open: Slack cannot be reached: {type(error).__name__}") from None
    return str(answer["url"])


async def _connect(client: SocketModeClient) -> None:
    try:
        async with asyncio.timeout(CONNECT):
            await client.connect()  # type: ignore[no-untyped-call]  # of slack-sdk
    except TimeoutError:
        raise Unavailable("Socket Mode: no connection could be opened") from None


async def _some(came: asyncio.Queue[SocketModeRequest]) -> list[SocketModeRequest]:
    """
    Return what came, at least one unless nothing does for a moment.
    """
    try:
        async with asyncio.timeout(LOOK):
            found = [await came.get()]
    except TimeoutError:
        return []
    while len(found) < MOST and not came.empty():
        found.append(came.get_nowait())
    return found


def _page(client: SocketModeClient, requests: Sequence[SocketModeRequest], meaning: Meaning, follow: Follow) -> Page:
    found = [meaning(request.type, request.payload or {}) for request in requests]
    others = [one for one in found if not isinstance(one, str | Event | Decision)]

    async def taken() -> None:
        for request in requests:
            await client.send_socket_mode_response(SocketModeResponse(envelope_id=request.envelope_id))

    async def following(call: Call) -> None:
        for one in others:
            await follow(one, call)

    return Page(
        events=tuple(one for one in found if isinstance(one, Event)),
        decisions=tuple(one for one in found if isinstance(one, Decision)),
        taken=taken,
        follow=following if others else None,
    )
