"""
Socket Mode with the real client of slack-sdk: acknowledged once the bus has it, redelivered until then.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson
import pytest
from aiohttp import WSMsgType, web

from connectors import catalog, open_source_call
from connectors.contract import Page
from connectors.slack import socket
from connectors.testing_points import point
from penstock import errors
from penstock.clock import SystemClock
from penstock.secrets import Secrets

MESSAGE = {"type": "message", "channel": "C0SUPPORT1", "user": "U0NADIA01", "text": "hi", "channel_type": "channel"}


@dataclass
class Switchboard:
    """
    Slack's side of Socket Mode: hands addresses out, sends envelopes, sends again what nobody acknowledged.
    """

    connections: int = 0
    acks: list[str] = field(default_factory=list)
    open: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Envelopes nobody acknowledged, by id."""
    refuses: str | None = None
    url: str = ""
    sockets: list[web.WebSocketResponse] = field(default_factory=list)
    tokens: set[str] = field(default_factory=set)
    numbers: Any = field(default_factory=lambda: itertools.count(1))

    async def address(self, request: web.Request) -> web.Response:
        self.tokens.add(request.headers["authorization"])
        if self.refuses:
            return web.json_response({"ok": False, "error": self.refuses})
        return web.json_response({"ok": True, "url": self.url.replace("http", "ws") + "/link"})

    async def link(self, request: web.Request) -> web.WebSocketResponse:
        connection = web.WebSocketResponse(autoping=True)
        await connection.prepare(request)
        self.connections += 1
        self.sockets.append(connection)
        await connection.send_json({"type": "hello", "num_connections": 1})
        for envelope in list(self.open.values()):
            await connection.send_json({**envelope, "retry_attempt": 1, "retry_reason": "timeout"})
        async for message in connection:
            if message.type is WSMsgType.TEXT:
                answer = orjson.loads(message.data)
                self.acks.append(answer["envelope_id"])
                self.open.pop(answer["envelope_id"], None)
        return connection

    async def send(self, kind: str, payload: Mapping[str, Any]) -> str:
        name = f"envelope-{next(self.numbers)}"
        self.open[name] = {"type": kind, "envelope_id": name, "payload": payload, "accepts_response_payload": False}
        for connection in self.sockets:
            if not connection.closed:
                await connection.send_json(self.open[name])
        return name

    async def say(self, ts: str, **more: Any) -> str:
        event = {**MESSAGE, "ts": ts, **more}
        payload = {"type": "event_callback", "team_id": "T1", "api_app_id": "A1", "event": event, "event_id": f"Ev{ts}"}
        return await self.send("events_api", payload)


@pytest.fixture
async def switchboard(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Switchboard]:
    monkeypatch.setattr(socket, "LOOK", 0.2)
    board = Switchboard()
    app = web.Application()
    app.router.add_post("/api/apps.connections.open", board.address)
    app.router.add_get("/link", board.link)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    assert site._server is not None
    board.url = f"http://127.0.0.1:{site._server.sockets[0].getsockname()[1]}"  # type: ignore[attr-defined]
    yield board
    for connection in board.sockets:
        await connection.close()
    await runner.cleanup()


@contextlib.asynccontextmanager
async def listening(board: Switchboard) -> AsyncIterator[tuple[Any, AsyncIterator[Page]]]:
    connector: Any = catalog.open(
        "slack",
        {"bot_token": "${env:BOT}", "app_token": "${env:APP}", "url": f"{board.url}/api"},
        secrets=Secrets({"BOT": "xoxb-1", "APP": "xapp-canary"}),
        http=None,  # type: ignore[arg-type]
        clock=SystemClock(),
    )
    call = open_source_call(connector, None, key="s", timeout=5.0, clock=SystemClock())  # type: ignore[arg-type]
    pages = connector.sources["socket"].read(None, call)
    try:
        yield connector, pages
    finally:
        await pages.aclose()
        await connector.close()


async def some(pages: AsyncIterator[Page]) -> Page:
    async with asyncio.timeout(20):
        return await anext(pages)


@point(8)
async def test_acknowledged_once_it_was_taken(switchboard: Switchboard) -> None:
    """Not when it arrived, and with the app's token."""
    async with listening(switchboard) as (_, pages):
        reading = asyncio.ensure_future(some(pages))
        async with asyncio.timeout(20):
            while not switchboard.connections:
                await asyncio.sleep(0.01)
        name = await switchboard.say("1767603600.000100")
        page = await reading
        await asyncio.sleep(0.3)
        before = list(switchboard.acks)
        assert page.taken
        await page.taken()
        async with asyncio.timeout(20):
            while not switchboard.acks:
                await asyncio.sleep(0.01)

    assert [event.id for event in page.events] == ["C0SUPPORT1/1767603600.000100"]
    assert before == []
    assert switchboard.acks == [name]
    assert switchboard.tokens == {"Bearer xapp-canary"}


