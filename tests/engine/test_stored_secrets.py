"""
Secrets of a store at work: signatures during a rotation, calls and deliveries while the store is away.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from bus.contract import Outgoing
from connectors import catalog, open_call
from engine.ingress import Ingress
from penstock.clock import ManualClock
from penstock.errors import AuthFailed, Unavailable
from penstock.http import Request, Response
from penstock.redaction import Redactor
from penstock.secrets import SecretRefs, Secrets
from penstock.secrets.kept import HURRIED, JITTER, LIFE, STALE
from penstock.secrets.stores.contract import OVERLAP
from tests.stores.hashicorp import VaultDouble

SETTINGS = {"token": "${vault:kv/github#token}", "webhook_secret": "${vault:kv/github#hook}"}
ONE_LIFE = LIFE * (1 + JITTER) + 1


class Shelf:
    """
    As much of a bus as the ingress needs.
    """

    async def publish(self, messages: list[Outgoing]) -> None:
        """
        Take everything.
        """


class GitHub:
    """
    Answers each request with what it was asked with.
    """

    def __init__(self) -> None:
        self.shut: set[str] = set()
        """Tokens that are refused."""
        self.tokens: list[str] = []

    async def send(self, request: Request, **_: Any) -> Response:
        said = {"login": "hub", "echo": request.headers["authorization"]}
        self.tokens.append(request.headers["authorization"].removeprefix("Bearer "))
        return Response(status=401 if self.tokens[-1] in self.shut else 200, body=json.dumps(said).encode())

    async def close(self) -> None:
        """
        Nothing is open.
        """


class Hub:
    """
    One connection whose secrets a store keeps.
    """

    def __init__(self, clock: ManualClock, vault: VaultDouble, secrets: Secrets) -> None:
        self.clock = clock
        self.vault = vault
        self.github = GitHub()
        self.connector: Any = catalog.open("github", SETTINGS, secrets=secrets, http=self.github, clock=clock)
        self.ingress = Ingress({"code": self.connector}, bus=Shelf(), clock=clock, topic=lambda name: name)  # type: ignore[arg-type]

    async def later(self, seconds: float) -> None:
        await self.clock.advance(seconds)
        for _ in range(50):
            await asyncio.sleep(0)

    async def delivered(self, secret: str) -> int:
        body = json.dumps({"zen": "Keep it logically awesome."}).encode()
        signature = f"sha256={hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()}"
        headers = {"content-type": "application/json", "x-hub-signature-256": signature, "x-github-event": "ping"}
        transport = httpx.ASGITransport(self.ingress.asgi)  # type: ignore[arg-type]
        async with httpx.AsyncClient(transport=transport, base_url="http://hub") as client:
            return (await client.post("/in/code", content=body, headers=headers)).status_code

    async def asked(self) -> Response:
        call = open_call(self.connector, self.github, key="k", slot="s", timeout=5.0, clock=self.clock)
        return await call.send("GET", "/user")


@pytest.fixture
async def hub() -> AsyncIterator[Hub]:
    clock = ManualClock()
    vault = VaultDouble(clock)
    vault.put("kv/github", token="token-number-one", hook="hook-number-one")
    environment = {"VAULT_ADDR": "https://vault.example", "VAULT_TOKEN": vault.token}
    secrets = Secrets(environment, redactor=Redactor(), clock=clock)
    async with secrets.renewed([SecretRefs.parse(ref) for ref in SETTINGS.values()], http=vault):
        yield Hub(clock, vault, secrets)


async def test_both_signatures_are_believed_during_a_rotation(hub: Hub) -> None:
    """Deliveries signed with either version are taken, for a day; a stranger's never."""
    await hub.later(OVERLAP)
    hub.vault.put("kv/github", token="token-number-two", hook="hook-number-two")
    await hub.later(ONE_LIFE)

    assert [await hub.delivered(f"hook-number-{number}") for number in ("one", "two", "three")] == [202, 202, 401]
    assert b"***" in (await hub.asked()).body
    await hub.later(OVERLAP)
    assert [await hub.delivered(f"hook-number-{number}") for number in ("one", "two")] == [401, 202]


async def test_deliveries_come_again_while_a_store_is_away_too_long(hub: Hub) -> None:
    """Nobody can tell who sent them: 503, so that the system delivers again, and nothing is lost."""
    hub.vault.down = True
    await hub.later(STALE)
    assert await hub.delivered("hook-number-one") == 202

    await hub.later(ONE_LIFE)
    assert await hub.delivered("hook-number-one") == 503
    with pytest.raises(Unavailable, match="cannot be asked for"):
        await hub.asked()

    hub.vault.down = False
    await hub.later(60)
    assert await hub.delivered("hook-number-one") == 202


async def test_an_answer_is_cleaned_also_when_its_secret_is_gone_meanwhile(hub: Hub) -> None:
    """What was sent with a secret is never told back, nor lost, because the store went away during the call."""
    whole = hub.github.send

    async def slow(request: Request, **rest: Any) -> Response:
        hub.vault.down = True
        await hub.later(STALE + ONE_LIFE)
        return await whole(request, **rest)

    hub.github.send = slow  # type: ignore[method-assign]

    assert b"token-number" not in (await hub.asked()).body


async def test_a_refused_token_is_renewed_at_once(hub: Hub) -> None:
    """After a 401 the store is asked, and the request goes out again with the new token."""
    await hub.later(HURRIED)
    hub.vault.put("kv/github", token="token-number-two", hook="hook-number-two")
    hub.github.shut = {"token-number-one"}

    assert (await hub.asked()).status == 200
    assert hub.github.tokens == ["token-number-one", "token-number-two"]


async def test_the_token_before_is_tried_when_the_new_one_is_refused(hub: Hub) -> None:
    """The store was changed before the system: both live, and calls go on with the old one."""
    hub.vault.put("kv/github", token="token-number-two", hook="hook-number-two")
    await hub.later(ONE_LIFE)
    hub.github.shut = {"token-number-two"}

    assert [(await hub.asked()).status for _ in range(2)] == [200, 200]
    assert hub.github.tokens == ["token-number-two", "token-number-one", "token-number-one"]


async def test_a_token_that_is_refused_for_good(hub: Hub) -> None:
    """The store has no other and asks to be left alone for a while: the connection is refused, after one request."""
    await hub.later(HURRIED)
    hub.github.shut = {"token-number-one"}
    for _ in range(3):
        with pytest.raises(AuthFailed):
            await hub.asked()

    assert hub.github.tokens == ["token-number-one"] * 3
    assert len(hub.vault.calls) == 2, "one at the start, one after the first refusal"


async def test_a_token_changed_just_after_a_look_is_found_soon(hub: Hub) -> None:
    """A store is asked every 10 s at most, and then at once, not after the secret's life."""
    hub.vault.put("kv/github", token="token-number-two", hook="hook-number-two")
    hub.github.shut = {"token-number-one"}
    with pytest.raises(AuthFailed):
        await hub.asked()
    await hub.later(HURRIED + 0.1)

    assert (await hub.asked()).status == 200
    assert hub.github.tokens == ["token-number-one", "token-number-two"]
