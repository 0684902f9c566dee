"""
The fixture `door`: a hub's way in before the tests that every connector inherits.

A `conftest.py` takes it with `from console.testing_door import door`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any
from urllib.parse import urlsplit

import pytest

from bus.contract import Outgoing
from connectors.contract import Connector, Delivery
from engine import Ingress
from penstock.clock import SystemClock
from penstock.errors import Unavailable
from schemas.events import Event


class Shelf:
    """
    A bus that keeps what it is given, when it may.
    """

    def __init__(self) -> None:
        self.kept: list[Event] = []
        """What was published, oldest first."""
        self.down = False
        """Whether it takes nothing."""
        self.open = asyncio.Event()
        """It answers once this is set."""
        self.open.set()

    async def publish(self, messages: Sequence[Outgoing]) -> None:
        """
        Keep *messages*; raises `Unavailable` while it is down.
        """
        await self.open.wait()
        if self.down:
            raise Unavailable("the bus is down")
        self.kept += [Event.from_kafka([*message.headers], message.value) for message in messages]


class HubDoor(Shelf):
    """
    A hub's way in; see `connectors.testing_taking.Door`.
    """

    async def take(self, connector: Connector, delivery: Delivery) -> int:
        """
        Return the status a delivery is answered with.
        """
        bus: Any = self
        name = urlsplit(delivery.url).path.rpartition("/")[2]
        ingress = Ingress({name: connector}, bus=bus, clock=SystemClock(), topic=lambda name: name)
        return await _posted(ingress, delivery)


@pytest.fixture
def door() -> HubDoor:
    """
    A hub's way in.
    """
    return HubDoor()


async def _posted(ingress: Ingress, delivery: Delivery) -> int:
    target = urlsplit(delivery.url)
    headers = {"host": target.netloc, **delivery.headers}
    scope = {
        "type": "http",
        "http_version": "1.1",
        "method": delivery.method,
        "scheme": target.scheme,
        "path": target.path,
        "raw_path": target.path.encode(),
        "query_string": target.query.encode(),
        "headers": [(name.encode(), text.encode("latin-1")) for name, text in headers.items()],
    }
    parts = [{"type": "http.request", "body": delivery.body, "more_body": False}]
    sent: list[Any] = []

    async def receive() -> Any:
        return parts.pop() if parts else {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        sent.append(message)

    await ingress.asgi(scope, receive, send)
    return int(sent[0]["status"])
