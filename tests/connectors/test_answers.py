"""
What answers mean that no double gives by itself: those of proxies, of locked records, and odd ones.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
import pytest

from connectors import catalog, open_call, open_source_call
from connectors.bench import KEY, SLOT
from connectors.contract import Call
from connectors.declared import DeclaredConnector
from connectors.polling import Place
from penstock import errors
from penstock.clock import SystemClock
from penstock.http import Request, Response
from penstock.redaction import Redactor
from penstock.secrets import Secrets

SYSTEMS: dict[str, dict[str, Any]] = {
    "github": {"token": "${env:TOKEN}", "webhook_secret": "${env:HOOK}"},
    "jira": {"site": "acme", "email": "hub@acme.example", "api_token": "${env:TOKEN}", "webhook_secret": "${env:HOOK}"},
    "hubspot": {
        "portal_id": "1",
        "app_id": "9",
        "access_token": "${env:TOKEN}",
        "client_secret": "${env:HOOK}",
        "catch_up": ["contacts", "companies", "deals", "tickets"],
    },
    "zendesk": {
        "subdomain": "acme",
        "email": "hub@acme.example",
        "api_token": "${env:TOKEN}",
        "webhook_secret": "${env:HOOK}",
    },
}
REMARK = {
    "description": "A remark.",
    "takes": ["text"],
    "write": {"method": "POST", "path": "/remarks", "json": {"text": "args.text"}},
    "returns": {"version": "body.version + 1", "remote_id": "body.id"},
    "idempotency": {"header": "idempotency-key"},
}
SYSTEMS["rest"] = {
    "url": "https://erp.acme.example",
    "auth": {"nothing": True},
    "actions": {"remark": REMARK},
    "health": {"get": "/me", "acts_as": "body.id", "detail": "''"},
}
ISSUES = {"github": "acme/widgets/issues/7", "jira": "SUP-1", "hubspot": "contacts/1", "zendesk": "1", "rest": "1"}

Answers = Callable[[Request], Response]


def answered(body: Any = None, status: int = 200, **headers: str) -> Response:
    named = {name.replace("_", "-"): text for name, text in headers.items()}
    return Response(status=status, headers=named, body=b"" if body is None else orjson.dumps(body))


class System:
    """
    An `Http` behind which a function answers, and one connection to it.
    """

    def __init__(self, name: str, answers: Answers | Response) -> None:
        self._answers = answers
        self.requests: list[Request] = []
        secrets = Secrets({"TOKEN": "canary-token-0123456789", "HOOK": "canary-hook"}, redactor=Redactor())
        found = catalog.open(name, SYSTEMS[name], secrets=secrets, http=self, clock=SystemClock())
        assert isinstance(found, DeclaredConnector)
        self.connector = found
        self.record = ISSUES[name]

    async def send(
        self, request: Request, *, timeout: float, fence: Callable[[], None] | None = None, max_body: int = 0
    ) -> Response:
        self.requests.append(request)
        return self._answers if isinstance(self._answers, Response) else self._answers(request)

    async def close(self) -> None:
        pass

    def call(self, key: str = KEY, slot: str = SLOT) -> Call:
        return open_call(self.connector, self, key=key, slot=slot, timeout=5.0, clock=SystemClock())

    async def read(self, source: str, cursor: bytes) -> list[str]:
        call = open_source_call(self.connector, self, key=KEY, timeout=5.0, clock=SystemClock())
        pages = self.connector.sources[source].read(cursor, call)
        return [event.type async for page in pages for event in page.events]

    async def write(self, action: str, mode: Any = "add") -> Any:
        return await self.connector.actions[action].write(self.record, {"text": "hello"}, mode, self.call())


# ---- what is refused ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("headers", "error"),
    [
        ({}, errors.Rejected),  # of this issue
        ({"x_seraph_loginreason": "OK"}, errors.Rejected),
        ({"x_seraph_loginreason": "AUTHENTICATION_DENIED"}, errors.AuthFailed),  # until somebody signs in by hand
        ({"retry_after": "5"}, errors.Unavailable),
    ],
)
async def test_kinds_of_403_in_jira(headers: dict[str, str], error: type[Exception]) -> None:
    """One issue that is closed to us shuts nothing; an account that is locked shuts the connection."""
    with pytest.raises(error):
        await System("jira", answered({}, 403, **headers)).write("comment")


async def test_who_may_not_ask_who_they_are() -> None:
    """A 403 to the question who we are is of the credential: no record was asked for."""
    system = System("github", answered({"message": "Resource not accessible by integration"}, 403))
    health = await system.connector.health(system.call())

    assert "auth" == health.state


BROKE = b"upstream connect error or disconnect/reset before headers. reset reason: connection termination"


@pytest.mark.parametrize("headers", [{}, {"retry-after": "5"}])
async def test_503(headers: dict[str, str]) -> None:
    """Only with a time to wait it says that a write was not carried out; a read is for later in any case."""
    system = System("hubspot", Response(status=503, headers=headers, body=BROKE))
    with pytest.raises(errors.Unavailable if headers else errors.UnknownOutcome):
        await system.write("note")
    with pytest.raises(errors.Unavailable):
        await system.connector.lookups["contact"].fetch("1", system.call(), 1)


# ---- what catches up ------------------------------------------------------------------------------

NOW = datetime.now(UTC)


def ago(**span: float) -> str:
    return (NOW - timedelta(**span)).isoformat(timespec="seconds").replace("+00:00", "Z")


def contacts(created: str) -> dict[str, Any]:
    return {"results": [{"id": "7", "createdAt": created, "updatedAt": ago(), "properties": {}}]}


def tickets(created: str) -> dict[str, Any]:
    ticket = {"id": 1, "status": "open", "tags": [], "submitter_id": 5, "created_at": created, "updated_at": ago()}
    return {"tickets": [ticket | {"via": {"channel": "web"}}], "after_cursor": "c", "end_of_stream": True}


def issues(created: str) -> dict[str, Any]:
    fields = {
        "status": {"name": "n"},
        "labels": [],
        "created": created,
        "updated": ago(),
        "creator": {"accountId": "a"},
    }
    return {"issues": [{"id": "1", "key": "SUP-1", "fields": fields}]}


@pytest.mark.parametrize(
    ("system", "source", "records"),
    [
        ("hubspot", "contacts", contacts),
        ("hubspot", "companies", contacts),
        ("hubspot", "deals", contacts),
        ("hubspot", "tickets", contacts),
        ("zendesk", "tickets", tickets),
        ("jira", "issues", issues),
    ],
)
async def test_a_record_is_new_once(system: str, source: str, records: Callable[[str], dict[str, Any]]) -> None:
    """A change of a record that was created long after the first reading, and long ago, is no creation."""
    begun, known = NOW - timedelta(days=200), NOW - timedelta(minutes=5)
    cursor = Place(begun=begun, since=known, known=known, cursor=None, seen={}).kept(0)
    found = {span: await System(system, answered(records(ago(hours=span)))).read(source, cursor) for span in (1, 150)}

    assert 1 == len(found[1]), "shown late"
    assert [] == found[150]


# ---- whose it is ----------------------------------------------------------------------------------


def github(sent: list[str], *, me: Response) -> Answers:
    """
    An issue with one comment, of somebody who copied our marker.
    """
    copied = f"<!-- penstock:{SLOT}:{KEY} -->"
    comments = [{"id": 9, "user": {"login": "mallory"}, "body": copied, "updated_at": "u", "html_url": "h"}]

    def answers(request: Request) -> Response:
        sent.append(f"{request.method} {request.url.path}")
        if request.url.path == "/user":
            return me
        if request.method == "GET":
            return answered(comments)
        return answered({"id": 10, "updated_at": "u", "html_url": "h"}, 201)

    return answers


async def test_a_copied_marker_before_we_know_who_we_are() -> None:
    """We ask who we are before we believe a marker: nobody's comment is taken for ours, or changed."""
    sent: list[str] = []
    found = System("github", github(sent, me=answered({"login": "hub"})))
    assert found.connector.actions["comment"].find
    ours = await found.connector.actions["comment"].find(found.record, "replace-own", found.call())
    other = System("github", github(sent, me=answered({"login": "hub"})))
    await other.write("comment", "replace-own")

    assert ours is None
    assert "hub" == found.connector.acts_as
    assert ["POST /repos/acme/widgets/issues/7/comments"] == [one for one in sent if not one.startswith("GET")]


