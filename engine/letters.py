"""
Dead letters: every death is told on a topic of the bus, at least once, keyed by its run.

The value is the event as structured CloudEvents JSON; what was no event goes out as it came. The
headers `penstock_…` say what became of it. Nobody reads the topic for us: a replay goes by the ledger.
"""

from __future__ import annotations

from typing import Any

import orjson

from bus.contract import Bus, Message, Outgoing
from ledger.deaths import KIND
from ledger.parcels import Parcel

__all__ = ["HEADERS", "KIND", "Letters"]

HEADERS = {
    "penstock_letter": "id of this death: the same in every repetition of the message",
    "penstock_run": "id of the run",
    "penstock_pipeline": "name of the pipeline",
    "penstock_tenant": "on whose behalf it ran; absent without one",
    "penstock_reason": "why it died: one sentence for a person",
    "penstock_step": "where: `trigger`, `context`, `ask`, or a delivery's name; absent when unknown",
    "penstock_attempt": "which try it was, from 1",
    "penstock_death": "how often this run has died by now, from 1",
    "penstock_config_hash": "of the configuration it ran with",
    "penstock_died_at": "UTC milliseconds",
    "penstock_topic": "where the event was read: topic",
    "penstock_partition": "partition",
    "penstock_offset": "offset",
    "penstock_timestamp": "when the bus had appended it, UTC milliseconds",
}
"""
Every header and what it says; the values are text.
"""
_FROM = {
    "penstock_run": "run",
    "penstock_pipeline": "pipeline",
    "penstock_tenant": "tenant",
    "penstock_reason": "error",
    "penstock_step": "failed_step",
    "penstock_attempt": "attempt",
    "penstock_death": "deaths",
    "penstock_config_hash": "config_hash",
    "penstock_died_at": "finished_at",
    "penstock_topic": "topic",
    "penstock_partition": "part",
    "penstock_offset": "off",
    "penstock_timestamp": "bus_time",
}
_CLOUD_EVENT = b"application/cloudevents+json"


class Letters:
    """
    The sender of dead letters.
    """

    def __init__(self, bus: Bus, topic: str) -> None:
        self._bus = bus
        self.topic = topic

    async def prepare(self, partitions: int) -> None:
        """
        Make the topic when there is none; deaths need no order, so that any number of partitions will do.
        """
        if await self._bus.facts(self.topic) is None:
            await self._bus.ensure_topic(self.topic, partitions)

    async def send(self, parcel: Parcel) -> None:
        """
        Publish one death; raises what the bus raises.
        """
        told: dict[str, Any] = orjson.loads(parcel.body)
        kept = told["event"]
        original = await self._original(told) if kept is None else None
        kind = [("content-type", _CLOUD_EVENT)] if kept is not None else _content_type(original)
        value = kept.encode() if kept is not None else original.value if original else b""
        named = [("penstock_letter", parcel.id.encode())]
        named += [(name, str(told[key]).encode()) for name, key in _FROM.items() if told[key] not in (None, "")]
        key = told["run"].encode()
        await self._bus.publish([Outgoing(topic=self.topic, key=key, value=value, headers=[*kind, *named])])

    async def _original(self, told: dict[str, Any]) -> Message | None:
        """
        Return the message that was no event, as long as the bus has it.
        """
        return await self._bus.read(told["topic"], told["part"], told["off"]) if told["topic"] else None


def _content_type(original: Message | None) -> list[tuple[str, bytes]]:
    return [header for header in (original.headers if original else ()) if header[0].lower() == "content-type"]
