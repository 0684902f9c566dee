"""
A system described where its connection is: webhook in, poll, lookup, action, with every way to prove oneself.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qs

import orjson
import pytest
from standardwebhooks.webhooks import Webhook

from connectors import catalog, open_call, open_source_call
from connectors.contract import Connector, Delivery
from connectors.settings import SettingError
from connectors.verification import Verify, sign, verify
from penstock import errors
from penstock.clock import ManualClock, SystemClock
from penstock.http import Request, Response
from penstock.redaction import Redactor
from penstock.secrets import Secrets

FIELDS = {"name": {"description": "Its name.", "value": "item.name"}}
SYSTEM: dict[str, Any] = {
    "url": "https://erp.acme.example",
    "auth": {"bearer": "token"},
    "token": "${env:TOKEN}",
    "webhook_secret": "${env:HOOK}",
    "verify": {"secret": "webhook_secret", "way": "standard-webhooks"},
    "records": {"order": "(?P<order>[0-9]+)"},
    "events": [
        {
            "types": {"order.shipped": "An order left."},
            "when": "body.type == 'order.shipped'",
            "type": "body.type",
            "id": "'order/' ~ body.order.id ~ '/' ~ body.order.version",
            "source": "settings.url",
            "subject": "body.order.id",
            "time": "body.at",
            "data": {"name": {"description": "Its name.", "value": "body.order.name"}},
        }
    ],
    "own": ["event.data.name == 'ours'"],
    "lookups": {"order": {"description": "An order.", "get": "/orders/{order}", "record": "body", "fields": FIELDS}},
    "actions": {
        "remark": {
            "description": "Leave a remark.",
            "takes": ["text"],
            "write": {"method": "POST", "path": "/orders/{order}/remarks", "json": {"text": "args.text"}},
            "idempotency": {"header": "idempotency-key"},
        }
    },
    "health": {"get": "/me", "acts_as": "body.id", "detail": "body.name"},
}
HOOK = "whsec_" + base64.b64encode(b"a secret of thirty-two bytes ...").decode()


class Server:
    """
    An `Http` that answers by path and keeps the requests.
    """

    def __init__(self, answers: Mapping[str, Any] | None = None) -> None:
        self.answers = dict(answers or {})
        self.requests: list[Request] = []
        self.tokens: list[str] = ["first", "second", "third"]
        self.refused: set[str] = set()

    async def send(self, request: Request, **_: Any) -> Response:
        self.requests.append(request)
        if request.url.path == "/token":
            return Response(status=200, body=orjson.dumps({"access_token": self.tokens.pop(0), "expires_in": 600}))
        if request.headers.get("authorization", "").removeprefix("Bearer ") in self.refused:
            return Response(status=401, body=b"{}")
        return Response(status=200, body=orjson.dumps(self.answers.get(request.url.path, {"name": "A bike"})))

    async def close(self) -> None:
        """Nothing is open."""


def connect(http: Any = None, clock: Any = None, **changes: Any) -> Any:
    given = {name: value for name, value in {**SYSTEM, **changes}.items() if value is not None}
    secrets = Secrets({"TOKEN": "canary-token", "HOOK": HOOK, "P": "canary-password"}, redactor=Redactor())
    return catalog.open("rest", given, secrets=secrets, http=http or Server(), clock=clock or SystemClock())


def call(connector: Connector, http: Server, clock: Any = None) -> Any:
    return open_call(connector, http, key="k" * 64, slot="", timeout=5.0, clock=clock or SystemClock())


def delivery(body: Any, headers: Mapping[str, str]) -> Delivery:
    return Delivery(
        method="POST", url="https://hub.example/in/erp", headers=headers, body=body, received_ms=SystemClock().now_ms()
    )


BODY = orjson.dumps(
    {"type": "order.shipped", "at": "2026-01-05T09:00:00Z", "order": {"id": "42", "version": 3, "name": "A bike"}}
)


async def test_the_whole_way() -> None:
    """A webhook in, a lookup, an action: as with a manifest."""
    http = Server()
    connector = connect(http)
    signature = sign(connector.manifest.verify, delivery(BODY, {}), HOOK)
    [event] = connector.receive(delivery(BODY, signature)).events
    [order] = await connector.lookups["order"].fetch(event.subject, call(connector, http), 1)
    await connector.actions["remark"].write(event.subject, {"text": "Left."}, "add", call(connector, http))

    assert (event.id, event.type) == ("order/42/3", "order.shipped")
    assert order == {"name": "A bike"}
    assert [request.headers["authorization"] for request in http.requests] == ["Bearer canary-token"] * 2
    assert http.requests[-1].headers["idempotency-key"] == "k" * 64
    assert connector.actions["remark"].idempotency == "keyed"


def test_standard_webhooks_by_the_library() -> None:
    """What the library of the standard signs we believe, what we sign it believes; anything else is forged."""
    from datetime import UTC, datetime

    rule = Verify(secret="webhook_secret", way="standard-webhooks")
    theirs = Webhook(HOOK)
    now = datetime.now(UTC)
    stamp = str(int(now.timestamp()))
    headers = {
        "webhook-id": "msg_1",
        "webhook-timestamp": stamp,
        "webhook-signature": "v1,Zm9yZ2Vk " + theirs.sign("msg_1", now, BODY.decode()),
    }
    verify(rule, delivery(BODY, headers), ["another", HOOK])
    assert theirs.verify(BODY, sign(rule, delivery(BODY, {}), HOOK))

    forged = [{**headers, name: value} for name in headers for value in ("", "ü", "0" * 5000)]
    forged += [{name: value for name, value in headers.items() if name != gone} for gone in headers]
    forged += [{**headers, "webhook-timestamp": str(int(stamp) + offset)} for offset in (-301, 301)]
    for wrong in forged:
        with pytest.raises(errors.Forged):
            verify(rule, delivery(BODY, wrong), [HOOK])
    with pytest.raises(errors.Forged):
        verify(rule, delivery(BODY + b" ", headers), [HOOK])


def test_a_shared_header() -> None:
    """The weakest way some systems have: the header is the secret; both live ones are believed."""
    rule = Verify(secret="webhook_secret", way="shared", header="x-token", prefix="Bearer ")
    verify(rule, delivery(BODY, {"x-token": "Bearer new"}), ["new", "old"])
    verify(rule, delivery(BODY, {"x-token": "Bearer old"}), ["new", "old"])
    for wrong in ("", "new", "Bearer ", "Bearer newer", "Bearer ü"):
        with pytest.raises(errors.Forged):
            verify(rule, delivery(BODY, {"x-token": wrong}), ["new", "old"])


@pytest.mark.parametrize(
    ("auth", "more", "expected"),
    [
        ({"bearer": "token"}, {}, {"authorization": "Bearer canary-token"}),
        (
            {"basic": ["settings.user", "password"]},
            {"user": "hub", "password": "${env:P}"},
            {"authorization": "Basic " + base64.b64encode(b"hub:canary-password").decode()},
        ),
        ({"header": ["x-api-key", "token"]}, {}, {"x-api-key": "canary-token"}),
        ({"nothing": True}, {}, {}),
    ],
)
async def test_ways_to_prove_oneself(auth: Any, more: Any, expected: dict[str, str]) -> None:
    """Each puts its header on requests, and nothing of it into a repr."""
    http = Server()
    connector = connect(http, auth=auth, **more)
    await connector.lookups["order"].fetch("42", call(connector, http), 1)
    sent = {name: text for name, text in http.requests[0].headers.items() if name in ("authorization", "x-api-key")}

    assert sent == expected
    assert "canary" not in repr(connector)


OAUTH = {
    "auth": {
        "oauth2": {
            "token_url": "settings.url ~ '/token'",
            "client_id": "settings.client_id",
            "client_secret": "client_secret",
            "scope": "'orders'",
        }
    },
    "client_id": "hub",
    "client_secret": "${env:P}",
    "token": None,
}


async def test_client_credentials() -> None:
    """A token is fetched once, kept until shortly before its end, and fetched anew when it is refused."""
    http, clock = Server(), ManualClock()
    connector = connect(http, clock, **OAUTH)

    async def look() -> str:
        await connector.lookups["order"].fetch("42", call(connector, http, clock), 1)
        return str(http.requests[-1].headers["authorization"])

    used = [await look(), await look()]
    await clock.advance(541)
    used.append(await look())
    http.refused.add("second")
    used.append(await look())
    asked = [request for request in http.requests if request.url.path == "/token"]

    assert used == ["Bearer first", "Bearer first", "Bearer second", "Bearer third"]
    assert len(asked) == 3
    assert asked[0].headers["authorization"] == "Basic " + base64.b64encode(b"hub:canary-password").decode()
    assert parse_qs(bytes(asked[0].content).decode()) == {"grant_type": ["client_credentials"], "scope": ["orders"]}


async def test_a_client_that_is_refused() -> None:
    """It is `AuthFailed`, after one question; an outage of the token server is one."""

    class Closed(Server):
        status = 400

        async def send(self, request: Request, **_: Any) -> Response:
            self.requests.append(request)
            return Response(status=self.status, body=b'{"error": "invalid_client"}')

    http = Closed()
    connector = connect(http, **OAUTH)
    with pytest.raises(errors.AuthFailed, match="invalid_client"):
        await connector.lookups["order"].fetch("42", call(connector, http), 1)
    assert len(http.requests) == 1
    Closed.status = 503
    with pytest.raises(errors.Unavailable):
        await connector.lookups["order"].fetch("42", call(connector, http), 1)


async def test_a_poll() -> None:
    """Polls are those of manifests."""
    clock = ManualClock()
    now = clock.now_ms()
    things = {"things": [{"id": "1", "at": now + 1_000, "name": "A bike"}]}
    http = Server({"/things": things})
    events = [
        {
            "types": {"thing.made": "A thing."},
            "when": "true",
            "type": "'thing.made'",
            "id": "item.id",
            "source": "settings.url",
            "subject": "item.id",
            "time": "'2026-01-05T09:00:00Z'",
            "data": FIELDS,
        }
    ]
    poll = {
        "description": "Things.",
        "path": "/things",
        "records": "body.things",
        "id": "item.id",
        "version": "item.at | string",
        "time": "item.at",
        "events": events,
    }
    connector = connect(http, clock, polls={"things": poll})
    source, reading = connector.sources["things"], open_source_call(connector, http, key="s", timeout=5.0, clock=clock)
    [begun] = [page async for page in source.read(None, reading)]
    found = [event.id async for page in source.read(begun.cursor, reading) for event in page.events]

    assert found == ["1"]


@pytest.mark.parametrize(
    ("changes", "keys", "said"),
    [
        ({"lookups": {"x": {"description": "X.", "gt": "/x"}}}, ("lookups", "x", "gt"), "no key 'gt'"),
        (
            {"lookups": {"x": {"description": "X.", "get": "/x", "record": "body"}}},
            ("lookups", "x"),
            "'fields' is missing",
        ),
        ({"auth": {"bearer": "token", "nothing": True}}, ("auth",), "exactly one"),
        ({"events": [{**SYSTEM["events"][0], "when": "body.type =="}]}, ("events", 0, "when"), "column"),
        ({"verify": {"secret": "nobody", "way": "shared", "header": "x"}}, ("auth",), "'nobody' is not a secret"),
    ],
)
def test_mistakes_have_their_place(changes: Any, keys: tuple[Any, ...], said: str) -> None:
    """Each is told with the way to it."""
    with pytest.raises(SettingError, match=said) as raised:
        catalog.spec("rest", {**SYSTEM, **changes})

    assert raised.value.keys == keys


def test_the_least() -> None:
    """A webhook with a signature, one lookup and one action are there; without settings there is what editors need."""
    spec = catalog.spec("rest", SYSTEM)

    assert set(spec.events) == {"order.shipped"}
    assert set(spec.lookups) == {"order"}
    assert set(spec.actions) == {"remark"}
    assert catalog.spec("rest", {}).settings["properties"]["url"]
