"""
What a connector is tested on: the system it talks to, and a hub that collects.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import httpx

from connectors import open_call, open_source_call
from connectors.contract import Call, Connector, Delivery, Page, Source
from penstock.clock import SystemClock
from penstock.http import Http
from schemas.events import Event

NASTY = 'Line one\r\nline "two" {{ 7 * 7 }} {% for x in y %} </ticket> \\n 😀 \u202eback\u202c ${env:HOME} <b>&amp;'
KEY, OTHER_KEY = "1" * 64, "2" * 64
SLOT = "a" * 32
QUIET = 1.5  # seconds in which a stream that has nothing more says nothing


@dataclass(kw_only=True)
class Bench:
    """
    A connector and the system it talks to; a system that is no `Double` has a bench of its own.
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

    def source_call(self, *, timeout: float = 5.0) -> Call:
        """
        Return the call of one reading of a source.
        """
        return open_source_call(self.connector, self.http, key=KEY, timeout=timeout, clock=self.clock)

    def requests(self) -> list[Any]:
        """
        Return every request the system was sent so far.
        """
        return list(self.double.calls)

    def writes(self) -> list[Any]:
        """
        Return those of them that may have had an effect.
        """
        return [call for call in self.requests() if call["method"] != "GET"]

    def refused(self) -> list[Any]:
        """
        Return those of them whose credential was refused.
        """
        return [call for call in self.requests() if call["status"] == 401]

    def over(self, page: Page) -> bool:
        """
        Return whether a stream has nothing after *page*, where that can be known: it need not be waited for then.
        """
        del page
        return False

    async def fault(self, **fault: Any) -> None:
        """
        Let the system fail, in the words of `connectors.double_faults.Fault`.
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


async def pages_of(source: Source, cursor: bytes | None, bench: Bench, *, take: bool = True) -> AsyncIterator[Page]:
    """
    Read *source* from *cursor* as far as it goes now; unless *take*, the system is never told that we have it.
    """
    reading = source.read(cursor, bench.source_call())
    try:
        while True:
            try:
                async with asyncio.timeout(None if source.every else QUIET):
                    page = await anext(reading)
            except (StopAsyncIteration, TimeoutError):
                return
            yield page
            if take and page.taken is not None:
                await page.taken()
            if bench.over(page):
                return
    finally:
        if isinstance(reading, AsyncGenerator):
            await reading.aclose()


async def read_on(
    source: Source, cursor: bytes | None, bench: Bench, *, take: bool = True
) -> tuple[list[Event], bytes | None]:
    """
    Do so, and return the events and the cursor to go on from.
    """
    found: list[Event] = []
    async for page in pages_of(source, cursor, bench, take=take):
        found += page.events
        cursor = cursor if page.cursor is None else page.cursor
    return found, cursor
