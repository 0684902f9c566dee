"""
Zendesk keeps the connector contract; its payloads are ours, shaped like the vendor's reference.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import hmac
import re
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any, ClassVar

import httpx
import orjson
import pytest

from connectors import catalog
from connectors.bench import KEY, NASTY, OTHER_KEY, Bench
from connectors.contract import Delivery
from connectors.declared import DeclaredConnector
from connectors.double import serving
from connectors.double_faults import Fault
from connectors.testing import ConnectorContract
from connectors.zendesk.double import AGENT_EMAIL, AGENT_ID, TOKEN, ZendeskDouble
from penstock.clock import SystemClock
from penstock.errors import Rejected, UnknownOutcome
from penstock.http_aiohttp import AiohttpHttp
from penstock.secrets import Secrets

BRIEF = "360001234567"
GUIDE = Path(__file__).parents[3] / "docs" / "howto" / "connect-zendesk.md"


class TestZendesk(ConnectorContract):
    name = "zendesk"
    environment: ClassVar = {"TOKEN": TOKEN, "HOOK": "canary-hook-new", "HOOK_OLD": "canary-hook-old"}
    credential = "TOKEN"
    action = "internal_note"
    given: ClassVar = {
        "set_fields": {"fields": {"priority": "urgent"}},
        "add_tags": {"fields": {"tags": ["vip"]}},
        "remove_tags": {"fields": {"tags": ["vip"]}},
        "create_ticket": {"text": "What to do", "fields": {"subject": "Follow up"}},
    }
    lacks: ClassVar = {
        "handshakes": "Zendesk delivers at once",
        "changes_both_ways": "an export says neither what changed nor who did it: changes are delivered only",
        "late_commits": "Zendesk's export withholds the last minute itself",
        "subscriptions": "Zendesk's webhooks do not expire",
    }
    lookup = "ticket"
    listing = "agent_notes"

    def settings(self, url: str) -> dict[str, Any]:
        hooks = ["${env:HOOK}", "${env:HOOK_OLD}"]
        return {
            "subdomain": "acme",
            "email": AGENT_EMAIL,
            "api_token": "${env:TOKEN}",
            "webhook_secret": hooks,
            "url": url,
            "brief_field": BRIEF,
        }

    @contextlib.asynccontextmanager
    async def pretend(self) -> AsyncIterator[tuple[ZendeskDouble, str]]:
        double = ZendeskDouble()
        double.withheld = 0.0
        async with serving(double) as url:
            yield double, url

    def record(self, double: ZendeskDouble, text: str) -> str:
        return str(double.opened(subject="Subject", description=text, requester_id=77)["id"])

    def main_text(self, record: Mapping[str, Any]) -> str:
        return str(record["description"])

    def written(self, double: ZendeskDouble, record: str) -> list[str]:
        return [note["body"] for note in double.notes[int(record)] if note["author_id"] == AGENT_ID]

    def comment_by_somebody(self, double: ZendeskDouble, record: str, text: str) -> None:
        double._comment(double.tickets[int(record)], {"body": text, "public": False}, "77")

    def prepare(self, double: ZendeskDouble, action: str) -> str:
        tags = ["vip"] if action == "remove_tags" else []
        return str(double.opened(subject="Subject", description="text", requester_id=77, tags=tags)["id"])

    def effects(self, double: ZendeskDouble, action: str, record: str) -> int:
        ticket = double.tickets[int(record)]
        match action:
            case "set_fields":
                return int(ticket["priority"] == "urgent")
            case "add_tags":
                return ticket["tags"].count("vip")
            case "remove_tags":
                return int("vip" not in ticket["tags"])
            case "create_ticket":
                return len([one for one in double.tickets.values() if one["subject"] == "Follow up"])
            case "living_brief":
                return [one["value"] for one in ticket["custom_fields"]].count("hello")
            case _:
                return super().effects(double, action, record)

    def changed(self, double: ZendeskDouble, source: str, count: int) -> list[str]:
        double.export_page = 70
        tickets = [double.opened(description="text") for _ in range(count)]
        for ticket in tickets:
            ticket["updated_at"] = tickets[-1]["updated_at"]
        return [str(ticket["id"]) for ticket in tickets]

    def expire(self, double: ZendeskDouble, source: str, cursor: bytes) -> bytes:
        double.exports += 1
        return cursor

    # ---- deliveries ---------------------------------------------------------------------------

    def test_signature_as_the_vendor_describes_it(self, connector: DeclaredConnector) -> None:
        """The signature is base64(HMAC-SHA256(secret, timestamp + body)), worked out here by hand."""
        body, stamp = connector.samples[0].body, "2026-01-05T09:00:08Z"
        digest = hmac.new(b"canary-hook-new", stamp.encode() + body, hashlib.sha256).digest()
        headers = {
            "x-zendesk-webhook-signature": base64.b64encode(digest).decode(),
            "x-zendesk-webhook-signature-timestamp": stamp,
        }
        delivery = Delivery(
            method="POST", url="https://x.example", headers=headers, body=body, received_ms=1_767_603_610_000
        )

        assert ["ticket/35436/created"] == [event.id for event in connector.receive(delivery).events]

    def test_vendor_words_become_ours(self, connector: DeclaredConnector) -> None:
        """Upper-case enums, string ids and `0` for nobody become the values lookups give."""
        [event] = connector.translate(connector.samples[0].body).events

        assert ("question", "new", "high") == (event.data["category"], event.data["status"], event.data["priority"])
        assert event.data["assignee_id"] is None
        assert "8447346622462" == event.data["org_id"]
        assert "https://pretended.example" == event.source

    @pytest.mark.parametrize(
        ("kind", "event_type", "changed"),
        [
            ("ticket.comment_added", "ticket.commented", ["comment"]),
            ("ticket.status_changed", "ticket.updated", ["status"]),
            ("ticket.ticket_type_changed", "ticket.updated", ["category"]),
            ("ticket.agent_assignment_changed", "ticket.updated", ["assignee_id"]),
            ("ticket.organization_changed", "ticket.updated", ["org_id"]),
            ("ticket.tags_changed", "ticket.updated", ["tags"]),
            ("ticket.merged", None, None),
        ],
    )
    def test_kinds(self, connector: DeclaredConnector, kind: str, event_type: str, changed: list[str]) -> None:
        """Each kind of ticket event has its type and names what changed; others are ignored with a reason."""
        body = orjson.loads(connector.samples[0].body) | {"type": f"zen:event-type:{kind}"}
        received = connector.translate(orjson.dumps(body))

        assert [event_type] * bool(event_type) == [event.type for event in received.events]
        assert [changed] * bool(event_type) == [event.data["changed"] for event in received.events]
        assert bool(received.ignored) is not bool(event_type)

    def test_two_changes_in_one_second_are_two_events(self, connector: DeclaredConnector) -> None:
        """The id of a change holds the change, not only its time."""
        body = orjson.loads(connector.samples[1].body)
        first = connector.translate(orjson.dumps(body)).events[0].id
        body["event"]["comment"]["id"] = "8447388099002"

        assert first != connector.translate(orjson.dumps(body)).events[0].id

    async def test_a_trigger_and_an_event_tell_of_one_ticket(self, bench: Bench) -> None:
        """The body of our guide, in a trigger's webhook, gives the event that the event webhook gives: once."""
        [template] = re.findall(r"```json\n(.*?)```", GUIDE.read_text(), re.DOTALL)
        bench.double.triggers.append(template)
        async with self.collecting(bench) as deliveries:
            number = bench.double.opened(
                subject='A "quoted" title', description=NASTY, tags=["vip", "eu"], priority="high", requester_id=77
            )["id"]
            await bench.double.hooks.settled()
            pushed, written = [event for delivery in deliveries for event in bench.connector.receive(delivery).events]

        assert (pushed.source, pushed.id, pushed.type) == (written.source, written.id, written.type)
        assert f"ticket/{number}/created" == written.id
        shared = ("subject", "description", "status", "priority", "tags", "requester_id", "org_id")
        assert {name: pushed.data[name] for name in shared} == {name: written.data[name] for name in shared}

    async def test_two_changes_told_by_a_trigger(self, bench: Bench) -> None:
        """Two changes of one minute are two events, a redelivery is none, and our own are known."""
        [template] = re.findall(r"```json\n(.*?)```", GUIDE.read_text(), re.DOTALL)
        body = template.replace('"penstock": "created"', '"penstock": "updated"')
        record = self.record(bench.double, "text")
        bench.double.triggers.append(body)
        async with self.collecting(bench) as deliveries:
            for status in ("open", "pending"):
                bench.double._set(bench.double.tickets[int(record)], {"status": status}, "77")
            await bench.connector.health(bench.call())
            await bench.connector.actions["set_fields"].write(
                record, {"fields": {"priority": "low"}}, "add", bench.call()
            )
            await bench.double.hooks.settled()
            bench.double.hooks.redeliver(1)
            await bench.double.hooks.settled()
        told = [delivery for delivery in deliveries if b'"penstock"' in delivery.body]
        events = [event for delivery in told for event in bench.connector.receive(delivery).events]

        assert 4 == len(events)
        assert 3 == len({event.id for event in events})
        assert ["open", "pending"] == [event.data["status"] for event in events if not bench.connector.own(event)]

    # ---- lookups ------------------------------------------------------------------------------

    async def test_requester_and_organization(self, bench: Bench) -> None:
        """Who asks and for whom: dates cut to the day, the tier from the organization's fields."""
        async with httpx.AsyncClient(base_url=bench.url, trust_env=False) as client:
            fields = {"tier": "gold"}
            organization = {
                "id": 5,
                "name": "Globex",
                "created_at": "2019-03-01T10:00:00Z",
                "organization_fields": fields,
            }
            await client.post("/_double/organizations", json=organization)
            await client.post("/_double/users", json={"id": 77, "name": "Ines", "organization_id": 5})
        lookups = bench.connector.lookups
        [organization] = await lookups["organization"].fetch("5", bench.call(), 1)
        [requester] = await lookups["requester"].fetch("77", bench.call(), 1)

        assert ("Globex", "2019-03-01", "gold") == (organization["name"], organization["since"], organization["tier"])
        assert ("Ines", "5") == (requester["name"], requester["org_id"])

    async def test_previous_tickets_newest_first_over_pages(self, bench: Bench) -> None:
        """The newest tickets come first, across pages, and no more than were asked for."""
        bench.double.users[77] = {"id": 77}
        for number in range(130):
            created = f"2026-01-05T{number // 60:02}:{number % 60:02}:00Z"
            bench.double.opened(requester_id=77, subject=str(number), created_at=created, silent=True)
        fetch = bench.connector.lookups["previous_tickets"].fetch

        assert ["129", "128", "127"] == [ticket["subject"] for ticket in await fetch("77", bench.call(), 3)]
        assert [str(number) for number in range(129, 9, -1)] == [
            ticket["subject"] for ticket in await fetch("77", bench.call(), 120)
        ]

    async def test_agent_notes_leave_public_replies_out(self, bench: Bench) -> None:
        """Only internal notes are agent notes."""
        record = self.record(bench.double, "text")
        ticket = bench.double.tickets[int(record)]
        bench.double._comment(ticket, {"body": "to the customer", "public": True}, "77")
        bench.double._comment(ticket, {"body": "among us", "public": False}, "77")
        notes = await bench.connector.lookups["agent_notes"].fetch(record, bench.call(), 10)

        assert ["among us"] == [note["text"] for note in notes]

    # ---- actions ------------------------------------------------------------------------------

    async def test_set_fields(self, bench: Bench) -> None:
        """Fields are set under the vendor's names, null too, and the others stay."""
        record = self.record(bench.double, "text")
        action = bench.connector.actions["set_fields"]
        fields = {"category": "incident", "priority": "urgent", "assignee_id": None}
        written = await action.write(record, {"fields": fields}, "add", bench.call())
        ticket = bench.double.tickets[int(record)]

        assert "keyed" == action.idempotency
        assert ("incident", "urgent", "Subject") == (ticket["type"], ticket["priority"], ticket["subject"])
        assert written.remote_id == record

    async def test_one_living_brief(self, bench: Bench) -> None:
        """A second brief stands in place of the first, and the change it causes is known by its value."""
        record = self.record(bench.double, "text")
        action = bench.connector.actions["living_brief"]
        async with self.collecting(bench) as deliveries:
            for text in ("first", NASTY, NASTY):
                await action.write(record, {"text": text}, "add", bench.call())
            await bench.double.hooks.settled()
        events = [event for delivery in deliveries for event in bench.connector.receive(delivery).events]

        assert [{"id": int(BRIEF), "value": NASTY}] == bench.double.tickets[int(record)]["custom_fields"]
        assert [["brief"], ["brief"]] == [event.data["changed"] for event in events]
        assert {"first", NASTY} == {event.data["brief"] for event in events}
        assert {"brief"} == action.touches

    def test_other_fields_have_names_too(self, connector: DeclaredConnector) -> None:
        """A custom field that is not the brief is named by its number."""
        body = orjson.loads(connector.samples[2].body) | {"type": "zen:event-type:ticket.custom_field_changed"}
        body["event"] |= {"field": {"id": "41", "type": "tagger"}, "current": "gold"}
        [event] = connector.translate(orjson.dumps(body)).events

        assert (["custom_field_41"], None) == (event.data["changed"], event.data["brief"])

    def test_no_brief_without_a_field(self) -> None:
        """Without the setting there is no such action, for a connection and for `check`."""
        given = {name: text for name, text in self.settings("https://x.example").items() if name != "brief_field"}

        assert "living_brief" not in catalog.spec("zendesk", given).actions
        assert "living_brief" in catalog.spec("zendesk", {**given, "brief_field": BRIEF}).actions
        assert "living_brief" in catalog.spec("zendesk").actions
        opened = catalog.open(
            "zendesk", given, secrets=Secrets(self.environment), http=AiohttpHttp(), clock=SystemClock()
        )
        assert "living_brief" not in opened.actions

    async def test_remove_tags_keeps_the_others(self, bench: Bench) -> None:
        """Taking a tag off twice is taking it off once."""
        record = str(bench.double.opened(description="x", tags=["old", "new"])["id"])
        action = bench.connector.actions["remove_tags"]
        for _ in range(2):
            await action.write(record, {"fields": {"tags": ["new"]}}, "add", bench.call())

        assert ["old"] == bench.double.tickets[int(record)]["tags"]

    async def test_a_ticket_is_opened_once(self, bench: Bench) -> None:
        """The same key opens one ticket, also when the first answer was lost; another key another."""
        action = bench.connector.actions["create_ticket"]
        args = {"text": "What to do", "fields": {"subject": "Follow up", "priority": "low"}}
        await bench.fault(kind="drop-after", match="^POST ")
        with pytest.raises(UnknownOutcome):
            await action.write("1", args, "add", bench.call())
        written = await action.write("1", args, "add", bench.call())
        other = await action.write("1", args, "add", bench.call(OTHER_KEY))

        assert ("keyed", 7200) == (action.idempotency, action.key_lifetime)
        assert [written.remote_id, other.remote_id] == [str(number) for number in bench.double.tickets]
        assert {"What to do"} == {ticket["description"] for ticket in bench.double.tickets.values()}

    async def test_add_tags_keeps_the_others(self, bench: Bench) -> None:
        """Adding tags twice is adding them once, and no tag is lost."""
        record = str(bench.double.opened(description="x", tags=["old"])["id"])
        action = bench.connector.actions["add_tags"]
        for _ in range(2):
            await action.write(record, {"fields": {"tags": ["new", "old"]}}, "add", bench.call())

        assert ["old", "new"] == bench.double.tickets[int(record)]["tags"]

    @pytest.mark.parametrize(
        "args", [{"fields": {"id": "1"}}, {"fields": {"status": "spam"}}, {"fields": {}}, {"text": "words"}]
    )
    async def test_what_cannot_be_set(self, bench: Bench, args: dict[str, Any]) -> None:
        """A field that may not be set, a value the vendor refuses, nothing, or a text: `Rejected`."""
        record = self.record(bench.double, "text")
        with pytest.raises(Rejected):
            await bench.connector.actions["set_fields"].write(record, args, "add", bench.call())

    async def test_a_closed_ticket_takes_no_note(self, bench: Bench) -> None:
        """What the vendor refuses for good is `Rejected` and says why."""
        record = self.record(bench.double, "text")
        bench.double.tickets[int(record)]["status"] = "closed"
        with pytest.raises(Rejected, match="closed prevents ticket update"):
            await self.write(bench, record)

    async def test_notes_cannot_be_replaced(self, bench: Bench) -> None:
        """The connector has no such mode, and the vendor no such address."""
        record = self.record(bench.double, "text")
        action = bench.connector.actions["internal_note"]
        with pytest.raises(Rejected, match="replace-own"):
            await action.write(record, {"text": "x"}, "replace-own", bench.call())
        written = await self.write(bench, record)
        async with httpx.AsyncClient(
            base_url=bench.url, auth=(f"{AGENT_EMAIL}/token", TOKEN), trust_env=False
        ) as client:
            path = f"/api/v2/tickets/{record}/comments/{written.remote_id}.json"
            answer = await client.put(path, json={"comment": {"body": "other"}})

        assert 404 == answer.status_code

    async def test_two_keys_are_two_notes(self, bench: Bench) -> None:
        """Notes of two runs stand beside each other."""
        record = self.record(bench.double, "text")
        await self.write(bench, record, "same", KEY)
        await self.write(bench, record, "same", OTHER_KEY)

        assert 2 == len(self.written(bench.double, record))

    async def test_our_note_is_found_behind_many(self, bench: Bench) -> None:
        """A note is found on a later page of the ticket's comments."""
        record = self.record(bench.double, "text")
        await self.write(bench, record)
        for number in range(250):
            self.comment_by_somebody(bench.double, record, f"note {number}")
        action = bench.connector.actions["internal_note"]

        assert action.find is not None
        assert await action.find(record, "add", bench.call())
        assert await action.find(record, "add", bench.call(OTHER_KEY)) is None

    # ---- the double ---------------------------------------------------------------------------

    async def test_double_creates_once_per_key(self, bench: Bench) -> None:
        """Like the vendor, the double creates one ticket per Idempotency-Key and says hit or miss."""
        auth = (f"{AGENT_EMAIL}/token", TOKEN)
        async with httpx.AsyncClient(base_url=bench.url, auth=auth, trust_env=False) as client:
            send = {"ticket": {"subject": "s", "comment": {"body": "b"}}}
            first, again = [
                await client.post("/api/v2/tickets.json", json=send, headers={"idempotency-key": "k1"}) for _ in "12"
            ]
            other = await client.post("/api/v2/tickets.json", json={"ticket": {}}, headers={"idempotency-key": "k1"})

        assert ["miss", "hit"] == [answer.headers["x-idempotency-lookup"] for answer in (first, again)]
        assert first.json()["ticket"]["id"] == again.json()["ticket"]["id"]
        assert 400 == other.status_code

    async def test_faults_come_in_order_and_end(self, bench: Bench) -> None:
        """A fault lets `skip` requests pass, hits `times` of those that match, then is over."""
        bench.double.faults.add(Fault(kind="status", status=503, match="^GET /api/v2/users", times=2, skip=1))
        call = bench.call()
        states = [(await bench.connector.health(call)).state for _ in range(4)]

        assert ["ok", "down", "down", "ok"] == states
        assert [None, "status", "status", None] == [line["fault"] for line in bench.double.calls]
