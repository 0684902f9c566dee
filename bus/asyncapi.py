"""
What travels over Kafka, as AsyncAPI: for those who want to read the same events.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import orjson
from faststream import AckPolicy
from faststream.kafka import KafkaBroker, Topic
from faststream.specification import AsyncAPI

from schemas.events import Event

_IN_THE_VALUE = {"data", "datacontenttype"}


def describe(topics: Iterable[str], groups: Iterable[tuple[str, str]], *, version: str, servers: Iterable[str]) -> str:
    """
    Return an AsyncAPI 3.0 document as JSON; *groups* says which topic each consumer group reads.
    """
    broker = KafkaBroker(list(servers), logger=None)
    for topic in topics:
        broker.publisher(topic, title=f"{topic}:publish", schema=dict[str, Any], description="Events of a connection.")
    for topic, group in groups:
        reading = broker.subscriber(
            Topic(topic, declare=False),
            group_id=group,
            ack_policy=AckPolicy.MANUAL,
            auto_offset_reset="none",
            title=f"{topic}:{group}",
            description=f"Read by the consumer group {group}.",
        )
        reading(_read)
    document = AsyncAPI(broker, title="Penstock", version=version, schema_version="3.0.0").to_specification()
    return _as_sent(orjson.loads(document.to_json()))


async def _read(event: dict[str, Any]) -> None:
    """
    Stand for a pipeline; nothing is ever sent here.
    """


def _as_sent(document: dict[str, Any]) -> str:
    """
    Say of each message what FastStream does not know: the binding in binary mode, attributes as headers.
    """
    schema = Event.model_json_schema()
    headers = {f"ce_{name}": each for name, each in schema["properties"].items() if name not in _IN_THE_VALUE}
    for message in document["components"]["messages"].values():
        message.pop("correlationId", None)
        message["summary"] = "A CloudEvent 1.0, Kafka protocol binding, binary mode; the record's key keeps the order."
        message["contentType"] = "application/json"
        message["payload"] = schema["properties"]["data"]
        message["headers"] = {
            "type": "object",
            "properties": headers,
            "required": [f"ce_{name}" for name in schema["required"] if name not in _IN_THE_VALUE] + ["ce_specversion"],
        }
    document["components"]["schemas"] = {}
    return orjson.dumps(document, option=orjson.OPT_INDENT_2).decode()
