"""
Where requests may go: the open internet, and the private networks a connection names; judged at the socket.
"""

from __future__ import annotations

import re
import socket
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest

from connectors import catalog, open_call
from connectors.listening import listening
from connectors.settings import SettingError
from penstock import errors
from penstock.clock import SystemClock
from penstock.http_aiohttp import AiohttpHttp
from penstock.redaction import Redactor
from penstock.secrets import Secrets
from tests.connectors.rest.test_rest import OAUTH, SYSTEM
from tests.penstock.test_destinations import PRIVATE

HERE = "127.0.0.0/8"


class Inside:
    """
    A server in our own network that should hear nothing; an ASGI application.
    """

    def __init__(self) -> None:
        self.heard: list[str] = []
        self.moved: str | None = None
        """Where it sends everybody."""

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.heard.append(scope["path"])
        moved = [(b"location", self.moved.encode())] if self.moved else []
        body = b'{"name": "A bike", "access_token": "token-of-a-test"}'
        headers = [(b"content-length", str(len(body)).encode()), *moved]
        await send({"type": "http.response.start", "status": 302 if moved else 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})


@pytest.fixture
async def inside() -> AsyncIterator[tuple[Inside, int]]:
    server = Inside()
    async with listening(server) as url:
        yield server, int(url.rpartition(":")[2])


@pytest.fixture
async def http() -> AsyncIterator[AiohttpHttp]:
    client = AiohttpHttp()
    yield client
    await client.close()


def connect(url: str, http: Any, networks: list[str] | None = None, **changes: Any) -> Any:
    allowed = {} if networks is None else {"private_networks": networks}
    given = {name: value for name, value in {**SYSTEM, **allowed, **changes, "url": url}.items() if value is not None}
    secrets = Secrets({"TOKEN": "t", "HOOK": "h", "P": "p"}, redactor=Redactor())
    return catalog.open("rest", given, secrets=secrets, http=http, clock=SystemClock())


async def look(connector: Any, http: Any) -> Any:
    call = open_call(connector, http, key="k" * 64, slot="", timeout=5.0, clock=SystemClock())
    return await connector.lookups["order"].fetch("42", call, 1)


def answers(monkeypatch: pytest.MonkeyPatch, *addresses: str) -> None:
    """
    Let the next questions for `erp.acme.example` be answered with *addresses*, one after the other.
    """
    left = list(addresses)

    async def resolve(_self: Any, host: str, port: int = 0, family: Any = socket.AF_INET) -> list[Any]:
        assert host == "erp.acme.example"
        address = left.pop(0)
        kind = socket.AF_INET6 if ":" in address else socket.AF_INET
        return [{"hostname": host, "host": address, "port": port, "family": kind, "proto": 6, "flags": 0}]

    monkeypatch.setattr(aiohttp.DefaultResolver, "resolve", resolve)


async def test_no_spelling_leads_inside(inside: tuple[Inside, int], http: AiohttpHttp) -> None:
    """However an address of ours is written, it is refused by `check`, or at the latest when it is connected to."""
    server, port = inside
    met = []
    for host in PRIVATE:
        with pytest.raises((SettingError, errors.Unavailable)) as raised:
            await look(connect(f"https://{f'[{host}]' if ':' in host else host}:{port}", http), http)
        met.append(str(raised.value))

    assert not [said for said in met if not re.search("not in the open internet|not a canonical IPv4", said)]
    assert server.heard == []


@pytest.mark.parametrize("address", ["127.0.0.1", "::1", "::ffff:127.0.0.1", "10.0.0.1", "169.254.1.1", "100.64.0.1"])
async def test_a_name_that_leads_inside(
    monkeypatch: pytest.MonkeyPatch, inside: tuple[Inside, int], http: AiohttpHttp, address: str
) -> None:
    """A name is judged by the address it has when it is connected to; nothing is sent inside."""
    server, port = inside
    answers(monkeypatch, address)
    with pytest.raises(errors.Unavailable, match="not in the open internet"):
        await look(connect(f"https://erp.acme.example:{port}", http), http)

    assert server.heard == []


