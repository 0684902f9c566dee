"""
HubSpot keeps the connector contract; its payloads are ours, shaped like the vendor's reference.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import hmac
import html
from collections.abc import AsyncIterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar

import httpx
import orjson
import pytest

from connectors import catalog
from connectors.bench import KEY, NASTY, OTHER_KEY, Bench
from connectors.contract import Delivery
from connectors.declared import DeclaredConnector
from connectors.double import serving
from connectors.hubspot.double import APP, PORTAL, TOKEN, HubspotDouble, now
from connectors.testing import ConnectorContract
from penstock.clock import SystemClock
from penstock.errors import Forged, NotFound, Rejected, Unavailable
from penstock.http_aiohttp import AiohttpHttp
from penstock.secrets import Secrets


class TestHubspot(ConnectorContract):
    name = "hubspot"
    environment: ClassVar = {"TOKEN": TOKEN, "HOOK": "canary-hook-new", "HOOK_OLD": "canary-hook-old"}
    credential = "TOKEN"
    action = "brief"
    given: ClassVar = {"set_fields": {"fields": {"subject": "Other"}}, "note": {"text": "Called them."}}
    lacks: ClassVar = {
        "find": "a note cannot be read back at once, and all else is keyed",
        "handshakes": "HubSpot delivers at once",
        "changes_both_ways": "a search says neither which property changed nor who did it: changes are delivered only",
        "expiry": "its searches go by time, which does not expire",
        "subscriptions": "the webhooks of an app do not expire",
    }
    lookup = "ticket"
    listing = "contacts_of"

    def settings(self, url: str) -> dict[str, Any]:
        return {
            "portal_id": str(PORTAL),
            "app_id": str(APP),
            "access_token": "${env:TOKEN}",
            "client_secret": ["${env:HOOK}", "${env:HOOK_OLD}"],
            "brief_property": "ai_brief",
            "properties": ["tier"],
            "catch_up": ["contacts", "tickets"],
            "url": url,
        }

    @contextlib.asynccontextmanager
    async def pretend(self) -> AsyncIterator[tuple[HubspotDouble, str]]:
        double = HubspotDouble()
        async with serving(double) as url:
            yield double, url

    def record(self, double: HubspotDouble, text: str) -> str:
        number = double.created("tickets", content=text)["id"]
        double.associated["tickets", number] = ["1", "2", "3", "4"]
        return f"tickets/{number}"

    def main_text(self, record: Mapping[str, Any]) -> str:
        return str(record["content"])

    def written(self, double: HubspotDouble, record: str) -> list[str]:
        found = self._properties(double, record)
        return [found["ai_brief"]] if "ai_brief" in found else []

    def comment_by_somebody(self, double: HubspotDouble, record: str, text: str) -> None:
        many, _, number = record.partition("/")
        double.changed(many, number, {"subject": text})

    def effects(self, double: HubspotDouble, action: str, record: str) -> int:
        match action:
            case "set_fields":
                return int(self._properties(double, record).get("subject") == "Other")
            case "note":
                return len(double.notes)
            case _:
                return super().effects(double, action, record)

    def change_again(self, double: HubspotDouble, record: str) -> None:
        number = record.partition("/")[2]
        same = {"propertyName": "subject", "propertyValue": "again"}
        double.tell([double._told("tickets", number, "propertyChange", "CRM_UI", "userId:77", **same)])

    def changed(self, double: HubspotDouble, source: str, count: int) -> list[str]:
        at = now()
        return [f"{source}/{double.created(source, at=at)['id']}" for _ in range(count)]

    def late(self, double: HubspotDouble, source: str) -> str:
        early = (datetime.now(UTC) - timedelta(seconds=2)).isoformat(timespec="milliseconds")
        record = double.created(source, at=early)
        record["createdAt"] = now()
        return f"{source}/{record['id']}"

    def _properties(self, double: HubspotDouble, record: str) -> dict[str, Any]:
        many, _, number = record.partition("/")
        found: dict[str, Any] = double.records[many][number]["properties"]
        return found

    # ---- deliveries ---------------------------------------------------------------------------

    @pytest.mark.parametrize(
        ("public", "asked"),
        [
            (None, "https://hub.acme.example/in/crm"),
            ("https://hub.acme.example", "http://10.0.0.7:8080/in/crm"),
            ("https://hub.acme.example/", "http://hub.acme.example/in/crm"),
        ],
    )
    def test_signature_as_the_vendor_describes_it(self, public: str | None, asked: str) -> None:
        """
        `base64(HMAC-SHA256(secret, method + uri + body + timestamp))` with milliseconds, worked out by hand; the
        address is the one HubSpot called, whatever a proxy made of it.
        """
        given = self.settings("https://x.example") | ({"public_url": public} if public else {})
        connector = catalog.open(
            "hubspot", given, secrets=Secrets(self.environment), http=AiohttpHttp(), clock=SystemClock()
        )
        body, stamp = connector.samples[0].body, "1767603610000"
        message = b"POST" + b"https://hub.acme.example/in/crm" + body + stamp.encode()
        signature = base64.b64encode(hmac.new(b"canary-hook-new", message, hashlib.sha256).digest()).decode()
        headers = {"x-hubspot-signature-v3": signature, "x-hubspot-request-timestamp": stamp}

        def delivery(url: str, received_ms: int = 1_767_603_612_000) -> Delivery:
            return Delivery(method="POST", url=url, headers=headers, body=body, received_ms=received_ms)

        assert 3 == len(connector.receive(delivery(asked)).events)
        with pytest.raises(Forged):
            connector.receive(delivery(asked.replace("/in/crm", "/in/other")))
        with pytest.raises(Forged):
            connector.receive(delivery(asked, 1_767_603_610_000 + 301_000))

    def test_one_odd_item_costs_no_other(self, connector: DeclaredConnector) -> None:
        """HubSpot never sends again what was answered with 400, so the others of the batch are taken."""
        good = orjson.loads(connector.samples[0].body)
        odd = [None, 5, "x", [], {}, {"subscriptionType": "contact.creation"}, {**good[0], "occurredAt": None}]
        odd += [
            {**good[0], "subscriptionType": "contact.merge"},
            {**good[0], "subscriptionType": "conversation.creation"},
        ]
        odd += [{**good[0], "subscriptionType": "nothing"}, {**good[0], "portalId": 99}]
        received = connector.translate(orjson.dumps([*odd, *good, *odd]))

        assert 3 == len(received.events)

    def test_ids_are_of_the_change(self, connector: DeclaredConnector) -> None:
        """Another attempt, event id or subscription is the same event; another value, time or property another one."""
        change = orjson.loads(connector.samples[0].body)[1]

        def ids(**other: Any) -> set[str]:
            both = [change, {**change, **other}]
            return {event.id for event in connector.translate(orjson.dumps(both)).events}

        for same in ({"attemptNumber": 3}, {"eventId": 1}, {"subscriptionId": 2}):
            assert 1 == len(ids(**same))
        for other in ({"propertyValue": "lead"}, {"occurredAt": change["occurredAt"] + 1}, {"propertyName": "email"}):
            assert 2 == len(ids(**other))

    def test_imports(self, connector: DeclaredConnector) -> None:
        """They are left out with a reason, unless somebody wants them."""
        body = next(sample.body for sample in connector.samples if sample.name == "an import")
        given = self.settings("https://x.example") | {"imports": "take"}
        taking = catalog.open(
            "hubspot", given, secrets=Secrets(self.environment), http=AiohttpHttp(), clock=SystemClock()
        )
        assert isinstance(taking, DeclaredConnector)

        assert "import" in str(connector.translate(body).ignored)
        assert 2 == len(taking.translate(body).events)

    def test_another_account_is_not_ours(self, connector: DeclaredConnector) -> None:
        """An app may be installed in several accounts; a connection is one of them."""
        body = orjson.loads(connector.samples[0].body)

        assert connector.translate(orjson.dumps([{**item, "portalId": 99} for item in body])).ignored

    async def test_one_delivery_is_a_batch(self, bench: Bench) -> None:
        """Every property that changed is an event, and names itself as what changed."""
        record = self.record(bench.double, "text")
        async with self.collecting(bench) as deliveries:
            bench.double.changed("tickets", record.partition("/")[2], {"subject": "s", "hs_ticket_priority": "HIGH"})
            await bench.double.hooks.settled()
        [delivery] = deliveries
        events = bench.connector.receive(delivery).events

        assert [["subject"], ["hs_ticket_priority"]] == [event.data["changed"] for event in events]
        assert ["s", "HIGH"] == [event.data["value"] for event in events]

    async def test_another_app_is_not_us(self, bench: Bench) -> None:
        """An integration that is not ours is no own write."""
        record = self.record(bench.double, "text")
        async with self.collecting(bench) as deliveries:
            number = record.partition("/")[2]
            bench.double.changed("tickets", number, {"subject": "s"}, source="INTEGRATION", by="111")
            await bench.double.hooks.settled()
        [event] = bench.connector.receive(deliveries[0]).events

        assert bench.connector.own(event) is None

    # ---- health -------------------------------------------------------------------------------

    async def test_a_token_of_another_account(self) -> None:
        """It is told at once."""
        async with self.pretend() as (_, url):
            http = AiohttpHttp()
            given = self.settings(url) | {"portal_id": "99"}
            connector = catalog.open(
                "hubspot", given, secrets=Secrets(self.environment), http=http, clock=SystemClock()
            )
            bench = Bench(connector=connector, double=None, url=url, http=http)
            health = await connector.health(bench.call())
            await http.close()

        assert "auth" == health.state

    # ---- lookups ------------------------------------------------------------------------------

    async def test_records_by_subject_and_by_id(self, bench: Bench) -> None:
        """A lookup takes `contacts/12` or `12`, and no id of another kind."""
        number = bench.double.created("contacts", email="ines@example.com", tier="gold")["id"]
        fetch = bench.connector.lookups["contact"].fetch
        [found], [again] = await fetch(f"contacts/{number}", bench.call(), 1), await fetch(number, bench.call(), 1)

        assert found == again
        assert ("ines@example.com", "gold") == (found["email"], found["properties"]["tier"])
        assert "hs_object_source" not in found["properties"], "nothing is read that was not asked for"
        for wrong in (f"deals/{number}", f"contacts/{number}/x", "contacts/"):
            with pytest.raises(NotFound):
                await fetch(wrong, bench.call(), 1)

    async def test_associated_ids(self, bench: Bench) -> None:
        """With the record itself, and as a list over pages."""
        deal = bench.double.created("deals", dealname="Renewal", amount="1200")["id"]
        bench.double.associated["deals", deal] = [str(number) for number in range(130)]
        [found] = await bench.connector.lookups["deal"].fetch(deal, bench.call(), 1)
        listed = await bench.connector.lookups["contacts_of"].fetch(f"deals/{deal}", bench.call(), 120)

        assert (130, [], "1200") == (len(found["contact_ids"]), found["company_ids"], found["amount"])
        assert [str(number) for number in range(120)] == [one["id"] for one in listed]

    async def test_companies_and_owners(self, bench: Bench) -> None:
        """What is not there is null."""
        company = bench.double.created("companies", name="Globex", hubspot_owner_id="5")["id"]
        [found] = await bench.connector.lookups["company"].fetch(company, bench.call(), 1)
        [owner] = await bench.connector.lookups["owner"].fetch(found["owner_id"], bench.call(), 1)

        assert ("Globex", None, "Mira") == (found["name"], found["domain"], owner["first_name"])

    # ---- actions ------------------------------------------------------------------------------

    async def test_set_fields(self, bench: Bench) -> None:
        """Properties by their own names; setting them twice is once, and the others stay."""
        number = bench.double.created("contacts", email="a@b.example", lifecyclestage="lead")["id"]
        action = bench.connector.actions["set_fields"]
        async with self.collecting(bench) as deliveries:
            for _ in range(2):
                fields = {"lifecyclestage": "customer", "tier": "gold"}
                await action.write(f"contacts/{number}", {"fields": fields}, "add", bench.call())
            await bench.double.hooks.settled()
        [delivery] = deliveries

        assert "keyed" == action.idempotency
        assert all(bench.connector.own(event) for event in bench.connector.receive(delivery).events)
        found = bench.double.records["contacts"][number]["properties"]
        assert ("customer", "gold", "a@b.example") == (found["lifecyclestage"], found["tier"], found["email"])
        assert {"lifecyclestage", "dealstage"} <= catalog.spec("hubspot").actions["set_fields"].steers

    @pytest.mark.parametrize("fields", [{"lifecyclestage": "king"}, {"no_such": "1"}, {}])
    async def test_what_cannot_be_set(self, bench: Bench, fields: dict[str, Any]) -> None:
        """A property that is not there, or a value it does not take, is `Rejected`, after one request."""
        number = bench.double.created("contacts")["id"]
        with pytest.raises(Rejected):
            await bench.connector.actions["set_fields"].write(
                f"contacts/{number}", {"fields": fields}, "add", bench.call()
            )

        assert len(bench.double.calls) <= 1

    async def test_a_note(self, bench: Bench) -> None:
        """It stands at its record as text, not as HTML; it is not repeated in doubt."""
        record = self.record(bench.double, "text")
        action = bench.connector.actions["note"]
        await action.write(record, {"text": NASTY}, "add", bench.call())
        [note] = bench.double.notes
        lines = [html.unescape(line) for line in note["properties"]["hs_note_body"].split("<br>")]

        assert "blind" == action.idempotency
        assert action.find is None
        assert NASTY.replace("\r\n", "\n").split("\n") == lines
        [link] = note["associations"]
        assert (record, 228) == (f"tickets/{link['to']['id']}", link["types"][0]["associationTypeId"])

    async def test_one_brief(self, bench: Bench) -> None:
        """A second brief stands in place of the first."""
        record = self.record(bench.double, "text")
        await self.write(bench, record, "first", KEY)
        await self.write(bench, record, "second", OTHER_KEY)

        assert ["second"] == self.written(bench.double, record)
        assert {"brief"} == bench.connector.actions["brief"].touches
        given = {name: value for name, value in self.settings("https://x.example").items() if name != "brief_property"}
        assert "brief" not in catalog.spec("hubspot", given).actions

    async def test_limits(self, bench: Bench) -> None:
        """HubSpot says how much is left, and may ask to wait without saying how long."""
        await bench.connector.health(bench.call())
        health = await bench.connector.health(bench.call())
        record = self.record(bench.double, "text")
        await bench.fault(kind="status", status=429, body={"policyName": "TEN_SECONDLY_ROLLING"})
        with pytest.raises(Unavailable) as raised:
            await self.write(bench, record)

        assert health.quota_left is not None
        assert raised.value.retry_after is None

    async def test_a_missing_scope_of_a_write(self, bench: Bench) -> None:
        """It ends this write, and shuts nothing: other writes have other scopes."""
        record = self.record(bench.double, "text")
        await bench.fault(kind="status", status=403, body={"category": "MISSING_SCOPES"})
        with pytest.raises(Rejected):
            await self.write(bench, record)

    # ---- the double ---------------------------------------------------------------------------

    async def test_the_double_refuses_like_the_vendor(self, bench: Bench) -> None:
        """A search ends at ten thousand, and a note needs its time."""
        headers = {"authorization": f"Bearer {TOKEN}"}
        query = {
            "filterGroups": [{"filters": [{"propertyName": "lastmodifieddate", "operator": "GTE", "value": "0"}]}],
            "sorts": [{"propertyName": "lastmodifieddate", "direction": "ASCENDING"}],
            "limit": 100,
        }
        async with httpx.AsyncClient(base_url=bench.url, headers=headers, trust_env=False) as client:
            far = await client.post("/crm/v3/objects/contacts/search", json={**query, "after": "9950"})
            near = await client.post("/crm/v3/objects/contacts/search", json=query)
            note = await client.post("/crm/v3/objects/notes", json={"properties": {"hs_note_body": "x"}})

        assert (400, 200, 400) == (far.status_code, near.status_code, note.status_code)
