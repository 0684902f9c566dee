"""
A pretended org: the REST calls and the SOQL that we use, and the Pub/Sub API over real gRPC with real Avro.

    python -m connectors.salesforce.double --port 9040
"""

from __future__ import annotations

import base64
import itertools
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from connectors.double import Answered, Asked, Double, Refusal
from connectors.double_hooks import Hooks
from connectors.double_stand import main
from connectors.salesforce.double_soql import answered
from connectors.salesforce.double_stream import FIELDS, PREFIXES, SOMEBODY, TOKEN, USER, Streaming
from connectors.verification import Verify

CLIENT, SECRET = "consumer-key", "consumer-secret"
SYSTEM = (
    *("Id", "SystemModstamp", "CreatedDate", "CreatedById", "LastModifiedById", "IsDeleted"),
    *("AccountId", "Subject", "Title", "BillingAddress", "ShippingAddress", "ShippingCity"),
)
NOTHING = Verify(secret="none", encoding="hex", header="x-none")  # noqa: S106  # it sends no deliveries


class SalesforceDouble(Double, Streaming):
    """
    One org.
    """

    routes = (
        ("POST", r"/services/oauth2/token", "token"),
        ("GET", r"/services/oauth2/userinfo", "userinfo"),
        ("GET", r"/services/data/v[\d.]+/(?P<kind>query|queryAll)/?", "query"),
        ("GET", r"/services/data/v[\d.]+/query/(?P<place>0r8\w+-\d+)", "more"),
        ("POST", r"/services/data/v[\d.]+/sobjects/(?P<name>\w+)/?", "create"),
        ("GET", r"/services/data/v[\d.]+/sobjects/(?P<name>\w+)/(?P<record>\w+)/?", "get"),
        ("PATCH", r"/services/data/v[\d.]+/sobjects/(?P<name>\w+)/(?P<record>\w+)/?", "update"),
        ("PATCH", r"/services/data/v[\d.]+/sobjects/(?P<name>\w+)/(?P<field>\w+)/(?P<key>[^/]+)/?", "upsert"),
    )

    def __init__(self, *, hook: str | None = None, secret: str = "", calls: Path | None = None) -> None:
        Double.__init__(self, Hooks(NOTHING, url=hook, secret=secret), calls=calls)
        Streaming.__init__(self)
        self.records: dict[str, dict[str, dict[str, Any]]] = {"Account": {}, "Contact": {}, "Case": {}, "Task": {}}
        self.used, self.most = 0, 15_000
        self.batch = 2_000
        """Records of one answer at most, however many were asked for."""
        self._rests: dict[str, list[Any]] = {}
        self.options: list[str] = []
        """`Sforce-Call-Options` of every write."""
        self._numbers = itertools.count(1)

    def authenticate(self, asked: Asked) -> str | None:
        if asked.path.endswith("/oauth2/token"):
            return "anybody"
        self.used += 1
        known = asked.headers.get("authorization") == f"Bearer {TOKEN}" and not self.refuses and not self.over
        if not known and asked.path.endswith("/userinfo"):
            raise Refusal(403, "Bad_OAuth_Token")
        return USER if known else None

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
        self.over = False
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
        found = answered(asked.query.get("q", ""), self.records, {*FIELDS, *SYSTEM}, deleted=kind == "queryAll")
        return self._batch(found, f"0r8{next(self._numbers)}", 0)

    def more(self, _asked: Asked, _actor: str, place: str) -> Answered:
        """
        Give the next records of a query.
        """
        name, _, start = place.partition("-")
        return self._batch(self._rests[name], name, int(start))

    def _batch(self, found: list[Any], name: str, start: int) -> Answered:
        end = start + self.batch
        body: dict[str, Any] = {"totalSize": len(found), "done": end >= len(found), "records": found[start:end]}
        if not body["done"]:
            self._rests[name] = found
            body["nextRecordsUrl"] = f"/services/data/v62.0/query/{name}-{end}"
        return Answered(body=body)

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
        who = USER if ours else SOMEBODY
        record |= {"CreatedById": who, "LastModifiedById": who, "IsDeleted": False}
        self.records[name][number] = record
        self.tell("CREATE", record, tuple(fields), ours=ours)
        return record

    def change(self, record: dict[str, Any], *, ours: bool = False, at: str | None = None, **fields: Any) -> None:
        """
        Change fields of a record.
        """
        record |= {**fields, "SystemModstamp": at or _now()}
        record["LastModifiedById"] = USER if ours else SOMEBODY
        self.tell("UPDATE", record, tuple(fields), ours=ours)

    def delete(self, record: dict[str, Any]) -> None:
        """
        Put a record into the bin.
        """
        record |= {"IsDeleted": True, "SystemModstamp": _now()}
        self.tell("DELETE", record, (), ours=False)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", ".000+0000")


def _checked(fields: Mapping[str, Any]) -> dict[str, Any]:
    known = {*FIELDS, "Subject", "Status", "ActivityDate", "WhatId", "WhoId", "AccountId"}
    if unknown := sorted(set(fields) - known):
        raise Refusal(400, [{"message": f"No such column '{unknown[0]}'", "errorCode": "INVALID_FIELD"}])
    return dict(fields)


if __name__ == "__main__":
    main(SalesforceDouble)