async def test_a_name_that_answers_otherwise_the_second_time(
    monkeypatch: pytest.MonkeyPatch, inside: tuple[Inside, int]
) -> None:
    """A name that was in an allowed network and moves out of it leads nowhere (DNS rebinding)."""
    server, port = inside
    connector = connect("https://erp.acme.example", None, [HERE])
    connector.edge.base_url = f"http://erp.acme.example:{port}"  # in clear, as no certificate is about this
    answers(monkeypatch, "127.0.0.1", "10.0.0.1", "169.254.169.254")

    async def with_a_fresh_client() -> Any:
        http = AiohttpHttp()  # as after the time for which an answer of the DNS is kept
        try:
            return await look(connector, http)
        finally:
            await http.close()

    assert await with_a_fresh_client() == [{"name": "A bike"}]
    for _ in range(2):
        with pytest.raises(errors.Unavailable, match="not in the open internet"):
            await with_a_fresh_client()

    assert server.heard == ["/orders/42"]


@pytest.mark.parametrize("networks", [["10.0.0.0/8"], ["169.254.0.0/16", "fd00::/8", "100.64.0.0/10"]])
@pytest.mark.parametrize("address", ["169.254.169.254", "fd00:ec2::254", "::ffff:169.254.169.254", "100.100.100.200"])
async def test_where_clouds_keep_credentials(
    monkeypatch: pytest.MonkeyPatch, http: AiohttpHttp, networks: list[str], address: str
) -> None:
    """It is never connected to, also when a network around it is allowed."""
    answers(monkeypatch, address)
    with pytest.raises(errors.Unavailable, match="not in the open internet"):
        await look(connect("https://erp.acme.example", http, networks), http)


async def test_only_the_networks_of_the_connection(inside: tuple[Inside, int], http: AiohttpHttp) -> None:
    """What one connection may reach, another on the same client may not, also over a connection that is open."""
    server, port = inside
    allowed = connect(f"http://localhost:{port}", http, ["127.0.0.1/32", "::1/128"])
    await look(allowed, http)
    other = connect("https://erp.acme.example", http, ["10.0.0.0/8"])
    other.edge.base_url = f"http://localhost:{port}"
    with pytest.raises(errors.Unavailable, match="not in the open internet"):
        await look(other, http)

    assert server.heard == ["/orders/42"]


async def test_a_redirect_leads_nowhere(inside: tuple[Inside, int], http: AiohttpHttp) -> None:
    """It is not followed, neither to another host nor to the same one."""
    server, port = inside
    async with listening(server) as other:
        server.moved = f"{other}/orders/7"
        with pytest.raises(errors.Rejected):
            await look(connect(f"http://127.0.0.1:{port}", http, [HERE]), http)

    assert server.heard == ["/orders/42"]


async def test_tokens_go_no_further(inside: tuple[Inside, int], http: AiohttpHttp) -> None:
    """The server that gives tokens has the same bounds."""
    server, port = inside
    oauth = {**OAUTH, "auth": {"oauth2": {**OAUTH["auth"]["oauth2"], "token_url": f"'http://127.0.0.1:{port}/token'"}}}
    with pytest.raises(errors.Unavailable, match="no token"):
        await look(connect("https://erp.acme.example", http, **oauth), http)

    assert server.heard == []


@pytest.mark.parametrize(
    ("changes", "keys", "said"),
    [
        ({"private_networks": ["10.0.0.1/8"]}, ("private_networks", 0), "host bits"),
        ({"private_networks": ["10.0.0.0/8", "erp"]}, ("private_networks", 1), "not a network"),
        ({"private_networks": ["0.0.0.0/0"]}, ("private_networks", 0), "too wide"),
        ({"private_networks": ["::/0"]}, ("private_networks", 0), "too wide"),
        ({"private_networks": "10.0.0.0/8"}, ("private_networks",), "array"),
        ({"url": "https://10.1.2.3"}, ("url",), "private_networks"),
        ({"url": "http://localhost:8080"}, ("url",), "private_networks"),
        ({"url": "https://169.254.169.254", "private_networks": ["169.254.0.0/16"]}, ("url",), "clouds"),
    ],
)
def test_what_check_says(changes: dict[str, Any], keys: tuple[str | int, ...], said: str) -> None:
    """What can be seen without a network is told with its place, before anything runs."""
    with pytest.raises(SettingError, match=said) as raised:
        catalog.spec("rest", {**SYSTEM, **changes})

    assert raised.value.keys == keys


def test_an_allowed_address_passes() -> None:
    """A system in our own network needs its network named, and nothing else."""
    assert catalog.spec("rest", {**SYSTEM, "url": "https://10.1.2.3", "private_networks": ["10.1.0.0/16"]}).lookups
