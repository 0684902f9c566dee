"""
The world outside that makes events: some come twice, some are not wanted, some are no events at all.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from bus.contract import Outgoing, Partition
from schemas.events import Event
from tests.engine.simulation.plans import BOTH, CONNECTIONS

if TYPE_CHECKING:
    from tests.engine.simulation.world import World

EVENTS = 200
LANES = 40
SPAN = 20.0  # seconds over which they come


class Source:
    """
    What was published, and what has to become of it.
    """

    def __init__(self, world: World) -> None:
        self._world = world
        self.order: dict[tuple[str, str], int] = {}
        """Connection and id of each event, in the order in which they came first."""
        self.kinds: dict[tuple[str, str], str] = {}
        """`wanted`, `spam` or `echo`."""
        self.events: dict[tuple[Partition, int], str] = {}
        """The event's id of every message; empty for what is no event."""

    async def publish(self, faults: Coroutine[Any, Any, None]) -> None:
        """
        Publish everything while *faults* happen.
        """
        world, draw = self._world, self._world.random
        meanwhile = world.loop.create_task(faults)
        times = sorted(draw.random() * SPAN for _ in range(EVENTS))
        began, sent = world.loop.time(), 0
        while sent < EVENTS:
            burst = draw.choice((1, 3, 10, 40))
            for _ in range(min(burst, EVENTS - sent)):
                self._one(sent)
                sent += 1
            if sent < EVENTS:
                await asyncio.sleep(max(0.0, began + times[sent] - world.loop.time()))
        await meanwhile

    def _one(self, number: int) -> None:
        draw = self._world.random
        connection = draw.choices(("desk", "shop", "pager"), (3, 14, 3))[0]
        record = str(draw.choice((1, 1, 2))) if draw.random() < 0.25 else str(draw.randrange(3, LANES))
        kind = draw.choices(("wanted", "spam", "poison"), (30, 68, 2))[0]
        if kind == "poison":
            self._put(_poison(connection, record), "")
            return
        event = _event(connection, f"e{number}", record, kind)
        self.append(connection, event, kind)
        if draw.random() < 0.05:
            self._world.loop.call_later(draw.random() * 6, self.append, connection, event, kind)

    def append(self, connection: str, event: Event, kind: str = "echo") -> None:
        """
        Put an event on the bus.
        """
        key, headers, value = event.to_kafka()
        self._put(Outgoing(topic=f"t.{connection}", key=key, value=value, headers=tuple(headers)), event.id)
        self.order.setdefault((connection, event.id), len(self.order))
        self.kinds.setdefault((connection, event.id), kind)

    def _put(self, outgoing: Outgoing, event: str) -> None:
        message = self._world.cluster.append(outgoing)
        self.events[message.source, message.offset] = event

    def verdict(self, pipeline: str, event: str) -> tuple[str, ...]:
        """
        Return the verdicts an event may end with.
        """
        kind = self.kinds[CONNECTIONS[pipeline], event]
        if kind == "spam":
            return ("filtered",)
        if kind == "echo":
            return ("own-write",) if pipeline in BOTH else ("filtered",)
        return ("delivered", "parked") if pipeline == "page" else ("delivered",)


def _event(connection: str, name: str, record: str, kind: str) -> Event:
    return Event(
        id=name,
        source=f"https://{connection}.example",
        type="ticket.created",
        subject=record,
        time=datetime(2026, 1, 5, tzinfo=UTC),
        data={"id": record, "ref": name, "kind": kind},
    )


def _poison(connection: str, record: str) -> Outgoing:
    return Outgoing(topic=f"t.{connection}", key=record.encode(), value=b"{", headers=())
