"""
The messages of the Pub/Sub API that we use, by their field numbers: package `eventbus.v1`.

The interface is published by Salesforce under CC0 (forcedotcom/pub-sub-api). No generated code: the few messages are
described here, and protobuf makes their classes.
"""

from __future__ import annotations

from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

PACKAGE = "eventbus.v1"
SERVICE = f"/{PACKAGE}.PubSub"
LATEST, EARLIEST, CUSTOM = 0, 1, 2

_STRING, _BYTES, _INT32, _BOOL, _ENUM, _MESSAGE = 9, 12, 5, 8, 14, 11
_MESSAGES: dict[str, tuple[tuple[str, int, int, str], ...]] = {
    "TopicRequest": (("topic_name", 1, _STRING, ""),),
    "TopicInfo": (
        ("topic_name", 1, _STRING, ""),
        ("tenant_guid", 2, _STRING, ""),
        ("can_publish", 3, _BOOL, ""),
        ("can_subscribe", 4, _BOOL, ""),
        ("schema_id", 5, _STRING, ""),
        ("rpc_id", 6, _STRING, ""),
    ),
    "SchemaRequest": (("schema_id", 1, _STRING, ""),),
    "SchemaInfo": (("schema_json", 1, _STRING, ""), ("schema_id", 2, _STRING, ""), ("rpc_id", 3, _STRING, "")),
    "EventHeader": (("key", 1, _STRING, ""), ("value", 2, _BYTES, "")),
    "ProducerEvent": (
        ("id", 1, _STRING, ""),
        ("schema_id", 2, _STRING, ""),
        ("payload", 3, _BYTES, ""),
        ("headers", 4, _MESSAGE, "*EventHeader"),
    ),
    "ConsumerEvent": (("event", 1, _MESSAGE, "ProducerEvent"), ("replay_id", 2, _BYTES, "")),
    "FetchRequest": (
        ("topic_name", 1, _STRING, ""),
        ("replay_preset", 2, _ENUM, "ReplayPreset"),
        ("replay_id", 3, _BYTES, ""),
        ("num_requested", 4, _INT32, ""),
        ("auth_refresh", 5, _STRING, ""),
    ),
    "FetchResponse": (
        ("events", 1, _MESSAGE, "*ConsumerEvent"),
        ("latest_replay_id", 2, _BYTES, ""),
        ("rpc_id", 3, _STRING, ""),
        ("pending_num_requested", 4, _INT32, ""),
    ),
}
"""Field name, number, type, and the type it refers to; a star for repeated."""


def _described() -> descriptor_pb2.FileDescriptorProto:
    file = descriptor_pb2.FileDescriptorProto(name="penstock/pubsub.proto", package=PACKAGE, syntax="proto3")
    preset = file.enum_type.add(name="ReplayPreset")
    for name, number in (("LATEST", LATEST), ("EARLIEST", EARLIEST), ("CUSTOM", CUSTOM)):
        preset.value.add(name=name, number=number)
    for message, fields in _MESSAGES.items():
        made = file.message_type.add(name=message)
        for name, number, kind, refers in fields:
            label = 3 if refers.startswith("*") else 1
            field = made.field.add(name=name, number=number, label=label)
            field.type = kind
            if refers:
                field.type_name = f".{PACKAGE}.{refers.lstrip('*')}"
    return file


_pool = descriptor_pool.DescriptorPool()
_pool.Add(_described())


def message(name: str) -> Any:
    """
    Return the class of a message.
    """
    return message_factory.GetMessageClass(_pool.FindMessageTypeByName(f"{PACKAGE}.{name}"))


FetchRequest, FetchResponse = message("FetchRequest"), message("FetchResponse")
SchemaRequest, SchemaInfo = message("SchemaRequest"), message("SchemaInfo")
TopicRequest, TopicInfo = message("TopicRequest"), message("TopicInfo")
ConsumerEvent, ProducerEvent = message("ConsumerEvent"), message("ProducerEvent")
