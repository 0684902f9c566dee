"""
A pretended org: the REST calls and the SOQL that we use, and the Pub/Sub API over real gRPC with real Avro.

    python -m connectors.salesforce.double --port 9040
"""

from __future__ import annotations

import base64
import contextlib
import functools
import io
import itertools
import re
from collections.abc import AsyncIterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import fastavro
import grpc
import orjson

from connectors.double import Answered, Asked, Double, Refusal
from connectors.double_hooks import Hooks
from connectors.double_stand import main
from connectors.salesforce import wire
from connectors.verification import Verify

CLIENT, SECRET, TOKEN, USER = "consumer-key", "consumer-secret", "pretended-token", "005000000000001AAA"
PREFIXES = {"Account": "001", "Contact": "003", "Case": "500", "Task": "00T"}
FIELDS = ("Name", "Website", "Industry", "Description", "Hub_Key__c", "ERP__c")
NOTHING = Verify(secret="none", encoding="hex", header="x-none")  # noqa: S106  # it sends no deliveries
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
]
SCHEMA: dict[str, Any] = {"type": "record", "name": "AccountChangeEvent", "fields": FIELDS_OF}
_SELECT = re.compile(
    r"SELECT (?P<columns>.+?) FROM (?P<object>\w+)(?: WHERE (?P<where>.+?))?(?: ORDER BY (?P<order>.+?))?(?: LIMIT (?P<limit>\d+))?$",
    re.DOTALL,
)
_TERM = re.compile(r"([\w.]+) (>=|<=|=|>|<|IN) (\([^()]*\)|'(?:[^'\\]|\\.)*'|[\w:.+-]+)")