@pytest.mark.parametrize(
    ("me", "error"),
    [
        (answered(status=500), errors.Unavailable),
        (answered(status=401), errors.AuthFailed),
        (answered(status=403), errors.AuthFailed),
        (answered({}), errors.AuthFailed),
    ],
)
async def test_nobody_says_who_we_are(me: Response, error: type[Exception]) -> None:
    """Then nothing is looked for, and nothing is written."""
    sent: list[str] = []
    system = System("github", github(sent, me=me))
    with pytest.raises(error):
        await system.write("comment", "replace-own")

    assert ["GET /user"] == list(dict.fromkeys(sent))


# ---- what a write gave back -----------------------------------------------------------------------


@pytest.mark.parametrize(
    "body",
    [[], "text", 5, None, {"ticket": {"updated_at": 1}, "audit": {"events": "x"}}, {"audit": 1, "ticket": [1]}],
)
async def test_an_odd_answer_to_a_write(body: Any) -> None:
    """It was carried out: what its answer does not say stays unsaid, and nothing is written again for it."""
    await System("zendesk", answered(body)).write("internal_note")
    await System("github", answered(body, 201)).write("comment")


async def test_a_mistake_in_what_a_write_returns() -> None:
    """As of a description that adds a number to a text: the write worked all the same."""
    written = await System("rest", answered({"version": "seven", "id": "r1"}, 201)).write("remark")

    assert ("r1", None) == (written.remote_id, written.version)


@pytest.mark.parametrize(("before", "told"), [({"days": 2}, False), ({"minutes": 1}, True)], ids=["earlier", "now"])
async def test_more_changes_than_jira_shows(
    caplog: pytest.LogCaptureFixture, before: dict[str, int], told: bool
) -> None:
    """Sixty changes of which forty came: that is told, unless those that are missing are of an earlier reading."""
    body = issues(ago(days=150))
    history = {"author": {"accountId": "a"}, "items": [{"field": "status", "fieldId": "status"}]}
    histories = [{**history, "id": str(number), "created": ago()} for number in range(39)]
    body["issues"][0]["changelog"] = {
        "total": 60,
        "histories": [*histories, {**history, "id": "0", "created": ago(**before)}],
    }
    known = NOW - timedelta(minutes=5)
    cursor = Place(begun=known, since=known, known=known, cursor=None, seen={}).kept(0)
    await System("jira", answered(body)).read("issues", cursor)

    assert told is any("shows a part of record '1' only" in entry.message for entry in caplog.records)
