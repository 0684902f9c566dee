"""
The Pub/Sub API of the double, over real gRPC with real Avro.
"""

from __future__ import annotations

import asyncio
import contextlib
import io
from collections.abc import AsyncIterator, Mapping
from datetime import UTC, datetime
from typing import Any

import fastavro
import grpc
import orjson

from connectors.salesforce import wire

TOKEN, USER, SOMEBODY = "pretended-token", "005000000000001AAA", "005000000000002AAA"
PREFIXES = {"Account": "001", "Contact": "003", "Case": "500", "Task": "00T"}
FIELDS = ("Name", "Website", "Industry", "Description", "Hub_Key__c", "ERP__c")
AT_ONCE = 20  # events of one answer
HEADER = {
    "type": "record",
    "name": "ChangeEventHeader",
    "fields": [
        {"name": "entityName", "type": "string"},
        {"name": "recordIds", "type": {"type": "array", "items": "string"}},
        {"name": "changeType", "type": "string"},
        {"name": "changeOrigin", "type": "string"},
        {"name": "transactionKey", "type": "string"},
        {"name": "sequenceNumber", "type": "int"},
        {"name": "commitTimestamp", "type": "long"},
        {"name": "commitUser", "type": "string"},
        {"name": "changedFields", "type": {"type": "array", "items": "string"}},
    ],
}
ADDRESS = {
    "type": "record",
    "name": "Address",
    "fields": [{"name": "Street", "type": ["null", "string"]}, {"name": "City", "type": ["null", "string"]}],
}
FIELDS_OF: list[dict[str, Any]] = [
    {"name": "ChangeEventHeader", "type": HEADER},
    *({"name": name, "type": ["null", "string"], "default": None} for name in FIELDS),
    {"name": "BillingAddress", "type": ["null", ADDRESS], "default": None},
    {"name": "ShippingAddress", "type": ["null", "Address"], "default": None},
]


def schema_of(name: str) -> dict[str, Any]:
    """
    Return the Avro schema of the change events of an object.
    """
    return {"type": "record", "name": f"{name}ChangeEvent", "fields": FIELDS_OF}


class Streaming:
    """
    What an org tells of its changes.
    """

    def __init__(self) -> None:
        self.refuses = False
        """Whether every token is refused, though it was just given."""
        self.over = False
        """Whether the token is over, until somebody signs in again."""
        self.events: list[tuple[bytes, str, bytes]] = []
        """Replay id, object and payload of every change event."""
        self.cut_after: int | None = None
        """Events after which a stream is cut."""
        self.oldest = 0
        """Replay ids below this are not taken any more."""
        self._news: set[asyncio.Event] = set()

    def tell(
        self,
        kind: str,
        record: Mapping[str, Any],
        fields: tuple[str, ...],
        *,
        ours: bool,
        ids: list[str] | None = None,
        parts: tuple[str, ...] = (),
    ) -> None:
        """
        Put a change event onto the bus; *parts* are bitmaps of fields within fields.
        """
        name = next(name for name, prefix in PREFIXES.items() if record["Id"].startswith(prefix))
        names = [field["name"] for field in FIELDS_OF]
        bits = sum(1 << names.index(field) for field in fields if field in names)
        number = len(self.events) + 1
        header = {
            "entityName": name,
            "recordIds": ids or [record["Id"]],
            "changeType": kind,
            "changeOrigin": "com/salesforce/api/rest/62.0" + (";client=penstock" if ours else ""),
            "transactionKey": f"0000-{number}",
            "sequenceNumber": 1,
            "commitTimestamp": int(datetime.now(UTC).timestamp() * 1000),
            "commitUser": USER if ours else SOMEBODY,
            "changedFields": [*([f"0x{bits:X}"] if bits else []), *parts],
        }
        payload = io.BytesIO()
        values = {field: record.get(field) for field in FIELDS if field in fields or kind == "CREATE"}
        schema = fastavro.parse_schema(schema_of(name), named_schemas={})
        fastavro.schemaless_writer(payload, schema, {"ChangeEventHeader": header, **values})
        self.events.append((replay_of(number), name, payload.getvalue()))
        for news in self._news:
            news.set()

    @contextlib.asynccontextmanager
    async def pubsub(self) -> AsyncIterator[str]:
        """
        Serve the Pub/Sub API; yields `host:port`.
        """
        server = grpc.aio.server()
        handlers = {
            "Subscribe": grpc.stream_stream_rpc_method_handler(
                self._subscribe,
                request_deserializer=wire.FetchRequest.FromString,
                response_serializer=wire.FetchResponse.SerializeToString,
            ),
            "GetSchema": grpc.unary_unary_rpc_method_handler(
                self._schema,
                request_deserializer=wire.SchemaRequest.FromString,
                response_serializer=wire.SchemaInfo.SerializeToString,
            ),
        }
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(f"{wire.PACKAGE}.PubSub", handlers),))
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        try:
            yield f"127.0.0.1:{port}"
        finally:
            await server.stop(None)

    async def _let_in(self, context: Any) -> None:
        given = dict(context.invocation_metadata())
        if given.get("accesstoken") != TOKEN or not given.get("tenantid") or self.refuses or self.over:
            await context.abort(grpc.StatusCode.UNAUTHENTICATED, "sfdc.platform.eventbus.grpc.service.auth.error")

    async def _schema(self, request: Any, context: Any) -> Any:
        await self._let_in(context)
        return wire.SchemaInfo(
            schema_json=orjson.dumps(schema_of(request.schema_id)).decode(), schema_id=request.schema_id
        )

    async def _subscribe(self, requests: AsyncIterator[Any], context: Any) -> AsyncIterator[Any]:
        await self._let_in(context)
        first = await anext(aiter(requests))
        place = len(self.events)
        if first.replay_preset == wire.CUSTOM:
            place = int.from_bytes(first.replay_id, "big") if len(first.replay_id) == 8 else -1
            if not self.oldest <= place <= len(self.events):
                await context.abort(grpc.StatusCode.INVALID_ARGUMENT, "The Replay ID validation failed")
        room, sent, news = first.num_requested, 0, asyncio.Event()
        self._news.add(news)

        async def more() -> None:
            nonlocal room
            async for request in requests:
                room += request.num_requested
                news.set()

        asking = asyncio.create_task(more())
        try:
            yield wire.FetchResponse(latest_replay_id=replay_of(place), pending_num_requested=room)
            while True:
                some = self.events[place : place + min(room, AT_ONCE)]
                if not some:
                    news.clear()
                    await news.wait()
                    continue
                if self.cut_after is not None and sent + len(some) > self.cut_after:
                    await context.abort(grpc.StatusCode.UNAVAILABLE, "the stream was cut")
                place, sent, room = place + len(some), sent + len(some), room - len(some)
                events = [
                    wire.ConsumerEvent(
                        replay_id=replay,
                        event=wire.ProducerEvent(id=replay.hex(), schema_id=name, payload=payload),
                    )
                    for replay, name, payload in some
                ]
                yield wire.FetchResponse(events=events, latest_replay_id=replay_of(place), pending_num_requested=room)
        finally:
            asking.cancel()
            self._news.discard(news)


def replay_of(number: int) -> bytes:
    """
    Return the replay id behind so many events.
    """
    return number.to_bytes(8, "big")
