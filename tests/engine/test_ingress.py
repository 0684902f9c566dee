"""
Deliveries in over HTTP: verified, published, answered; nothing else.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest

import bus as bus_room
from connectors.contract import Delivery, Received, Reply
from engine import Ingress
from penstock.clock import SystemClock
from penstock.errors import Forged, Rejected, Unavailable
from schemas.events import Event

JSON = {"content-type": "application/json"}


class Source:
    """
    A connector that reads the first byte of the body as an order.
    """

    acts_as = "us"

    accepts = frozenset({"application/json"})

    def receive(self, delivery: Delivery) -> Received:
        match delivery.body[:1]:
            case b"f":
                raise Forged
            case b"r":
                raise Rejected("there is no ticket in it")
            case b"h":
                return Received(reply=Reply(status=200, headers={"content-type": "text/plain"}, body=b"hello"))
            case b"i":
                return Received(ignored="a ping")
        return Received(events=(_event("e1"), _event("e2")))

    def own(self, event: Event) -> str | None:
        return "actor=us" if event.id == "e2" else None


def _event(name: str) -> Event:
    return Event(
        id=name,
        source="https://x.example",
        type="t.created",
        subject="1",
        time=datetime(2026, 1, 1, tzinfo=UTC),
        data={},
    )


@pytest.fixture
async def bus() -> AsyncIterator[Any]:
    bus = bus_room.open(None, keep=3600.0, clock=SystemClock())
    await bus.ensure_topic("t.desk", 1)
    yield bus
    await bus.close()


@pytest.fixture
async def client(bus: Any) -> AsyncIterator[httpx.AsyncClient]:
    ingress = Ingress({"desk": Source()}, bus=bus, clock=SystemClock(), topic=lambda n: f"t.{n}")  # type: ignore[dict-item]
    async with httpx.AsyncClient(transport=httpx.ASGITransport(ingress.asgi), base_url="http://hub") as client:
        yield client


async def _read(bus: Any) -> list[Event]:
    subscription = await bus.subscribe("t.desk", "reader", start="oldest")
    messages = await subscription.fetch(10, wait=0.05)
    await subscription.close()
    return [Event.from_kafka(list(m.headers), m.value) for m in messages]


async def test_events_that_were_taken_are_heard(bus: Any) -> None:
    """
    Whoever listens to sources hears of events, not of handshakes, pings and forgeries.
    """
    heard: list[tuple[str, str, int]] = []
    listener = type("Listener", (), {"beat": lambda _self, *what: heard.append(what)})()
    ingress = Ingress(
        {"desk": Source()},  # type: ignore[dict-item]
        bus=bus,
        clock=SystemClock(),
        topic=lambda n: f"t.{n}",
        told=[listener],
    )
    async with httpx.AsyncClient(transport=httpx.ASGITransport(ingress.asgi), base_url="http://hub") as client:
        for content in (b"f", b"r", b"h", b"i", b"ok"):
            await client.post("/in/desk", content=content, headers=JSON)

    assert heard == [("desk", "webhook", 2)]


async def test_a_good_delivery_is_durable_before_202(client: httpx.AsyncClient, bus: Any) -> None:
    """
    The answer names the event ids, and they lie on the bus with our own writes marked.
    """
    answer = await client.post("/in/desk", content=b"ok", headers=JSON)

    assert (answer.status_code, answer.json()) == (202, {"events": ["e1", "e2"]})
    assert [(event.id, event.ownwrite) for event in await _read(bus)] == [("e1", None), ("e2", "actor=us")]


@pytest.mark.parametrize(
    ("path", "content", "headers", "status"),
    [
        ("/in/desk", b"f", JSON, 401),
        ("/in/desk", b"r", JSON, 400),
        ("/in/nobody", b"ok", JSON, 404),
        ("/in/desk", b"ok", {"content-type": "multipart/form-data"}, 415),
        ("/in/desk", b"ok", {}, 415),
        ("/in/desk", b"x" * (1024 * 1024 + 1), JSON, 413),
        ("/in/desk/more", b"ok", JSON, 404),
    ],
)
async def test_what_cannot_be_taken_leaves_no_event(
    client: httpx.AsyncClient, bus: Any, path: str, content: bytes, headers: dict[str, str], status: int
) -> None:
    """
    Each refusal has its own status and one sentence, and nothing reaches the bus.
    """
    answer = await client.post(path, content=content, headers=headers)

    assert answer.status_code == status
    assert await _read(bus) == []


async def test_a_chunked_body_has_the_same_limit(client: httpx.AsyncClient) -> None:
    """
    A body that does not say its length is cut off when it passes the limit.
    """

    async def endless() -> AsyncIterator[bytes]:
        for _ in range(40):
            yield b"x" * 65536

    answer = await client.post("/in/desk", content=endless(), headers=JSON)

    assert answer.status_code == 413


async def test_only_post_is_allowed(client: httpx.AsyncClient) -> None:
    """
    A delivery is a POST.
    """
    assert (await client.get("/in/desk")).status_code == 405


async def test_a_handshake_is_answered_at_once(client: httpx.AsyncClient, bus: Any) -> None:
    """
    What the connector replies is the answer, and no event comes of it.
    """
    answer = await client.post("/in/desk", content=b"h", headers=JSON)

    assert (answer.status_code, answer.text) == (200, "hello")
    assert await _read(bus) == []


async def test_an_ignored_kind_says_why(client: httpx.AsyncClient) -> None:
    """
    A well-signed delivery without an event for us is accepted and named.
    """
    answer = await client.post("/in/desk", content=b"i", headers=JSON)

    assert (answer.status_code, answer.json()) == (202, {"events": [], "ignored": "a ping"})


async def test_a_bus_that_cannot_take_it_means_deliver_again(client: httpx.AsyncClient, bus: Any) -> None:
    """
    503 with Retry-After, never a 202 for what is not durable.
    """

    async def full(_messages: Any) -> Any:
        raise Unavailable("disk full")

    bus.publish = full
    answer = await client.post("/in/desk", content=b"ok", headers=JSON)

    assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")


async def test_no_redirect_is_made_of_a_strangers_host(client: httpx.AsyncClient) -> None:
    """
    A path that is nearly one of ours is not found, wherever the request says it is.
    """
    answer = await client.post("/in/desk/", content=b"ok", headers={**JSON, "host": "evil.example"})

    assert (answer.status_code, "location" in answer.headers) == (404, False)