class SalesforceDouble(Double):
    """
    One org.
    """

    routes = (
        ("POST", r"/services/oauth2/token", "token"),
        ("GET", r"/services/oauth2/userinfo", "userinfo"),
        ("GET", r"/services/data/v[\d.]+/(?P<kind>query|queryAll)/?", "query"),
        ("POST", r"/services/data/v[\d.]+/sobjects/(?P<name>\w+)/?", "create"),
        ("GET", r"/services/data/v[\d.]+/sobjects/(?P<name>\w+)/(?P<record>\w+)/?", "get"),
        ("PATCH", r"/services/data/v[\d.]+/sobjects/(?P<name>\w+)/(?P<record>\w+)/?", "update"),
        ("PATCH", r"/services/data/v[\d.]+/sobjects/(?P<name>\w+)/(?P<field>\w+)/(?P<key>[^/]+)/?", "upsert"),
    )

    def __init__(self, *, hook: str | None = None, secret: str = "", calls: Path | None = None) -> None:
        super().__init__(Hooks(NOTHING, url=hook, secret=secret), calls=calls)
        self.records: dict[str, dict[str, dict[str, Any]]] = {"Account": {}, "Contact": {}, "Case": {}, "Task": {}}
        self.used, self.most = 0, 15_000
        self.refuses = False
        """Whether every token is refused, though it was just given."""
        self.options: list[str] = []
        """`Sforce-Call-Options` of every write."""
        self.events: list[tuple[bytes, bytes]] = []
        """Replay id and payload of every change event."""
        self.cut_after: int | None = None
        """Events after which a stream is cut."""
        self.oldest = 0
        """Replay ids below this are not taken any more."""
        self._numbers = itertools.count(1)
        self._news: set[Any] = set()

    def authenticate(self, asked: Asked) -> str | None:
        if asked.path.endswith("/oauth2/token"):
            return "anybody"
        self.used += 1
        return None if self.refuses or asked.headers.get("authorization") != f"Bearer {TOKEN}" else USER

    def refused(self) -> Refusal:
        return Refusal(401, [{"message": "Session expired or invalid", "errorCode": "INVALID_SESSION_ID"}])

    def unknown(self) -> Refusal:
        return Refusal(404, [{"message": "The requested resource does not exist", "errorCode": "NOT_FOUND"}])

    def extra_headers(self) -> Mapping[str, str]:
        return {"sforce-limit-info": f"api-usage={self.used}/{self.most}"}

    # ---- REST -------------------------------------------------------------------------------------

    def token(self, asked: Asked, _actor: str) -> Answered:
        """
        Sign a client in.
        """
        given = base64.b64decode(asked.headers.get("authorization", "").removeprefix("Basic ")).decode()
        if given != f"{CLIENT}:{SECRET}":
            raise Refusal(400, {"error": "invalid_client", "error_description": "invalid client credentials"})
        return Answered(
            body={"access_token": TOKEN, "instance_url": "https://acme.my.salesforce.com", "token_type": "Bearer"}
        )

    def userinfo(self, _asked: Asked, _actor: str) -> Answered:
        """
        Say who asks.
        """
        who = {"user_id": USER, "organization_id": "00D000000000001EAA", "preferred_username": "hub@acme.example"}
        return Answered(body=who)

    def query(self, asked: Asked, _actor: str, kind: str) -> Answered:
        """
        Answer SOQL of the kind that we write.
        """
        found = _SELECT.match(" ".join(asked.query.get("q", "").split()))
        if found is None or found["object"] not in self.records:
            raise Refusal(400, [{"message": "unexpected token", "errorCode": "MALFORMED_QUERY"}])
        columns = [column.strip() for column in found["columns"].split(",")]
        known = {
            *FIELDS,
            "Id",
            "SystemModstamp",
            "CreatedDate",
            "LastModifiedById",
            "IsDeleted",
            "AccountId",
            "Subject",
            "Title",
        }
        if missing := [one for one in columns if one.partition(".")[0] not in known and "." not in one]:
            raise Refusal(400, [{"message": f"No such column '{missing[0]}'", "errorCode": "INVALID_FIELD"}])
        rows = [row for row in self.records[found["object"]].values() if kind == "queryAll" or not row["IsDeleted"]]
        rows = [row for row in rows if _holds(found["where"], row)]
        for column in reversed((found["order"] or "").split(",")):
            name, _, direction = column.strip().partition(" ")
            if name:
                rows = sorted(rows, key=functools.partial(_by, name), reverse=direction == "DESC")
        rows = rows[: int(found["limit"] or 2000)]
        records = [{"attributes": {"type": found["object"]}, **_chosen(row, columns)} for row in rows]
        return Answered(body={"totalSize": len(records), "done": True, "records": records})

    def create(self, asked: Asked, _actor: str, name: str) -> Answered:
        """
        Make a record.
        """
        self.options.append(asked.headers.get("sforce-call-options", ""))
        record = self.made(name, ours=True, **_checked(asked.json()))
        return Answered(status=201, body={"id": record["Id"], "success": True, "errors": []}, effect=True)

    def get(self, _asked: Asked, _actor: str, name: str, record: str) -> Answered:
        """
        Return a record.
        """
        return Answered(body=self._known(name, record))

    def update(self, asked: Asked, _actor: str, name: str, record: str) -> Answered:
        """
        Change fields.
        """
        self.options.append(asked.headers.get("sforce-call-options", ""))
        self.change(self._known(name, record), ours=True, **_checked(asked.json()))
        return Answered(status=204, effect=True)

    def upsert(self, asked: Asked, _actor: str, name: str, field: str, key: str) -> Answered:
        """
        Change the record with that external id, or make it.
        """
        self.options.append(asked.headers.get("sforce-call-options", ""))
        wanted = unquote(key)
        there = next((row for row in self.records[name].values() if row.get(field) == wanted), None)
        if there is not None:
            self.change(there, ours=True, **_checked(asked.json()))
            return Answered(status=200, body={"id": there["Id"], "success": True, "created": False}, effect=True)
        record = self.made(name, ours=True, **{**_checked(asked.json()), field: wanted})
        return Answered(status=201, body={"id": record["Id"], "success": True, "created": True}, effect=True)

    def _known(self, name: str, record: str) -> dict[str, Any]:
        found = self.records.get(name, {}).get(record)
        if found is None or found["IsDeleted"]:
            raise Refusal(404, [{"message": "Provided external ID field does not exist", "errorCode": "NOT_FOUND"}])
        return found

    # ---- what people do ---------------------------------------------------------------------------

    def made(self, name: str, *, ours: bool = False, at: str | None = None, **fields: Any) -> dict[str, Any]:
        """
        Make a record, as a person or as our app.
        """
        number = f"{PREFIXES[name]}{next(self._numbers):012}AAA"
        now = at or _now()
        record = {"Id": number, **dict.fromkeys(FIELDS), **fields, "CreatedDate": now, "SystemModstamp": now}
        record |= {"LastModifiedById": USER if ours else "005000000000002AAA", "IsDeleted": False}
        self.records[name][number] = record
        if name == "Account":
            self.tell("CREATE", record, tuple(fields), ours=ours)
        return record

    def change(self, record: dict[str, Any], *, ours: bool = False, at: str | None = None, **fields: Any) -> None:
        """
        Change fields of a record.
        """
        record |= {**fields, "SystemModstamp": at or _now()}
        record["LastModifiedById"] = USER if ours else "005000000000002AAA"
        if record["Id"].startswith(PREFIXES["Account"]):
            self.tell("UPDATE", record, tuple(fields), ours=ours)

    def delete(self, record: dict[str, Any]) -> None:
        """
        Put a record into the bin.
        """
        record |= {"IsDeleted": True, "SystemModstamp": _now()}
        self.tell("DELETE", record, (), ours=False)

    def tell(
        self, kind: str, record: Mapping[str, Any], fields: tuple[str, ...], *, ours: bool, ids: list[str] | None = None
    ) -> None:
        """
        Put a change event onto the bus.
        """
        names = [field["name"] for field in FIELDS_OF]
        bits = sum(1 << names.index(name) for name in fields if name in names)
        number = len(self.events) + 1
        header = {
            "entityName": "Account",
            "recordIds": ids or [record["Id"]],
            "changeType": kind,
            "changeOrigin": "com/salesforce/api/rest/62.0" + (";client=penstock" if ours else ""),
            "transactionKey": f"0000-{number}",
            "sequenceNumber": 1,
            "commitTimestamp": int(datetime.now(UTC).timestamp() * 1000),
            "commitUser": USER if ours else "005000000000002AAA",
            "changedFields": [f"0x{bits:X}"] if bits else [],
        }
        payload = io.BytesIO()
        values = {name: record.get(name) for name in FIELDS if name in fields or kind == "CREATE"}
        fastavro.schemaless_writer(payload, fastavro.parse_schema(SCHEMA), {"ChangeEventHeader": header, **values})
        self.events.append((_replay(number), payload.getvalue()))
        for news in self._news:
            news.set()

    # ---- the Pub/Sub API --------------------------------------------------------------------------

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
        if given.get("accesstoken") != TOKEN or not given.get("tenantid") or self.refuses:
            await context.abort(grpc.StatusCode.UNAUTHENTICATED, "sfdc.platform.eventbus.grpc.service.auth.error")

    async def _schema(self, request: Any, context: Any) -> Any:
        await self._let_in(context)
        return wire.SchemaInfo(schema_json=orjson.dumps(SCHEMA).decode(), schema_id=request.schema_id)

    async def _subscribe(self, requests: AsyncIterator[Any], context: Any) -> AsyncIterator[Any]:
        await self._let_in(context)
        first = await anext(aiter(requests))
        place = len(self.events)
        if first.replay_preset == wire.CUSTOM:
            place = int.from_bytes(first.replay_id, "big") if len(first.replay_id) == 8 else -1
            if not self.oldest <= place <= len(self.events):
                await context.abort(grpc.StatusCode.INVALID_ARGUMENT, "The Replay ID validation failed")
        import asyncio

        room, sent, news = first.num_requested, 0, asyncio.Event()
        self._news.add(news)

        async def more() -> None:
            nonlocal room
            async for request in requests:
                room += request.num_requested
                news.set()

        asking = asyncio.create_task(more())
        try:
            yield wire.FetchResponse(latest_replay_id=_replay(place), pending_num_requested=room)
            while True:
                some = self.events[place : place + min(room, 20)]
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
                        event=wire.ProducerEvent(id=replay.hex(), schema_id="account-1", payload=payload),
                    )
                    for replay, payload in some
                ]
                yield wire.FetchResponse(events=events, latest_replay_id=_replay(place), pending_num_requested=room)
        finally:
            asking.cancel()
            self._news.discard(news)


