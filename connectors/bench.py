"""
What a connector is tested on: its double over real HTTP, and a hub that collects.
"""

from __future__ import annotations

import contextlib
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import httpx
import pytest

from connectors import catalog, open_call
from connectors.contract import Action, Call, Connector, Delivery, Written
from connectors.declared import DeclaredConnector
from connectors.listening import listening
from connectors.verification import sign
from penstock.clock import SystemClock
from penstock.http import Http
from penstock.http_aiohttp import AiohttpHttp
from penstock.redaction import Redactor
from penstock.secrets import Secrets

NASTY = 'Line one\r\nline "two" {{ 7 * 7 }} {% for x in y %} </ticket> \\n 😀 \u202eback\u202c ${env:HOME} <b>&amp;'
KEY, OTHER_KEY = "1" * 64, "2" * 64
SLOT = "a" * 32


@dataclass(kw_only=True)
class Bench:
    """
    A connector and the system it talks to.
    """

    connector: Connector
    double: Any
    url: str
    http: Http
    clock: SystemClock = field(default_factory=SystemClock)

    def call(self, key: str = KEY, *, slot: str = SLOT, timeout: float = 5.0) -> Call:
        """
        Return the call of one piece of work.
        """
        return open_call(self.connector, self.http, key=key, slot=slot, timeout=timeout, clock=self.clock)

    async def fault(self, **fault: Any) -> None:
        """
        Let the double fail.
        """
        async with httpx.AsyncClient(trust_env=False) as client:
            answer = await client.post(f"{self.url}/_faults", json=fault)
            assert answer.status_code == 204, answer.text


class Receiver:
    """
    A hub that only collects what it is sent; an ASGI application.
    """

    def __init__(self, got: list[Delivery], clock: SystemClock) -> None:
        self._got = got
        self._clock = clock

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        message = {"more_body": True}
        body = b""
        while message.get("more_body"):
            message = await receive()
            body += message.get("body", b"")
        headers = {name.decode().lower(): text.decode() for name, text in scope["headers"]}
        url = f"http://{headers['host']}{scope['path']}"
        self._got.append(
            Delivery(method=scope["method"], url=url, headers=headers, body=body, received_ms=self._clock.now_ms())
        )
        await send({"type": "http.response.start", "status": 202, "headers": [(b"content-length", b"0")]})
        await send({"type": "http.response.body", "body": b""})


class OnBench(ABC):
    """
    What a connector's tests say about it.
    """

    name: ClassVar[str]
    environment: ClassVar[Mapping[str, str]]
    """Variables with the double's secrets; `HOOK` and `HOOK_OLD` sign deliveries."""
    credential: ClassVar[str]
    """The variable with the credential for requests."""
    action: ClassVar[str] = ""
    """An action that takes a text."""
    lookup: ClassVar[str]
    """A lookup of one record."""
    listing: ClassVar[str]
    """A lookup of many records that belong to the same record."""

    @abstractmethod
    def settings(self, url: str) -> dict[str, Any]:
        """
        Return settings with references to *environment*, for the system at *url*.
        """

    @abstractmethod
    def pretend(self) -> contextlib.AbstractAsyncContextManager[tuple[Any, str]]:
        """
        Serve a fresh double; yields it and its base URL.
        """

    @abstractmethod
    def record(self, double: Any, text: str) -> str:
        """
        Create a record whose main text is *text*; return its id as `event.subject` has it.
        """

    @abstractmethod
    def main_text(self, record: Mapping[str, Any]) -> str:
        """
        Return the main text of what `lookup` gives.
        """

    @abstractmethod
    def written(self, double: Any, record: str) -> list[str]:
        """
        Return every text we left on *record*, oldest first.
        """

    @abstractmethod
    def comment_by_somebody(self, double: Any, record: str, text: str) -> None:
        """
        Let another person write *text* on *record*.
        """

    def rotated(self, url: str) -> dict[str, Any]:
        """
        Return the settings with a new credential, in the variable `NEWER`, before the one there is.
        """
        one = f"${{env:{self.credential}}}"
        return {name: ["${env:NEWER}", one] if given == one else given for name, given in self.settings(url).items()}

    def connect(self, url: str = "https://pretended.example", **environment: str) -> DeclaredConnector:
        """
        Return a connection to the system at *url*; with a `NEWER`, in the middle of a rotation.
        """
        secrets = Secrets({**self.environment, **environment}, redactor=Redactor())
        http = AiohttpHttp()
        settings = self.rotated(url) if "NEWER" in environment else self.settings(url)
        found = catalog.open(self.name, settings, secrets=secrets, http=http, clock=SystemClock())
        assert isinstance(found, DeclaredConnector)
        return found

    @contextlib.asynccontextmanager
    async def benched(self, **environment: str) -> AsyncIterator[Bench]:
        """
        Yield a connection to a fresh double.
        """
        http = AiohttpHttp()
        async with self.pretend() as (double, url):
            try:
                yield Bench(connector=self.connect(url, **environment), double=double, url=url, http=http)
            finally:
                await http.close()

    @pytest.fixture
    async def bench(self) -> AsyncIterator[Bench]:
        """
        A connection to a fresh double.
        """
        async with self.benched() as bench:
            yield bench

    @pytest.fixture
    def connector(self) -> DeclaredConnector:
        """
        A connection that is never used to send.
        """
        return self.connect()

    def delivery(self, connector: DeclaredConnector, body: bytes, secret: str = "HOOK", *, late: float = 0) -> Delivery:  # noqa: S107  # the name of a variable
        """
        Return *body* as the system would deliver it, signed *late* seconds ago.
        """
        rule = connector.manifest.verify
        assert rule is not None
        now = SystemClock().now_ms()
        headers = {"content-type": "application/json", "x-unsigned": "1"}
        plain = Delivery(
            method="POST",
            url="https://hub.example/in/x",
            headers=headers,
            body=body,
            received_ms=now - int(late * 1000),
        )
        signature = sign(rule, plain, self.environment[secret])
        return Delivery(method="POST", url=plain.url, headers={**headers, **signature}, body=body, received_ms=now)

    def text_action(self, bench: Bench) -> Action:
        """
        Return the action under test.
        """
        if not self.action:
            pytest.skip(f"{self.name} has no action that takes a text")
        return bench.connector.actions[self.action]

    async def write(self, bench: Bench, record: str, text: str = "hello", key: str = KEY) -> Written:
        """
        Write *text* in the default mode.
        """
        action = self.text_action(bench)
        return await action.write(record, {"text": text}, action.modes[0], bench.call(key))

    @contextlib.asynccontextmanager
    async def collecting(self, bench: Bench) -> AsyncIterator[list[Delivery]]:
        """
        Yield the list that fills with what the double delivers over HTTP.
        """
        got: list[Delivery] = []
        async with listening(Receiver(got, bench.clock)) as url:
            bench.double.hooks.subscribe(f"{url}/in/test", self.environment["HOOK"])
            yield got
