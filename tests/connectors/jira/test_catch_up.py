"""
The catch-up of Jira: issues, changes and comments no webhook told of, under the ids their webhooks would have had.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import jsonschema_rs
import pytest

from connectors import catalog, open_source_call
from connectors.bench import Receiver
from connectors.contract import Connector, Delivery
from connectors.double import serving
from connectors.double_faults import Fault
from connectors.jira.double import ACCOUNT, EMAIL, TOKEN, JiraDouble
from connectors.listening import listening
from penstock import errors
from penstock.clock import SystemClock
from penstock.http_aiohttp import AiohttpHttp
from penstock.secrets import Secrets
from schemas.events import Event
from tests.connectors.reading import read_pages


@dataclass
class Site:
    """
    A Jira, and a connection that searches it.
    """

    double: JiraDouble
    connector: Connector
    http: AiohttpHttp
    pushed: list[Delivery] = field(default_factory=list)

    async def read(self, cursor: bytes | None, *, pages: int = 1_000) -> tuple[list[Event], bytes]:
        return await read_pages(self.connector, "issues", cursor, self.http, pages=pages)

    async def told(self) -> list[Event]:
        """
        Return what webhooks told of so far.
        """
        await self.double.hooks.settled()
        return [event for delivery in self.pushed for event in self.connector.receive(delivery).events]


@contextlib.asynccontextmanager
async def opened(**more: str) -> AsyncIterator[Site]:
    double, http = JiraDouble(), AiohttpHttp()
    async with serving(double) as url:
        given = {"site": "acme", "email": EMAIL, "api_token": "${env:T}", "webhook_secret": "${env:H}", "url": url}
        secrets = Secrets({"T": TOKEN, "H": "hook"})
        connector = catalog.open("jira", {**given, **more}, secrets=secrets, http=http, clock=SystemClock())
        site = Site(double, connector, http)
        async with listening(Receiver(site.pushed, SystemClock())) as hub:
            double.hooks.subscribe(f"{hub}/in/x", "hook")
            yield site
    await http.close()


@pytest.fixture
async def site() -> AsyncIterator[Site]:
    async with opened() as site:
        yield site


def ago(seconds: float) -> str:
    return (datetime.now(UTC) - timedelta(seconds=seconds)).strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "+0000"


async def test_one_change_by_webhook_and_by_search_is_one_event(site: Site) -> None:
    """A new issue, a change, a comment and its edit: the same source, id, type, record and actor."""
    _, cursor = await site.read(None)
    key = site.double.opened(summary="New", description="text [x]")["key"]
    site.double.changed(key, {"summary": "Newer", "labels": ["a"]}, "person-9")
    site.double.commented(key, "a comment", internal=True)
    pushed = {event.id: event for event in await site.told()}
    found, _ = await site.read(cursor)

    assert {event.id for event in found} == set(pushed)
    assert len(found) == 3
    for event in found:
        other = pushed[event.id]
        said = (event.source, event.type, event.subject, event.actor, event.data["changed"])
        assert said == (other.source, other.type, other.subject, other.actor, other.data["changed"])
        jsonschema_rs.validator_for(dict(site.connector.events[event.type])).validate(event.data)


async def test_an_edit(site: Site) -> None:
    """It is one event beside the comment's own, by both ways."""
    _, cursor = await site.read(None)
    key = site.double.opened(summary="x")["key"]
    comment = site.double.commented(key, "first")
    _, cursor = await site.read(cursor)
    comment["created"] = ago(10)
    comment |= {"updated": ago(0)}
    site.double._tell_comment("comment_updated", "issue_comment_edited", key, comment)
    site.double._touched(key)
    found, _ = await site.read(cursor)
    edits = {event.id for event in found if event.type == "comment.edited"}

    assert edits == {event.id for event in await site.told() if event.type == "comment.edited"}
    assert len(edits) == 1


