"""
Dead letters on the bus: what others read there.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator
from typing import Any

import pytest

import bus as bus_room
from bus import Cluster
from bus.contract import Bus, Message, Outgoing
from engine import Engine, Layout
from engine.letters import HEADERS, Letters
from ledger.deaths import letter_id
from ledger.parcels import Parcel
from penstock.clock import SystemClock
from penstock.errors import Rejected
from schemas.events import Event

LAYOUT = Layout(prefix=f"acme-{uuid.uuid4().hex[:8]}", partitions=2)


@pytest.fixture(params=["memory", "kafka"])
async def wire(request: pytest.FixtureRequest) -> AsyncIterator[Bus]:
    """
    A bus in memory, and a real Kafka.
    """
    if request.param == "memory":
        opened: Bus = bus_room.open(None, partitions=2, keep=3600.0, clock=SystemClock())
    else:
        cluster = Cluster(servers=Cluster.servers_of(request.getfixturevalue("kafka")), prefix=LAYOUT.prefix)
        opened = await bus_room.connect(cluster, partitions=2, keep=3600.0)
    yield opened
    await opened.close()


async def read(wire: Bus, most: int, *, group: str = "reader") -> list[Message]:
    """
    Return the first *most* dead letters.
    """
    subscription = await wire.subscribe(LAYOUT.dead, group, start="oldest")
    found: list[Message] = []
    async with asyncio.timeout(60):
        while len(found) < most:
            found += await subscription.fetch(10, wait=0.5)
    await subscription.close()
    return found


async def test_every_death_is_told_with_its_event_and_its_reason(wire: Bus, world: Any, ticket: Any) -> None:
    """
    A run that dies is a message on `<prefix>.dead`, keyed by the run; a message that is no event is told as it came.
    """
    world.desk.trouble["write"] = [Rejected("the field is locked")]
    plan = world.plan()
    engine = Engine(
        {"p": plan},
        connectors={"desk": world.desk},
        ai=world.model,
        bus=wire,
        ledger=world.ledger,
        http=None,  # type: ignore[arg-type]
        clock=SystemClock(),
        layout=LAYOUT,
    )
    await engine.start()
    try:
        key, headers, value = ticket().to_kafka()
        topic = LAYOUT.topic("desk")
        await wire.publish([Outgoing(topic=topic, key=key, value=value, headers=headers)])
        (first,) = await read(wire, 1)
        await wire.publish([Outgoing(topic=topic, key=key, value=b"\xff no event", headers=[("content-type", b"x/y")])])
        broken = (await read(wire, 2, group="second"))[-1]
    finally:
        await engine.stop(5.0)

    named = {name: content.decode() for name, content in first.headers}
    run = engine.runners["p"].offer(ticket()).run
    assert run.encode() == first.key
    assert ticket() == Event.from_kafka(list(first.headers), first.value)
    expected = {
        "penstock_letter": letter_id(run, 1),
        "penstock_reason": "the field is locked",
        "penstock_step": "desk.note",
        "penstock_pipeline": "p",
        "penstock_attempt": "1",
        "penstock_death": "1",
        "penstock_config_hash": plan.config_hash,
        "penstock_topic": topic,
        "penstock_offset": "0",
    }
    assert expected == {name: named[name] for name in expected}
    assert set(named) - {"content-type"} == set(HEADERS) - {"penstock_tenant"}
    assert (b"\xff no event", ("content-type", b"x/y")) == (broken.value, broken.headers[0])
    assert b"trigger" == dict(broken.headers)["penstock_step"]


async def test_what_the_bus_has_forgotten_is_told_without_a_value() -> None:
    """
    Also when neither ledger nor bus have the message any more, its death is told.
    """
    wire = bus_room.open(None, partitions=2, keep=3600.0, clock=SystemClock())
    told = (
        b'{"event": null, "topic": "events.desk", "part": 0, "off": 99, "run": "00", "pipeline": "p",'
        b' "tenant": "", "error": "no", "failed_step": null, "attempt": 1, "deaths": 1, "config_hash": "c",'
        b' "finished_at": 1, "bus_time": 2}'
    )
    await wire.ensure_topic("events.desk", 2)
    await wire.ensure_topic(LAYOUT.dead, 2)
    await Letters(wire, LAYOUT.dead).send(Parcel(id="aa", kind="dead", body=told, attempts=0, created_at=0))
    (message,) = await read(wire, 1)
    await wire.close()

    assert (b"", b"no") == (message.value, dict(message.headers)["penstock_reason"])
