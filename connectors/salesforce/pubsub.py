"""
The Pub/Sub API: one subscription over gRPC, Avro payloads, schemas by their ids.
"""

from __future__ import annotations

import asyncio
import contextlib
import io
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import fastavro
import grpc
import orjson

from connectors.salesforce import wire
from penstock.errors import AuthFailed, NotFound, Rejected, Unavailable

AT_ONCE = 100  # events outstanding at most, as Salesforce has it
SILENT = 330.0  # seconds; a keep-alive comes within 270
WITHIN = 15.0  # seconds of one question
LARGEST = 8 * 1024 * 1024  # bytes of one answer
TENANT = slice(0, 18)


class Stale(Rejected):
    """
    The position is not taken any more: it is older than what Salesforce keeps.
    """


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """
    One change event.
    """

    replay: bytes
    header: dict[str, Any]
    """`ChangeEventHeader`."""
    payload: dict[str, Any]
    changed: tuple[str, ...]
    """Names of the fields its bitmaps name, nested ones as `Name.FirstName`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """
    What came at once; a keep-alive has no changes.
    """

    changes: tuple[Change, ...]
    replay: bytes
    """The position behind all of it."""


@dataclass(slots=True, kw_only=True)
class Subscription:
    """
    One subscription, for as long as a block lasts.
    """

    target: str
    token: str
    instance: str
    tenant: str
    topic: str
    _schemas: dict[str, tuple[Any, dict[str, Any]]] = field(default_factory=dict)

    async def read(self, replay: bytes | None) -> AsyncIterator[Batch]:
        """
        Yield what comes after *replay*, or from now on; raises `Stale`, `AuthFailed` and `Unavailable`.
        """
        requests: asyncio.Queue[Any] = asyncio.Queue()
        first = wire.FetchRequest(topic_name=self.topic, num_requested=AT_ONCE, replay_preset=wire.LATEST)
        if replay is not None:
            first.replay_preset, first.replay_id = wire.CUSTOM, replay
        requests.put_nowait(first)
        try:
            async with self._channel() as channel:
                subscribe = channel.stream_stream(
                    f"{wire.SERVICE}/Subscribe",
                    request_serializer=wire.FetchRequest.SerializeToString,
                    response_deserializer=wire.FetchResponse.FromString,
                )
                stream = subscribe(_drained(requests), metadata=self._metadata())
                while True:
                    async with asyncio.timeout(SILENT):
                        answer = await stream.read()
                    if answer is grpc.aio.EOF:
                        raise Unavailable("the subscription ended")
                    yield await self._batch(answer, channel)
                    if answer.pending_num_requested <= AT_ONCE // 2:
                        more = AT_ONCE - answer.pending_num_requested
                        requests.put_nowait(wire.FetchRequest(topic_name=self.topic, num_requested=more))
        except TimeoutError:
            raise Unavailable("the Pub/Sub API was silent for too long") from None
        except grpc.aio.AioRpcError as error:
            raise _meant(error) from None

    def _metadata(self) -> Sequence[tuple[str, str]]:
        return (("accesstoken", self.token), ("instanceurl", self.instance), ("tenantid", self.tenant))

    @contextlib.asynccontextmanager
    async def _channel(self) -> AsyncIterator[Any]:
        options = [("grpc.max_receive_message_length", LARGEST), ("grpc.keepalive_time_ms", 60_000)]
        host = self.target.partition(":")[0]
        if host in ("127.0.0.1", "localhost"):
            channel = grpc.aio.insecure_channel(self.target, options=options)
        else:
            channel = grpc.aio.secure_channel(self.target, grpc.ssl_channel_credentials(), options=options)
        try:
            yield channel
        finally:
            await channel.close(None)

    async def _batch(self, answer: Any, channel: Any) -> Batch:
        changes = [await self._change(one, channel) for one in answer.events]
        replay = changes[-1].replay if changes else answer.latest_replay_id
        return Batch(changes=tuple(changes), replay=bytes(replay))

    async def _change(self, consumed: Any, channel: Any) -> Change:
        schema, named = await self._schema(consumed.event.schema_id, channel)
        try:
            payload: Any = fastavro.schemaless_reader(io.BytesIO(consumed.event.payload), schema)
        except (ValueError, EOFError, IndexError, TypeError, StopIteration) as error:
            raise Unavailable(f"an event's payload cannot be read: {type(error).__name__}") from None
        header = payload.pop("ChangeEventHeader", None) or {}
        return Change(
            replay=bytes(consumed.replay_id),
            header=header,
            payload=payload,
            changed=tuple(changed_fields(schema, header.get("changedFields") or (), named)),
        )

    async def _schema(self, name: str, channel: Any) -> tuple[Any, dict[str, Any]]:
        """
        Return a schema, and the types it names.
        """
        if name not in self._schemas:
            get = channel.unary_unary(
                f"{wire.SERVICE}/GetSchema",
                request_serializer=wire.SchemaRequest.SerializeToString,
                response_deserializer=wire.SchemaInfo.FromString,
            )
            found = await get(wire.SchemaRequest(schema_id=name), metadata=self._metadata(), timeout=WITHIN)
            named: dict[str, Any] = {}
            self._schemas[name] = fastavro.parse_schema(orjson.loads(found.schema_json), named_schemas=named), named
        return self._schemas[name]


async def _drained(requests: asyncio.Queue[Any]) -> AsyncIterator[Any]:
    while True:
        yield await requests.get()


def _meant(error: grpc.aio.AioRpcError) -> Exception:
    code, said = error.code(), " ".join(str(error.details() or "").split())[:200]
    if code in (grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.OUT_OF_RANGE) and "replay" in said.lower():
        return Stale(f"the position is not taken any more: {said}")
    if code in (grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED):
        return AuthFailed(f"the Pub/Sub API refuses us: {said}")
    if code is grpc.StatusCode.NOT_FOUND:
        return NotFound(f"there is no such topic: {said}; is Change Data Capture on for these objects?")
    return Unavailable(f"the Pub/Sub API: {code.name}: {said}")


# ---- bitmaps ---------------------------------------------------------------------------------------


def changed_fields(schema: Any, bitmaps: Sequence[str], named: Mapping[str, Any] | None = None) -> list[str]:
    """
    Return the names that `changedFields` stands for: `0x6` are fields 1 and 2, `4-0x1` is field 0 inside field 4.

    *named* has the types that the schema only names, since it said before what they are.
    """
    found: list[str] = []
    for bitmap in bitmaps:
        parent, dash, bits = bitmap.rpartition("-")
        outer = schema["fields"][int(parent) : int(parent) + 1] if dash else []
        inner = _record_of(outer[0]["type"], named or {}) if outer else None
        fields, before = (schema["fields"], "") if not dash else ([], "")
        if inner is not None:
            fields, before = inner["fields"], f"{outer[0]['name']}."
        found += [f"{before}{fields[number]['name']}" for number in _bits(bits) if number < len(fields)]
    return found


def _bits(text: str) -> list[int]:
    value = int(text, 16)
    return [number for number in range(value.bit_length()) if value >> number & 1]


def _record_of(kind: Any, named: Mapping[str, Any]) -> Any:
    """
    Return the record that a field may hold: Avro says what a type is where it comes first, and later only its name.
    """
    kinds = kind if isinstance(kind, list) else [kind]
    types = [named.get(one) if isinstance(one, str) else one for one in kinds]
    return next((one for one in types if isinstance(one, dict) and one.get("type") == "record"), None)
