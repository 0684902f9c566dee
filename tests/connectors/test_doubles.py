"""
The doubles themselves: webhooks until they are taken, and life as a program of its own.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest

from connectors import double_hooks
from connectors.double import serving
from connectors.listening import listening
from connectors.zendesk.double import AGENT_EMAIL, TOKEN, ZendeskDouble


class Flaky:
    """
    A receiver that answers what it was told, then 202.
    """

    def __init__(self, *statuses: int) -> None:
        self.statuses = list(statuses)
        self.bodies: list[bytes] = []

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        message = await receive()
        self.bodies.append(message["body"])
        status = self.statuses.pop(0) if self.statuses else 202
        await send({"type": "http.response.start", "status": status, "headers": [(b"content-length", b"0")]})
        await send({"type": "http.response.body", "body": b""})


async def test_redelivery_until_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    """A delivery comes again, byte for byte, until somebody answers 2xx."""
    monkeypatch.setattr(double_hooks, "FIRST_WAIT", 0.01)
    receiver, double = Flaky(503, 500), ZendeskDouble()
    async with listening(receiver) as url, serving(double):
        double.hooks.subscribe(url, "secret")
        double.opened(description="text")
        await double.hooks.settled()

    assert [[503, 500, 202]] == [sent.statuses for sent in double.hooks.deliveries]
    assert 1 == len(set(receiver.bodies))


async def test_delivery_on_demand() -> None:
    """The last deliveries can be sent once more, as vendors sometimes do."""
    receiver, double = Flaky(), ZendeskDouble()
    async with listening(receiver) as url, serving(double) as base:
        double.hooks.subscribe(url, "secret")
        double.opened(description="text")
        await double.hooks.settled()
        async with httpx.AsyncClient(base_url=base, trust_env=False) as client:
            await client.post("/_double/redeliver?last=1")
        await double.hooks.settled()

    assert 2 == len(receiver.bodies)
    assert receiver.bodies[0] == receiver.bodies[1]


@pytest.mark.parametrize("module", ["connectors.zendesk.double", "connectors.github.double"])
async def test_as_a_program(module: str, tmp_path: Path) -> None:
    """A double runs on its own, says where it is, logs what it is asked, and stops when told to."""
    log = tmp_path / "calls.jsonl"
    program = await asyncio.create_subprocess_exec(
        sys.executable, "-m", module, "--port", "0", "--calls", str(log), stdout=asyncio.subprocess.PIPE
    )
    assert program.stdout is not None
    url = orjson.loads(await program.stdout.readline())["url"]
    async with httpx.AsyncClient(base_url=url, trust_env=False, auth=(f"{AGENT_EMAIL}/token", TOKEN)) as client:
        await client.get("/api/v2/users/me.json")
        state = await client.get("/_double/state")
    program.terminate()

    assert 0 == await program.wait()
    assert 200 == state.status_code
    [line] = [orjson.loads(text) for text in log.read_bytes().splitlines()]
    assert ("GET", "/api/v2/users/me.json", False) == (line["method"], line["path"], line["effect"])