@point(8)
async def test_what_was_not_taken_comes_again(switchboard: Switchboard) -> None:
    """A reading that is left without an acknowledgement loses nothing: the next one gets the same event."""
    await switchboard.say("1767603600.000100")
    async with listening(switchboard) as (_, pages):
        first = await some(pages)
    async with listening(switchboard) as (_, pages):
        second = await some(pages)
        assert second.taken
        await second.taken()
        async with asyncio.timeout(20):
            while not switchboard.acks:
                await asyncio.sleep(0.01)

    assert [event.id for event in first.events] == [event.id for event in second.events]
    assert switchboard.open == {}


@point(15)
async def test_slack_asks_to_connect_anew(switchboard: Switchboard) -> None:
    """After a `disconnect` frame the client comes back, and goes on."""
    async with listening(switchboard) as (_, pages):
        await switchboard.say("1767603600.000100")
        page = await some(pages)
        assert page.taken
        await page.taken()
        await switchboard.sockets[0].send_json({"type": "disconnect", "reason": "refresh_requested"})
        reading = asyncio.ensure_future(some(pages))
        async with asyncio.timeout(30):
            while switchboard.connections < 2:
                await asyncio.sleep(0.02)
        await switchboard.say("1767603600.000200")
        page = await reading

    assert [event.id for event in page.events] == ["C0SUPPORT1/1767603600.000200"]


async def test_decisions_and_forms_come_this_way_too(switchboard: Switchboard) -> None:
    """Buttons give decisions; Edit asks for what has to follow; what is not ours is acknowledged and nothing else."""
    press = {"type": "block_actions", "user": {"id": "U1"}, "trigger_id": "t", "message": {"blocks": []}}
    await switchboard.send("interactive", {**press, "actions": [{"action_id": "penstock_approve", "value": "k"}]})
    await switchboard.send("interactive", {**press, "actions": [{"action_id": "penstock_edit", "value": "k"}]})
    await switchboard.send("slash_commands", {"command": "/x"})
    await switchboard.send("interactive", {"type": "block_actions"})
    pages_seen: list[Page] = []
    async with listening(switchboard) as (_, pages):
        while not switchboard.acks or len(switchboard.acks) < 4:
            page = await some(pages)
            pages_seen.append(page)
            assert page.taken
            await page.taken()
            await asyncio.sleep(0.05)

    assert [decision.key for page in pages_seen for decision in page.decisions] == ["k"]
    assert any(page.follow for page in pages_seen)


@pytest.mark.parametrize(
    ("refuses", "error"),
    [
        ("invalid_auth", errors.AuthFailed),
        ("not_allowed_token_type", errors.AuthFailed),
        ("internal_error", errors.Unavailable),
    ],
)
async def test_no_address(switchboard: Switchboard, refuses: str, error: type[Exception]) -> None:
    """A refused token is told as one, an outage as one."""
    switchboard.refuses = refuses
    async with listening(switchboard) as (_, pages):
        with pytest.raises(error) as raised:
            await some(pages)

    assert "xapp-canary" not in str(raised.value)


async def test_nobody_there(switchboard: Switchboard) -> None:
    """A Slack that cannot be reached is `Unavailable`."""
    switchboard.url = "http://127.0.0.1:9"
    async with listening(switchboard) as (_, pages):
        with pytest.raises(errors.Unavailable):
            await some(pages)


@point(8)
async def test_a_connection_that_stays_away(switchboard: Switchboard, monkeypatch: pytest.MonkeyPatch) -> None:
    """When no other can be opened for a while, the reading ends, to begin anew."""
    monkeypatch.setattr(socket, "AWAY", 0.5)
    async with listening(switchboard) as (_, pages):
        await switchboard.say("1767603600.000100")
        await some(pages)
        switchboard.refuses = "fatal_error"
        for connection in switchboard.sockets:
            await connection.close()
        with pytest.raises(errors.Unavailable):
            await some(pages)


def test_only_with_a_token() -> None:
    """Without `app_token` there is no source; with it alone there are no deliveries."""
    given = {"bot_token": "${env:BOT}"}

    assert catalog.spec("slack", {**given, "signing_secret": "${env:S}"}).sources == {}
    assert not catalog.spec("slack", {**given, "app_token": "${env:A}"}).delivers
