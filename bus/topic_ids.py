"""
What a topic is called by Kafka itself: an id that a topic made anew under the same name does not have.

aiokafka asks for metadata in a version without it, so the newer question is spelled out here. Brokers
before 2.8 do not know it.
"""

from __future__ import annotations

import uuid
from typing import Any

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.protocol.api import Request, RequestStruct, Response
from aiokafka.protocol.types import (
    Boolean,
    CompactArray,
    CompactString,
    Int16,
    Int32,
    Int64,
    Schema,
    TaggedFields,
)

_METADATA = 3  # the key of the question
_VERSION = 12  # the first that answers with ids, and is asked by name
_ID = (("high", Int64), ("low", Int64))  # 16 bytes
_PARTITION = (
    ("error_code", Int16),
    ("partition", Int32),
    ("leader", Int32),
    ("leader_epoch", Int32),
    ("replicas", CompactArray(Int32)),
    ("in_sync", CompactArray(Int32)),
    ("offline", CompactArray(Int32)),
    ("tags", TaggedFields),
)
_TOPIC = (
    ("error_code", Int16),
    ("topic", CompactString()),
    *_ID,
    ("internal", Boolean),
    ("partitions", CompactArray(*_PARTITION)),
    ("operations", Int32),
    ("tags", TaggedFields),
)
_BROKER = (
    ("node", Int32),
    ("host", CompactString()),
    ("port", Int32),
    ("rack", CompactString()),
    ("tags", TaggedFields),
)


class _Answer(Response):  # type: ignore[misc]  # aiokafka has no types
    API_KEY = _METADATA
    API_VERSION = _VERSION
    SCHEMA = Schema(
        ("throttle", Int32),
        ("brokers", CompactArray(*_BROKER)),
        ("cluster", CompactString()),
        ("controller", Int32),
        ("topics", CompactArray(*_TOPIC)),
        ("tags", TaggedFields),
    )


class _Question(RequestStruct):  # type: ignore[misc]
    API_KEY = _METADATA
    API_VERSION = _VERSION
    FLEXIBLE_VERSION = True
    RESPONSE_TYPE = _Answer
    SCHEMA = Schema(
        ("topics", CompactArray(*_ID, ("topic", CompactString()), ("tags", TaggedFields))),
        ("make_them", Boolean),
        ("operations", Boolean),
        ("tags", TaggedFields),
    )


class _Asking(Request[_Question]):  # type: ignore[misc]
    API_KEY = _METADATA

    def __init__(self, topic: str) -> None:
        self._topic = topic

    def build(self, request_struct_class: type[_Question]) -> _Question:
        """
        Ask about one topic, and make none.
        """
        return request_struct_class([(0, 0, self._topic, {})], False, False, {})


async def topic_id(admin: AIOKafkaAdminClient, topic: str) -> str:
    """
    Return the id of *topic*; empty when it is not there, or when the broker gives none.
    """
    client = admin._client  # noqa: SLF001  there is no other way to ask a question of one's own
    try:
        answer = await client.send(client.get_random_node(), _Asking(topic))
    except NotImplementedError:  # what aiokafka says when a broker is older than the question
        return ""
    found: list[dict[str, Any]] = answer.to_object()["topics"]
    return next((_id(one) for one in found if one["topic"] == topic and not one["error_code"]), "")


def _id(described: dict[str, Any]) -> str:
    parts = (described["high"], described["low"])
    return str(uuid.UUID(bytes=b"".join(part.to_bytes(8, "big", signed=True) for part in parts)))
