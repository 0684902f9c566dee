"""
Salesforce keeps the connector contract, by its stream and by polls; its double speaks real gRPC and Avro.
"""

from __future__ import annotations

import base64
import contextlib
from collections.abc import AsyncIterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar

import orjson
import pytest

from connectors.bench import Bench, read_on
from connectors.contract import Page
from connectors.double import serving
from connectors.salesforce import changes
from connectors.salesforce.double import CLIENT, SECRET, SalesforceDouble
from connectors.salesforce.double_stream import USER, replay_of
from connectors.testing import ConnectorContract
from connectors.testing_bench import PRETENDED
from connectors.testing_points import Need, point
from connectors.testing_portrait import READ_FAULTS, WRITE_FAULTS, Portrait
from connectors.testing_sources import SourcesContract
from penstock.errors import AuthFailed, Unavailable

RENEWED = ({"kind": "status", "status": 401, "times": 3}, AuthFailed)  # one alone says that a session is over
LACKS: Mapping[Need, str] = {
    "deliveries": "Salesforce delivers nothing: changes are read",
    "old_secret": "it has no deliveries",
    "handshakes": "it has no deliveries",
    "both_ways": "an org is read by its stream or by polls, never by both at once",
    "subscriptions": "a stream has nothing that has to be renewed",
}


class OrgBench(Bench):
    """
    Signing in is no business of what fails here; and where a stream ends, its double knows.
    """

    async def fault(self, **fault: Any) -> None:
        await super().fault(**{"match": "/services/(data|oauth2/userinfo)", **fault})

    def refused(self) -> list[Any]:
        return [call for call in self.requests() if call["status"] in (400, 401)]

    def over(self, page: Page) -> bool:
        replay = orjson.loads(page.cursor or b"{}").get("replay")
        return bool(replay == base64.b64encode(replay_of(len(self.double.events))).decode())


class Portrayed(Portrait):
    """
    An org with accounts and their contacts.
    """

    name = "salesforce"
    environment: ClassVar = {"SECRET": SECRET}
    credential = "SECRET"
    action = "note"
    echoed = "update_account"
    given: ClassVar = {
        "create_account": {"fields": {"Name": "Made"}},
        "create_contact": {"fields": {"Name": "Made"}},
        "update_account": {"fields": {"Industry": "Retail"}},
        "update_contact": {"fields": {"Name": "Renamed"}},
        "upsert_account": {"fields": {"Industry": "Retail"}},
    }
    lookup = "account"
    listing = "contacts_of"
    unknown = ("999999999", "..", "../../x", "", "001", "001' OR Name != '", "a/b", "001000000000999AAA")
    benches = OrgBench
    most_requests = 2  # a sign-in, and the query
    write_match = "^(POST|PATCH) /services/data"
    keeps_threads = r"^asyncio_|^Thread-.*(_poll_wrapper|grpc)"
    read_faults = (RENEWED, *(fault for fault in READ_FAULTS if fault[0].get("status") != 401))
    write_faults = (RENEWED, *(fault for fault in WRITE_FAULTS if fault[0].get("status") != 401))
    way = "stream"
    pubsub = "127.0.0.1:9"

    def settings(self, url: str) -> dict[str, Any]:
        account = {"fields": ["Name", "Industry", "Description"], "external_id": "Hub_Key__c", "upsert_on": "ERP__c"}
        return {
            "domain": "acme.my",
            "client_id": CLIENT,
            "client_secret": "${env:SECRET}",
            "objects": {"Account": account, "Contact": {"fields": ["Name"]}},
            "lookups": {"contacts_of": {"object": "Contact", "by": "AccountId", "fields": {"name": "Name"}}},
            "changes": self.way,
            "pubsub": self.pubsub,
            **({"url": url} if url != PRETENDED else {}),
        }

    @contextlib.asynccontextmanager
    async def pretend(self) -> AsyncIterator[tuple[SalesforceDouble, str]]:
        double = SalesforceDouble()
        async with serving(double) as url, double.pubsub() as self.pubsub:
            yield double, url

    def record(self, double: SalesforceDouble, text: str) -> str:
        number = str(double.made("Account", Name="Nadia Ltd", Description=text)["Id"])
        for name in ("Ann", "Ben", "Cid"):
            double.made("Contact", Name=name, AccountId=number)
        return number

    def main_text(self, record: Mapping[str, Any]) -> str:
        return str(record["Description"])

    def written(self, double: SalesforceDouble, record: str) -> list[str]:
        tasks = double.records["Task"].values()
        return [task["Description"] for task in tasks if task["WhatId"] == record and task["CreatedById"] == USER]

    def comment_by_somebody(self, double: SalesforceDouble, record: str, text: str) -> None:
        copied = [task for task in double.records["Task"].values() if task["Description"] == text]
        subject = copied[0]["Subject"] if copied else "Call"
        double.made("Task", Subject=subject, Description=text, WhatId=record)
        double.change(double.records["Account"][record], Name=text[:80])

    def prepare(self, double: SalesforceDouble, action: str) -> str:
        if action == "upsert_account":
            double.made("Account", Name="Nadia Ltd", ERP__c="47 11")
            return "47 11"
        if action == "update_contact":
            return str(double.made("Contact", Name="Ann")["Id"])
        return self.record(double, "text")

    def effects(self, double: SalesforceDouble, action: str, record: str) -> int:
        verb, _, short = action.partition("_")
        rows = list(double.records.get(short.title(), {}).values())
        match verb:
            case "create":
                return len([row for row in rows if row["Name"] == "Made"])
            case "update":
                [row] = [row for row in rows if row["Id"] == record]
                return int("Retail" == row["Industry"] or row["Name"] == "Renamed")
            case "upsert":
                return len([row for row in rows if row["ERP__c"] == record and row["Industry"] == "Retail"])
            case _:
                return len(self.written(double, record))

    def changed(self, double: SalesforceDouble, source: str, count: int) -> list[str]:
        at = stamp(0)
        return [double.made("Account", Name=f"A{number}", at=at)["Id"] for number in range(count)]

    async def refuse(self, bench: Bench) -> None:
        """Give tokens and refuse them: where simple-salesforce by itself asks hundreds of times."""
        bench.double.refuses = True


