"""
Jira keeps the connector contract; its payloads are ours, shaped like the vendor's reference.
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
from collections.abc import AsyncIterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar

import httpx
import orjson
import pytest

from connectors.bench import KEY, OTHER_KEY, Bench
from connectors.contract import Delivery
from connectors.declared import DeclaredConnector
from connectors.double import serving
from connectors.jira.double import ACCOUNT, EMAIL, TOKEN, JiraDouble
from connectors.jira.double_text import plain
from connectors.testing import ConnectorContract
from penstock.errors import NotFound, Rejected


class TestJira(ConnectorContract):
    name = "jira"
    environment: ClassVar = {"TOKEN": TOKEN, "HOOK": "canary-hook-new", "HOOK_OLD": "canary-hook-old"}
    credential = "TOKEN"
    action = "internal_note"
    given: ClassVar = {
        "set_fields": {"fields": {"summary": "Another"}},
        "add_labels": {"fields": {"labels": ["vip"]}},
        "remove_labels": {"fields": {"labels": ["vip"]}},
    }
    lacks: ClassVar = {
        "handshakes": "Jira delivers at once",
        "expiry": "its searches go by time, which does not expire",
        "subscriptions": "webhooks of an administrator do not expire",
    }
    lookup = "issue"
    listing = "comments"

    def settings(self, url: str) -> dict[str, Any]:
        return {
            "site": "acme",
            "email": EMAIL,
            "api_token": "${env:TOKEN}",
            "webhook_secret": ["${env:HOOK}", "${env:HOOK_OLD}"],
            "url": url,
        }

    @contextlib.asynccontextmanager
    async def pretend(self) -> AsyncIterator[tuple[JiraDouble, str]]:
        double = JiraDouble()
        async with serving(double) as url:
            yield double, url

    def record(self, double: JiraDouble, text: str) -> str:
        return str(double.opened(summary="Summary", description=text)["key"])

    def main_text(self, record: Mapping[str, Any]) -> str:
        return str(record["description"])

    def written(self, double: JiraDouble, record: str) -> list[str]:
        ours = [one for one in double.comments[record] if one["author"]["accountId"] == ACCOUNT]
        return [plain(one["body"]) for one in ours]

    def comment_by_somebody(self, double: JiraDouble, record: str, text: str) -> None:
        double.commented(record, text)

    def prepare(self, double: JiraDouble, action: str) -> str:
        labels = ["vip"] if action == "remove_labels" else []
        return str(double.opened(summary="Summary", description="text", labels=labels)["key"])

    def effects(self, double: JiraDouble, action: str, record: str) -> int:
        fields = double.issues[record]["fields"]
        match action:
            case "set_fields":
                return int(fields["summary"] == "Another")
            case "add_labels":
                return int(fields["labels"].count("vip"))
            case "remove_labels":
                return int("vip" not in fields["labels"])
            case _:
                return len(self.written(double, record))

    def changed(self, double: JiraDouble, source: str, count: int) -> list[str]:
        double.page_most = 70
        at = datetime.now(UTC).isoformat(timespec="milliseconds")
        return [str(double.opened(at=at)["key"]) for _ in range(count)]

    def late(self, double: JiraDouble, source: str) -> str:
        at = (datetime.now(UTC) - timedelta(seconds=2)).isoformat(timespec="milliseconds")
        key = str(double.opened(at=at)["key"])
        double.issues[key]["fields"]["created"] = datetime.now(UTC).isoformat(timespec="milliseconds")
        return key

    # ---- deliveries ---------------------------------------------------------------------------

    def test_signature_as_the_vendor_describes_it(self, connector: DeclaredConnector) -> None:
        """`X-Hub-Signature: sha256=` and the hex HMAC of the body, worked out by hand; `-256` is another vendor's."""
        body = connector.samples[0].body
        digest = "sha256=" + hmac.new(b"canary-hook-new", body, hashlib.sha256).hexdigest()

        def delivery(header: str) -> Delivery:
            return Delivery(method="POST", url="", headers={header: digest}, body=body, received_ms=0)

        assert [event.id for event in connector.receive(delivery("x-hub-signature")).events] == ["issue/10042/created"]
        with pytest.raises(Rejected):
            connector.receive(delivery("x-hub-signature-256"))

    def test_the_unsigned_id_names_nothing(self, connector: DeclaredConnector) -> None:
        """Another `X-Atlassian-Webhook-Identifier` is the same event, and the same one is not."""
        signed = self.delivery(connector, connector.samples[1].body)
        ids = set()
        for name in ("a", "b"):
            headers = {**signed.headers, "x-atlassian-webhook-identifier": name}
            again = Delivery(method="POST", url="", headers=headers, body=signed.body, received_ms=signed.received_ms)
            ids |= {event.id for event in connector.receive(again).events}

        assert ids == {"issue/10042/change/10771"}

    def test_vendor_words_become_ours(self, connector: DeclaredConnector) -> None:
        """Nested names become plain fields, and what changed has our names."""
        [event] = connector.translate(connector.samples[1].body).events
        [comment] = connector.translate(connector.samples[2].body).events

        assert ("High", ["priority"], "new") == tuple(
            event.data[name] for name in ("priority", "changed", "status_category")
        )
        assert (True, "SUP-42", "Mira Okafor") == tuple(comment.data[name] for name in ("internal", "key", "author"))

    @pytest.mark.parametrize(
        ("field", "ours"),
        [("assignee", "assignee_id"), ("duedate", "due_date"), ("summary", "summary"), ("Score", "customfield_10042")],
    )
    def test_names_of_changed_fields(self, connector: DeclaredConnector, field: str, ours: str) -> None:
        """They are the names of the event's own fields; an own field has its id."""
        body = orjson.loads(connector.samples[1].body)
        body["changelog"]["items"] = [{"field": field, "fieldId": "customfield_10042" if field == "Score" else field}]
        [event] = connector.translate(orjson.dumps(body)).events

        assert [ours] == event.data["changed"]

    def test_an_update_without_changes(self, connector: DeclaredConnector) -> None:
        """It is no event of its own: a comment's comes with the comment."""
        body = orjson.loads(connector.samples[1].body)
        del body["changelog"]

        assert connector.translate(orjson.dumps(body)).ignored

    def test_two_edits_of_a_comment(self, connector: DeclaredConnector) -> None:
        """Each has its own id, as `comment_updated` and as `jira:issue_updated`, in whatever zone its time is written."""
        body = orjson.loads(connector.samples[3].body) | {"issue_event_type_name": "issue_comment_edited"}
        ids = []
        for updated in ("2026-01-05T10:21:00.001+0100", "2026-01-05T09:21:00.001+0000", "2026-01-05T10:21:00.002+0100"):
            body["comment"]["updated"] = updated
            for event in ("jira:issue_updated", "comment_updated"):
                [found] = connector.translate(orjson.dumps(body | {"webhookEvent": event})).events
                ids.append(found.id)
                assert "comment.edited" == found.type

        assert [ids[0]] * 4 == ids[:4]
        assert 2 == len(set(ids))

    # ---- lookups ------------------------------------------------------------------------------

    async def test_previous_issues(self, bench: Bench) -> None:
        """Newest first, no more than were asked for; a quote in an id ends no string."""
        for number in range(5):
            at = f"2026-01-05T10:00:0{number}.000+0100"
            bench.double.opened(summary=str(number), by='odd"id\\', at=at)
        bench.double.opened(summary="another's")
        fetch = bench.connector.lookups["previous_issues"].fetch
        found = await fetch('odd"id\\', bench.call(), 3)

        assert ["4", "3", "2"] == [issue["summary"] for issue in found]
        assert [] == await fetch('x" OR reporter = "person-77', bench.call(), 3)

    async def test_comments_newest_first_over_pages(self, bench: Bench) -> None:
        """The newest come first, across pages."""
        record = self.record(bench.double, "text")
        for number in range(130):
            bench.double.commented(record, f"note {number}")
        found = await bench.connector.lookups["comments"].fetch(record, bench.call(), 120)

        assert [f"note {number}" for number in range(129, 9, -1)] == [one["text"] for one in found]

    async def test_the_version_of_an_issue(self, bench: Bench) -> None:
        """It is another one after a change."""
        record = self.record(bench.double, "text")
        lookup = bench.connector.lookups["issue"]
        assert lookup.version is not None
        [before] = await lookup.fetch(record, bench.call(), 1)
        bench.double.changed(record, {"summary": "other"}, "person-77")
        [after] = await lookup.fetch(record, bench.call(), 1)

        assert before[lookup.version] != after[lookup.version]

    async def test_a_person(self, bench: Bench) -> None:
        """By account id; one that is not there is `NotFound`."""
        fetch = bench.connector.lookups["person"].fetch

        assert "Hub" == (await fetch(ACCOUNT, bench.call(), 1))[0]["name"]
        with pytest.raises(NotFound):
            await fetch("nobody", bench.call(), 1)

    # ---- actions ------------------------------------------------------------------------------

    async def test_internal_and_public(self, bench: Bench) -> None:
        """Agents alone see an internal note, also after it was replaced; a comment is for everybody."""
        record = self.record(bench.double, "text")
        for name in ("internal_note", "comment"):
            await bench.connector.actions[name].write(record, {"text": name}, "add", bench.call(slot=name * 4))
        [internal, public] = bench.double.comments[record]

        assert (False, True) == (internal["jsdPublic"], public["jsdPublic"])

    async def test_text_stays_text(self, bench: Bench) -> None:
        """What would be markup is a paragraph's text, and an empty line is an empty paragraph."""
        record = self.record(bench.double, "text")
        await self.write(bench, record, "*bold* [link|https://x.example]\n\n{code}")
        content = bench.double.comments[record][0]["body"]["content"]

        assert ["*bold* [link|https://x.example]"] == [part["text"] for part in content[0]["content"]]
        assert [] == content[1]["content"]

    async def test_replace_own(self, bench: Bench) -> None:
        """One comment is kept up to date; another slot, and people, have their own."""
        record = self.record(bench.double, "text")
        bench.double.commented(record, "by a person")
        await bench.connector.health(bench.call())
        action = bench.connector.actions["comment"]
        for text, key in (("first", KEY), ("second", OTHER_KEY)):
            await action.write(record, {"text": text}, "replace-own", bench.call(key))
        await action.write(record, {"text": "other"}, "replace-own", bench.call(slot="b" * 32))
        texts = self.written(bench.double, record)

        assert ["second", "other"] == [text.partition("\n")[0] for text in texts]
        assert action.find is not None
        assert await action.find(record, "replace-own", bench.call(OTHER_KEY)) is not None

    async def test_a_mark_that_another_comment_of_ours_quotes(self, bench: Bench) -> None:
        """Marks are seen, and a model may repeat one: only the last one of a text, which we wrote, is its mark."""
        record, action = self.record(bench.double, "text"), bench.connector.actions["comment"]
        await action.write(record, {"text": "first"}, "replace-own", bench.call())
        quoted = self.written(bench.double, record)[0].splitlines()[-1]
        say = {"text": f"As {quoted} says"}
        await action.write(record, say, "replace-own", bench.call(OTHER_KEY, slot="b" * 32))
        await action.write(record, {"text": "second"}, "replace-own", bench.call("3" * 64))
        texts = self.written(bench.double, record)

        assert "penstock:" in quoted
        assert ["second", say["text"]] == [text.partition("\n")[0] for text in texts]
        assert action.find is not None
        assert await action.find(record, "replace-own", bench.call()) is None, "it was replaced"

    async def test_our_note_is_found_behind_many(self, bench: Bench) -> None:
        """On a later page of the issue's comments."""
        record = self.record(bench.double, "text")
        await self.write(bench, record)
        for number in range(230):
            bench.double.commented(record, f"note {number}")
        action = bench.connector.actions["internal_note"]

        assert action.find is not None
        assert await action.find(record, "add", bench.call())

    async def test_set_fields(self, bench: Bench) -> None:
        """Fields are set in the vendor's form, null takes a value away, and the others stay."""
        record = self.record(bench.double, "text")
        action = bench.connector.actions["set_fields"]
        fields = {"priority": "High", "assignee_id": ACCOUNT, "due_date": "2026-02-01"}
        await action.write(record, {"fields": fields}, "add", bench.call())
        await action.write(record, {"fields": {"assignee_id": None}}, "add", bench.call())
        found = bench.double.issues[record]["fields"]

        assert "keyed" == action.idempotency
        assert ({"name": "High"}, None, "2026-02-01", "Summary") == tuple(
            found[name] for name in ("priority", "assignee", "duedate", "summary")
        )

    async def test_echoes_have_our_names(self, bench: Bench) -> None:
        """The change that our write causes names the fields and the values that we wrote."""
        record = self.record(bench.double, "text")
        async with self.collecting(bench) as deliveries:
            fields = {"priority": "High", "labels": ["a", "b"]}
            await bench.connector.actions["set_fields"].write(record, {"fields": fields}, "add", bench.call())
            await bench.double.hooks.settled()
        [event] = [event for delivery in deliveries for event in bench.connector.receive(delivery).events]

        assert fields == {name: event.data[name] for name in event.data["changed"]}

    async def test_labels(self, bench: Bench) -> None:
        """Adding and taking off twice is once, and no other label is lost."""
        record = str(bench.double.opened(labels=["old"])["key"])
        for name, label in (("add_labels", "new"), ("add_labels", "new"), ("remove_labels", "old")) * 2:
            await bench.connector.actions[name].write(record, {"fields": {"labels": [label]}}, "add", bench.call())

        assert ["new"] == bench.double.issues[record]["fields"]["labels"]

    @pytest.mark.parametrize("fields", [{"priority": "Quite"}, {"labels": ["two words"]}, {"status": "Done"}])
    async def test_what_cannot_be_set(self, bench: Bench, fields: dict[str, Any]) -> None:
        """What the vendor refuses, and what we do not set, is `Rejected`."""
        record = self.record(bench.double, "text")
        with pytest.raises(Rejected):
            await bench.connector.actions["set_fields"].write(record, {"fields": fields}, "add", bench.call())

    # ---- the double ---------------------------------------------------------------------------

    async def test_the_double_refuses_like_the_vendor(self, bench: Bench) -> None:
        """The old search is gone, a text is no document, and without `fields` a search gives only ids."""
        record = self.record(bench.double, "text")
        async with httpx.AsyncClient(base_url=bench.url, auth=(EMAIL, TOKEN), trust_env=False) as client:
            old = await client.get("/rest/api/3/search")
            text = await client.post(f"/rest/api/3/issue/{record}/comment", json={"body": "plain"})
            jql = {"jql": "updated >= -5m ORDER BY updated ASC"}
            bare = await client.get("/rest/api/2/search/jql", params=jql)
            unbounded = await client.get("/rest/api/2/search/jql", params={"jql": "order by key"})

        assert (410, 400, 400) == (old.status_code, text.status_code, unbounded.status_code)
        assert [{"id": bench.double.issues[record]["id"]}] == bare.json()["issues"]
