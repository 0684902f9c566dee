"""
GitHub keeps the connector contract, and reads real deliveries where they are to be had.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any, ClassVar

import jsonschema_rs
import orjson
import pytest

from connectors.bench import KEY, OTHER_KEY, Bench
from connectors.contract import Delivery, Reply
from connectors.declared import DeclaredConnector
from connectors.double import serving
from connectors.github.double import LOGIN, TOKEN, GithubDouble
from connectors.testing import ConnectorContract
from penstock.errors import AuthFailed, NotFound, Rejected, Unavailable

ROOT = Path(__file__).resolve().parents[3]
PAYLOADS = Path(os.environ.get("PENSTOCK_GITHUB_PAYLOADS", ROOT.parent / "shared" / "data" / "github"))


def payloads() -> list[Path]:
    """Return the real deliveries, none where there are none."""
    return sorted(PAYLOADS.glob("*.*.json"))


needs_payloads = pytest.mark.skipif(
    not payloads(), reason="no real GitHub deliveries here: set PENSTOCK_GITHUB_PAYLOADS to a folder of them"
)


class TestGithub(ConnectorContract):
    name = "github"
    environment: ClassVar = {"TOKEN": TOKEN, "HOOK": "canary-hook-new", "HOOK_OLD": "canary-hook-old"}
    credential = "TOKEN"
    action = "comment"
    given: ClassVar = {"add_labels": {"fields": {"labels": ["bug"]}}}
    lacks: ClassVar = {
        "sources": "GitHub delivers, and what it could not deliver can be delivered again by hand",
        "cursors": "it has no source",
        "late_commits": "it has no source",
        "expiry": "it has no source",
        "both_ways": "it has no source",
        "subscriptions": "GitHub's webhooks do not expire",
    }
    lookup = "issue"
    listing = "comments"

    def settings(self, url: str) -> dict[str, Any]:
        return {"token": "${env:TOKEN}", "webhook_secret": ["${env:HOOK}", "${env:HOOK_OLD}"], "api_url": url}

    @contextlib.asynccontextmanager
    async def pretend(self) -> AsyncIterator[tuple[GithubDouble, str]]:
        double = GithubDouble()
        async with serving(double) as url:
            yield double, url

    def record(self, double: GithubDouble, text: str) -> str:
        return f"acme/widgets/issues/{double.opened(title='Title', body=text)['number']}"

    def main_text(self, record: Mapping[str, Any]) -> str:
        return str(record["body"])

    def written(self, double: GithubDouble, record: str) -> list[str]:
        return [comment["body"] for comment in self.comments(double, record) if comment["user"]["login"] == LOGIN]

    def comment_by_somebody(self, double: GithubDouble, record: str, text: str) -> None:
        double._comment(double.issues["acme/widgets", int(record.rpartition("/")[2])], text, "mira")

    def effects(self, double: GithubDouble, action: str, record: str) -> int:
        if action == "add_labels":
            issue = double.issues["acme/widgets", int(record.rpartition("/")[2])]
            return [label["name"] for label in issue["labels"]].count("bug")
        return super().effects(double, action, record)

    def handshakes(self, connector: DeclaredConnector) -> list[tuple[Delivery, Reply | None]]:
        [ping] = [sample for sample in connector.samples if sample.name == "ping"]
        return [(self.sampled(connector, ping), None)]

    def comments(self, double: GithubDouble, record: str) -> list[dict[str, Any]]:
        return double.comments["acme/widgets", int(record.rpartition("/")[2])]

    # ---- deliveries ---------------------------------------------------------------------------

    def test_published_signature(self) -> None:
        """The vendor's own test value is believed."""
        connector = self.connect(HOOK="It's a Secret to Everybody")
        said = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17"
        delivery = Delivery(
            method="POST",
            url="https://x.example",
            headers={"x-hub-signature-256": said},
            body=b"Hello, World!",
            received_ms=0,
        )
        with pytest.raises(Exception, match="not JSON"):  # believed, and then read
            connector.receive(delivery)

    def test_ping_is_ignored_with_a_reason(self, connector: DeclaredConnector) -> None:
        """The delivery that only tests the webhook carries no event."""
        received = connector.translate(connector.samples[2].body)

        assert not received.events
        assert "webhook" in str(received.ignored)

    @pytest.mark.parametrize("extra", ["organization", "installation", "enterprise"])
    def test_envelope_names_no_event(self, connector: DeclaredConnector, extra: str) -> None:
        """What GitHub wraps around a change, and noise about the sender, does not change its id."""
        for sample in connector.samples[:2]:
            body = orjson.loads(sample.body)
            [plain] = connector.translate(sample.body).events
            body[extra] = {"id": 1, "login": "acme"}
            body["sender"]["avatar_url"] = "https://elsewhere.example"
            body["repository"]["stargazers_count"] = 12
            [wrapped] = connector.translate(orjson.dumps(body)).events

            assert (plain.source, plain.id) == (wrapped.source, wrapped.id)

    @pytest.mark.parametrize("field", ["title", "body", "state", "updated_at"])
    def test_another_change_is_another_event(self, connector: DeclaredConnector, field: str) -> None:
        """Any part of the change in a delivery changes its id."""
        body = orjson.loads(connector.samples[0].body)
        [plain] = connector.translate(orjson.dumps(body)).events
        body["issue"][field] = "2026-02-02T00:00:00Z"

        assert plain.id != connector.translate(orjson.dumps(body)).events[0].id

    @pytest.mark.parametrize("action", ["created", "edited", "deleted"])
    def test_a_comment_is_no_change_of_its_issue(self, connector: DeclaredConnector, action: str) -> None:
        """What happens to a comment is one event, although the issue travels with it."""
        body = orjson.loads(connector.samples[1].body) | {"action": action}
        events = connector.translate(orjson.dumps(body)).events

        assert [f"comment.{action}"] == [event.type for event in events]

    @pytest.mark.parametrize("kind", ["push", "pull_request", "discussion_comment"])
    def test_other_kinds_are_ignored(self, connector: DeclaredConnector, kind: str) -> None:
        """Deliveries about something else carry no event, and say why."""
        body = orjson.loads(connector.samples[1].body)
        issue = body.pop("issue")
        comment = body.pop("comment")
        body |= {
            "discussion_comment": {"discussion": issue, "comment": comment},
            "pull_request": {"pull_request": issue},
        }.get(kind, {})
        received = connector.translate(orjson.dumps(body))

        assert not received.events
        assert received.ignored

    @needs_payloads
    def test_real_deliveries(self, connector: DeclaredConnector) -> None:
        """Every real delivery gives one event of its kind, valid against the schema."""
        for path in payloads():
            kind, _, action = path.stem.split(".")
            [event] = connector.receive(self.delivery(connector, path.read_bytes())).events

            assert f"{'comment' if kind == 'issue_comment' else 'issue'}.{action}" == event.type, path.name
            assert event.subject.startswith("Codertocat/Hello-World/issues/"), path.name
            assert ("https://github.com/Codertocat/Hello-World", "Codertocat") == (event.source, event.actor)
            jsonschema_rs.validator_for(dict(connector.events[event.type])).validate(event.data)

    @needs_payloads
    def test_real_deliveries_of_one_change_are_one_event(self, connector: DeclaredConnector) -> None:
        """The five deliveries of one comment, some with organization or installation, are one event."""
        created = [
            path.read_bytes()
            for path in payloads()
            if path.name.startswith("issue_comment.") and "created" in path.name
        ]
        ids = {connector.translate(body).events[0].id for body in created}

        assert 5 == len(created)
        assert 1 == len(ids)

    # ---- lookups ------------------------------------------------------------------------------

    async def test_comments_newest_first_over_pages(self, bench: Bench) -> None:
        """The newest comments come first although GitHub lists the oldest first."""
        record = self.record(bench.double, "text")
        for number in range(250):
            self.comment_by_somebody(bench.double, record, str(number))
            self.comments(bench.double, record)[-1]["created_at"] = f"2026-01-05T{number // 60:02}:{number % 60:02}:00Z"
        fetch = bench.connector.lookups["comments"].fetch
        few, asked = await fetch(record, bench.call(), 3), len(bench.double.calls)

        assert ["249", "248", "247"] == [comment["text"] for comment in few]
        assert 2 == asked
        assert [str(number) for number in range(249, 99, -1)] == [
            comment["text"] for comment in await fetch(record, bench.call(), 150)
        ]

    async def test_repository_and_author(self, bench: Bench) -> None:
        """The other two reads give what they declare."""
        self.record(bench.double, "text")
        lookups = bench.connector.lookups
        [repository] = await lookups["repository"].fetch("acme/widgets", bench.call(), 1)
        [author] = await lookups["author"].fetch("mira", bench.call(), 1)

        assert ("acme/widgets", "mira", "2019-05-15") == (repository["name"], author["login"], author["since"])

    # ---- actions ------------------------------------------------------------------------------

    async def replace(self, bench: Bench, record: str, text: str, key: str = KEY, slot: str = "a" * 32) -> Any:
        return await bench.connector.actions["comment"].write(
            record, {"text": text}, "replace-own", bench.call(key, slot=slot)
        )

    async def test_replace_own_changes_our_comment(self, bench: Bench) -> None:
        """A later run changes the comment of an earlier one in place, behind any number of others."""
        record = self.record(bench.double, "text")
        first = await self.replace(bench, record, "first")
        for number in range(120):
            self.comment_by_somebody(bench.double, record, str(number))
        second = await self.replace(bench, record, "second", OTHER_KEY)

        assert first.remote_id == second.remote_id
        assert ["second"] == [text.partition("\n\n<!--")[0] for text in self.written(bench.double, record)]
        assert await bench.connector.actions["comment"].find(record, "replace-own", bench.call(OTHER_KEY))

    async def test_replace_own_with_the_same_text_sends_nothing(self, bench: Bench) -> None:
        """An equal text is there already."""
        record = self.record(bench.double, "text")
        await self.replace(bench, record, "same\r\ntext")
        again = await self.replace(bench, record, "same\ntext", OTHER_KEY)

        assert again.already
        assert 1 == len([call for call in bench.double.calls if call["effect"]])

    async def test_slots_do_not_mix(self, bench: Bench) -> None:
        """Two pipelines on one issue keep a comment each."""
        record = self.record(bench.double, "text")
        await self.replace(bench, record, "one")
        await self.replace(bench, record, "two", OTHER_KEY, slot="b" * 32)

        assert 2 == len(self.written(bench.double, record))

    async def test_replace_own_after_a_lost_answer(self, bench: Bench) -> None:
        """When the answer to the first comment is lost, the next try finds it by its slot."""
        record = self.record(bench.double, "text")
        await bench.fault(kind="drop-after", match="^POST ")
        with contextlib.suppress(Exception):
            await self.replace(bench, record, "text")
        again = await self.replace(bench, record, "text")

        assert again.already
        assert 1 == len(self.written(bench.double, record))

    async def test_replace_own_after_a_person_deleted_it(self, bench: Bench) -> None:
        """A comment that is gone is written anew."""
        record = self.record(bench.double, "text")
        await self.replace(bench, record, "one")
        self.comments(bench.double, record).clear()
        await self.replace(bench, record, "two", OTHER_KEY)

        assert 1 == len(self.written(bench.double, record))

    async def test_add_labels_once(self, bench: Bench) -> None:
        """Labels are added once, and each gives a signed delivery."""
        record = self.record(bench.double, "text")
        async with self.collecting(bench) as deliveries:
            for _ in range(2):
                await bench.connector.actions["add_labels"].write(
                    record, {"fields": {"labels": ["bug", "ui"]}}, "add", bench.call()
                )
            await bench.double.hooks.settled()
            events = [event for delivery in deliveries for event in bench.connector.receive(delivery).events]

        assert {"bug", "ui"} == {event.data["label"] for event in events}
        assert [["labels"]] * 2 == [event.data["changed"] for event in events]

    # ---- errors -------------------------------------------------------------------------------

    @pytest.mark.parametrize(
        ("body", "error"),
        [
            ({"message": "You have exceeded a secondary rate limit."}, Unavailable),
            ({"message": "Unable to create comment because issue is locked."}, Rejected),
            ({"message": "Repository was archived so is read-only."}, Rejected),
            ({"message": "Resource not accessible by personal access token"}, Rejected),
            ({"message": "Sorry. Your account was suspended."}, AuthFailed),
            ({"message": "Maximum number of login attempts exceeded. Please try again later."}, AuthFailed),
            ({}, Rejected),
        ],
    )
    async def test_kinds_of_403(self, bench: Bench, body: dict[str, str], error: type[Exception]) -> None:
        """About a rate limit it is an outage, about the account a refused credential; a record's is that record's."""
        record = self.record(bench.double, "text")
        await bench.fault(kind="status", status=403, body=body)
        with pytest.raises(error):
            await bench.connector.lookups["issue"].fetch(record, bench.call(), 1)

    async def test_gone_is_not_found(self, bench: Bench) -> None:
        """A deleted issue (410) does not exist."""
        record = self.record(bench.double, "text")
        await bench.fault(kind="status", status=410)
        with pytest.raises(NotFound):
            await bench.connector.lookups["issue"].fetch(record, bench.call(), 1)

    async def test_adopted_deliveries_can_be_commented(self, bench: Bench) -> None:
        """An issue known only from a delivery exists in the double once it was adopted."""
        body = orjson.loads(self.connect().samples[0].body)
        bench.double.adopt(body)
        await bench.connector.actions["comment"].write("acme/widgets/issues/7", {"text": "hi"}, "add", bench.call())

        assert 1 == len(bench.double.comments["acme/widgets", 7])