class TestSalesforce(Portrayed, ConnectorContract):
    lacks: ClassVar = {
        **LACKS,
        "late_commits": "a stream goes by positions, not by time; polls are tested beside this",
    }

    def expire(self, double: SalesforceDouble, source: str, cursor: bytes) -> bytes:
        double.oldest = len(double.events)
        return cursor

    @point(10)
    @pytest.mark.parametrize("header", ["7", "date:8"])
    async def test_a_wait_asked_for_at_the_door(self, bench: Bench, header: str) -> None:
        """A sign-in that comes too often is no wrong secret; the wait is passed on."""
        await bench.fault(kind="status", status=429, retry_after=header, match="oauth2/token")
        with pytest.raises(Unavailable) as raised:
            await bench.connector.lookups["account"].fetch("001000000000999AAA", bench.call(), 1)

        assert 6 <= (raised.value.retry_after or 0) <= 8


class TestPolls(Portrayed, SourcesContract):
    way = "poll"
    lacks: ClassVar = {**LACKS, "expiry": "time does not expire"}

    @pytest.fixture(autouse=True)
    def _small_pages(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(changes, "PAGE", 60)

    def late(self, double: SalesforceDouble, source: str) -> str:
        return str(double.made("Account", Name="late", at=stamp(-30))["Id"])

    @point(8)
    @pytest.mark.parametrize("verb", ["created", "updated"])
    async def test_two_changes_within_a_second(self, bench: Bench, verb: str) -> None:
        """Salesforce tells the time of a change in whole seconds: one that comes after a reading is not lost in one."""
        source, at = bench.connector.sources["polled"], stamp(0)
        account = bench.double.made("Account", Name="one", at=at if verb == "created" else stamp(-600))
        ids: list[str] = []
        cursor = (await read_on(source, None, bench))[1]
        for name in ("two", "three"):
            bench.double.change(account, Name=name, at=at)
            events, cursor = await read_on(source, cursor, bench)
            again, _ = await read_on(source, cursor, bench)
            ids += [event.id for event in events if event.type == "account.updated"]
            assert [event.data["Name"] for event in events][-1:] == [name]
            assert not again

        assert len(set(ids)) == len(ids) >= 1


def stamp(seconds: float) -> str:
    """
    Return a time so many *seconds* from now, as Salesforce tells it.
    """
    return (datetime.now(UTC) + timedelta(seconds=seconds)).isoformat(timespec="seconds").replace("+00:00", ".000+0000")