def _replay(number: int) -> bytes:
    return number.to_bytes(8, "big")


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", ".000+0000")


def _checked(fields: Mapping[str, Any]) -> dict[str, Any]:
    known = {*FIELDS, "Subject", "Status", "ActivityDate", "WhatId", "WhoId", "AccountId"}
    if unknown := sorted(set(fields) - known):
        raise Refusal(400, [{"message": f"No such column '{unknown[0]}'", "errorCode": "INVALID_FIELD"}])
    return dict(fields)


def _of(row: Mapping[str, Any], path: str) -> Any:
    found: Any = row
    for step in path.split("."):
        found = found.get(step) if isinstance(found, Mapping) else None
    return found


def _by(path: str, row: Mapping[str, Any]) -> str:
    return str(_of(row, path) or "")


def _chosen(row: Mapping[str, Any], columns: list[str]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for column in columns:
        outer, dot, inner = column.partition(".")
        if dot:
            found.setdefault(outer, {})[inner] = _of(row, column)
        else:
            found[column] = row.get(column)
    return found


def _holds(where: str | None, row: Mapping[str, Any]) -> bool:
    """
    Evaluate conditions that are joined by AND, OR and brackets.
    """
    if not where:
        return True
    terms: list[bool] = []

    def judged(found: re.Match[str]) -> str:
        terms.append(_term(found[1], found[2], found[3], row))
        return f"T{len(terms) - 1}"

    text = _TERM.sub(judged, where).replace("AND", "and").replace("OR", "or")
    assert re.fullmatch(r"[T\d() andor]+", text), text
    return bool(eval(text, {"__builtins__": {}}, {f"T{n}": value for n, value in enumerate(terms)}))  # noqa: S307  # truth values only


def _term(name: str, sign: str, written: str, row: Mapping[str, Any]) -> bool:
    value = str(_of(row, name) or "")
    if sign == "IN":
        return value in re.findall(r"'([^']*)'", written)
    wanted = written[1:-1].replace("\\'", "'") if written.startswith("'") else written
    if name in ("SystemModstamp", "CreatedDate"):
        value = value.replace(".000+0000", "Z")
    order = {
        "=": value == wanted,
        ">": value > wanted,
        ">=": value >= wanted,
        "<": value < wanted,
        "<=": value <= wanted,
    }
    return order[sign]


if __name__ == "__main__":
    main(SalesforceDouble)
