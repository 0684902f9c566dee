"""
A system that is described where its connection is keeps the connector contract: our pretended order system.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, ClassVar

import orjson
from ruamel.yaml import YAML

from connectors.contract import Connector, Delivery, Reply, Sample
from connectors.double import serving
from connectors.rest.double import TOKEN, RestDouble
from connectors.testing import ConnectorContract

DESCRIBED: Mapping[str, Any] = {
    name: given
    for name, given in YAML(typ="safe", pure=True).load(Path(__file__).with_name("orders.yaml")).items()
    if name != "connector"
}
ORDER = {
    "id": "1001",
    "text": "A bike",
    "status": "new",
    "version": 1,
    "created_at": "2026-01-05T09:00:00Z",
    "updated_at": "2026-01-05T09:00:00Z",
    "changed": [],
    "by": "ines",
}
REMARK = {"id": "7", "text": "By Friday, please.", "by": "ines", "at": "2026-01-05T09:30:00Z"}
SAMPLES = (
    Sample(
        name="an order is placed",
        headers={},
        body=orjson.dumps({"type": "order.placed", "order": ORDER, "remark": None}),
        events=({"type": "order.placed", "id": "order/1001/1", "subject": "1001", "actor": "ines"},),
    ),
    Sample(
        name="a remark",
        headers={},
        body=orjson.dumps({"type": "order.remarked", "order": ORDER, "remark": REMARK}),
        events=({"type": "order.remarked", "id": "order/1001/remark/7", "subject": "1001"},),
    ),
    Sample(name="something else", headers={}, body=orjson.dumps({"type": "order.counted", "order": ORDER}), events=()),
)


class TestRest(ConnectorContract):
    name = "rest"
    environment: ClassVar = {"TOKEN": TOKEN, "HOOK": "canary-hook-new", "HOOK_OLD": "canary-hook-old"}
    credential = "TOKEN"
    action = "note"
    given: ClassVar = {"set_fields": {"fields": {"status": "packed"}}}
    lacks: ClassVar = {
        "expiry": "the poll described here goes by time, which does not expire",
        "subscriptions": "deliveries to a described system are set up by a person, and do not expire",
    }
    lookup = "order"
    listing = "remarks"

    def settings(self, url: str) -> dict[str, Any]:
        return {**DESCRIBED, "url": url}

    def _open(self, *parts: Any) -> Connector:
        connector = super()._open(*parts)
        connector.samples = SAMPLES  # a description in a connection has none of its own
        return connector

    @contextlib.asynccontextmanager
    async def pretend(self) -> AsyncIterator[tuple[RestDouble, str]]:
        double = RestDouble()
        async with serving(double) as url:
            yield double, url

    def record(self, double: RestDouble, text: str) -> str:
        return str(double.placed(text=text)["id"])

    def main_text(self, record: Mapping[str, Any]) -> str:
        return str(record["text"])

    def written(self, double: RestDouble, record: str) -> list[str]:
        return [remark["text"] for remark in double.said[record] if remark["by"] == "hub"]

    def comment_by_somebody(self, double: RestDouble, record: str, text: str) -> None:
        double.remarked(record, text, by="ines")

    def change_again(self, double: RestDouble, record: str) -> None:
        double.changed(record, {"text": "again"}, by="ines")

    def effects(self, double: RestDouble, action: str, record: str) -> int:
        if action == "set_fields":
            return int(double.orders[record]["status"] == "packed")
        return len(self.written(double, record))

    def changed(self, double: RestDouble, source: str, count: int) -> list[str]:
        at = double.placed(told=False)["updated_at"]
        return [str(double.placed(at=at, told=False)["id"]) for _ in range(count)]

    def late(self, double: RestDouble, source: str) -> str:
        early = datetime.now(UTC) - timedelta(seconds=2)
        order = double.placed(told=False)
        order["updated_at"] = early.isoformat(timespec="seconds").replace("+00:00", "Z")
        return str(order["id"])

    def handshakes(self, connector: Connector) -> list[tuple[Delivery, Reply | None]]:
        asked = self.delivery(connector, orjson.dumps({"type": "webhook.check", "challenge": "abc"}))
        return [(asked, Reply(headers={"content-type": "text/plain; charset=utf-8"}, body=b"abc"))]

    def forgeries(self, connector: Connector, good: Delivery) -> list[Delivery]:
        stamp = "webhook-timestamp"
        bad = [{**good.headers, stamp: text} for text in ("", "now", "1", "9" * 30)]
        bad.append({**good.headers, "webhook-id": "msg_of_another"})
        bad += [dict(self.delivery(connector, good.body, late=late).headers) for late in (301, -301)]
        return [*super().forgeries(connector, good), *(replace(good, headers=headers) for headers in bad)]