async def test_what_was_there_is_no_event(site: Site) -> None:
    """An old issue with old comments and changes that changes once more gives that change alone."""
    key = site.double.opened(summary="old", at=ago(86400))["key"]
    site.double.commented(key, "old")["created"] = ago(86000)
    site.double.comments[key][0]["updated"] = ago(86000)
    site.double.changed(key, {"summary": "older"}, "person-9")
    site.double.histories[key][0]["created"] = ago(85000)
    _, cursor = await site.read(None)
    site.double.changed(key, {"summary": "newest"}, "person-9")
    found, cursor = await site.read(cursor)
    again, _ = await site.read(cursor)

    assert [event.id for event in found] == [
        f"issue/{site.double.issues[key]['id']}/change/{site.double.histories[key][0]['id']}"
    ]
    assert again == []


async def test_ties_and_pages(site: Site) -> None:
    """Three hundred issues of one moment, seventy to a page; a crash after any page loses none."""
    _, cursor = await site.read(None)
    site.double.page_most = 70
    at = ago(0)
    for _ in range(300):
        site.double.opened(at=at)
    first, saved = await site.read(cursor, pages=1)
    rest, _ = await site.read(saved)
    every, _ = await site.read(cursor)

    assert len({event.id for event in every}) == len(every) == 300
    assert {event.id for event in (*first, *rest)} == {event.id for event in every}


async def test_an_issue_the_search_shows_late(site: Site) -> None:
    """Jira's index may lag: what shows under an older time is found, as long as that is inside the overlap."""
    _, cursor = await site.read(None)
    late = site.double.opened(summary="late")["key"]
    site.double.unindexed.add(late)
    site.double.opened(summary="early")
    found, cursor = await site.read(cursor)
    site.double.unindexed.clear()
    after, _ = await site.read(cursor)

    assert [event.data["summary"] for event in found] == ["early"]
    assert [event.data["summary"] for event in after] == ["late"]


async def test_our_own_writes_are_recognised(site: Site) -> None:
    """By the account, in changes and in comments."""
    call = open_source_call(site.connector, site.http, key="k" * 64, timeout=5.0, clock=SystemClock())
    await site.connector.health(call)
    _, cursor = await site.read(None)
    key = site.double.opened(summary="x")["key"]
    await site.connector.actions["comment"].write(key, {"text": "ours"}, "add", call)
    await site.connector.actions["set_fields"].write(key, {"fields": {"summary": "y"}}, "add", call)
    found, _ = await site.read(cursor)

    assert {event.type: site.connector.own(event) for event in found} == {
        "issue.created": None,
        "issue.updated": f"actor={ACCOUNT}",
        "comment.created": f"actor={ACCOUNT}",
    }


async def test_only_the_issues_that_are_wanted() -> None:
    """The setting `jql` narrows the search."""
    async with opened(jql="project in (SUP)") as site:
        _, cursor = await site.read(None)
        site.double.opened(project="SUP", summary="ours")
        site.double.opened(project="OPS", summary="theirs")
        found, _ = await site.read(cursor)

    assert [event.data["summary"] for event in found] == ["ours"]


async def test_off() -> None:
    """Then nothing is searched."""
    async with opened(catch_up="off") as site:
        assert site.connector.sources == {}


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        (Fault(kind="status", status=401, times=5), errors.AuthFailed),
        (Fault(kind="status", status=429, retry_after="7"), errors.Unavailable),
        (Fault(kind="status", status=400), errors.Rejected),
        (Fault(kind="status", status=500), errors.Unavailable),
        (Fault(kind="garbage"), errors.Unavailable),
    ],
)
async def test_failing_readings(site: Site, fault: Fault, error: type[Exception]) -> None:
    """Each way to fail has its error, and the next reading goes on where the last one was."""
    _, cursor = await site.read(None)
    site.double.opened(summary="x")
    site.double.faults.add(fault)
    before = len(site.double.calls)
    with pytest.raises(error):
        await site.read(cursor)
    assert len(site.double.calls) - before <= 3
    site.double.faults.clear()
    if fault.retry_after is None:
        found, _ = await site.read(cursor)
        assert len(found) == 1
