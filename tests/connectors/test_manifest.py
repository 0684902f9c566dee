"""
What a manifest can say beyond what Zendesk and GitHub need, on a made-up system.
"""

from __future__ import annotations

from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import orjson
import pytest

import connectors
from connectors import catalog, open_call
from connectors.contract import Connector, Delivery
from connectors.declared import DeclaredConnector
from connectors.verification import sign
from penstock.clock import ManualClock
from penstock.errors import Invalid, Rejected, Unavailable, UnknownOutcome
from penstock.http import Request, Response
from penstock.redaction import Redactor
from penstock.secrets import Secrets

MANIFEST = """\
name: madeup
description: A made-up system.
settings:
  url: {description: "Its address.", default: "https://madeup.example"}
  token: {description: "Its token.", secret: true}
  hook: {description: "Its hook.", secret: true}
url: url
auth: {header: [x-api-key, token]}
verify: {secret: hook, encoding: hex, header: x-signature}
handshakes:
  - {when: body.challenge is string, reply: {text: body.challenge}}
events:
  - types: {thing.changed: A thing changed., thing.removed: A thing is gone.}
    each: body
    when: item.kind in ['changed', 'removed']
    type: "'thing.' ~ item.kind"
    id: "'thing/' ~ item.id ~ '/' ~ item.version"
    source: settings.url
    subject: item.id | string
    time: item.at
    partitionkey: item.parent
    data:
      id: {description: "Its id.", value: item.id, type: integer}
      changed: {description: "Its changed fields.", each: item.fields, value: item.name, type: strings}
lookups:
  things:
    description: Things.
    get: /things
    params: {of: by, page_size: most}
    records: body.items
    keep: not (item.hidden | default(false))
    pages: {by: next, next: body.next, most: 3}
    fields:
      id: {description: "Its id.", value: item.id, type: integer}
actions:
  make:
    description: Make a thing.
    takes: [fields]
    write: {method: POST, path: /things, json: {kind: "'thing'", name: args.fields.name, size: args.fields.size, fixed: 1}}
    returns: {remote_id: body.id}
    idempotency: {header: idempotency-key, lifetime: 3600}
  upsert:
    description: Put a thing under our own id.
    takes: [fields]
    write: {method: PUT, path: "/things/by-key/{key}", json: args.fields}
    idempotency: {external_id: true}
  shout:
    description: Shout.
    takes: [text]
    write: {method: POST, path: "/things/{record}/shouts", json: {say: args.text}}
  remark:
    description: Remark.
    takes: [text]
    write: {method: POST, path: "/things/{record}/remarks", json: {say: args.text, ref: key}}
    found: {remote_id: item.id}
    idempotency: {find: item.ref == key, look: {get: "/things/{record}/remarks", records: body}}
health: {get: /me, acts_as: body.id, detail: body.name}
"""


class Script:
    """
    An `Http` that answers from a list and keeps the requests.
    """

    def __init__(self) -> None:
        self.answers: list[Response] = []
        self.requests: list[Request] = []

    def say(self, *bodies: Any, status: int = 200) -> None:
        self.answers += [Response(status=status, body=orjson.dumps(body)) for body in bodies]

    async def send(self, request: Request, **_: Any) -> Response:
        self.requests.append(request)
        return self.answers.pop(0)

    async def close(self) -> None:
        pass


@pytest.fixture
def made_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> DeclaredConnector:
    monkeypatch.setattr(connectors, "__path__", list(connectors.__path__))
    folder = tmp_path / "connectors" / "madeup"
    folder.mkdir(parents=True)
    (folder / "manifest.yaml").write_text(MANIFEST)
    connectors.extend(tmp_path / "connectors")
    secrets = Secrets({"T": "token-value", "H": "hook-value"}, redactor=Redactor())
    settings = {"token": "${env:T}", "hook": "${env:H}"}
    found = catalog.open("madeup", settings, secrets=secrets, http=Script(), clock=ManualClock())
    assert isinstance(found, DeclaredConnector)
    return found


def call(connector: Connector, http: Script) -> Any:
    return open_call(connector, http, key="k1", slot="s1", timeout=5.0, clock=ManualClock())


def deliver(connector: DeclaredConnector, body: Any) -> Any:
    rule = connector.manifest.verify
    assert rule is not None
    plain = Delivery(method="POST", url="", headers={}, body=orjson.dumps(body), received_ms=0)
    headers = sign(rule, plain, "hook-value")
    return connector.receive(Delivery(method="POST", url="", headers=headers, body=plain.body, received_ms=0))


def test_own_connectors_are_found(made_up: DeclaredConnector) -> None:
    """A folder of a hub's own connectors adds to the catalog, and hides none of ours."""
    assert "madeup" in catalog.names()
    assert tuple(sorted(catalog.names())) == catalog.names()
    spec = catalog.spec("madeup")

    assert ["keyed", "keyed", "blind", "read-back"] == [action.idempotency for action in spec.actions.values()]
    assert 3600 == made_up.actions["make"].key_lifetime
    assert made_up.actions["shout"].find is None
    assert not spec.guarded


def test_connectors_of_installed_packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A package may register a connector; one that is broken is left out, and ours are never replaced."""
    for name in ("madeup", "zendesk"):
        (tmp_path / f"penstock_{name}").mkdir()
        (tmp_path / f"penstock_{name}" / "__init__.py").touch()
        (tmp_path / f"penstock_{name}" / "manifest.yaml").write_text(MANIFEST)
    monkeypatch.syspath_prepend(str(tmp_path))
    values = {"madeup": "penstock_madeup", "zendesk": "penstock_zendesk", "gone": "no_such.package"}
    entries = [EntryPoint(name, value, catalog.GROUP) for name, value in values.items()]
    monkeypatch.setattr(catalog, "entry_points", lambda group: entries)
    catalog._registered.cache_clear()
    try:
        assert {"madeup", "zendesk"} <= set(catalog.names())
        assert tmp_path / "penstock_madeup" == catalog.folder("madeup")
        assert tmp_path not in catalog.folder("zendesk").parents
    finally:
        catalog._registered.cache_clear()


def test_unknown_connectors() -> None:
    """An unknown name is told with the nearest one."""
    with pytest.raises(Invalid, match="did you mean 'zendesk'"):
        catalog.spec("zendsk")


def test_specs_are_complete() -> None:
    """Every built-in connector describes its settings, events and fields."""
    for name in catalog.names():
        spec = catalog.spec(name)

        assert spec.guarded
        assert all(setting["description"] for setting in spec.settings["properties"].values())
        assert all(schema["additionalProperties"] is False for schema in spec.events.values())
        assert [key for key, setting in spec.settings["properties"].items() if setting.get("x-secret")]
        for lookup in spec.lookups.values():
            assert all(field["description"] for field in lookup.fields.values())
        for action in spec.actions.values():
            assert action.emits <= set(spec.events)


def test_handshake_reply(made_up: DeclaredConnector) -> None:
    """A challenge is echoed at once."""
    received = deliver(made_up, {"challenge": "abc"})

    assert b"abc" == received.reply.body
    assert not received.events


def test_one_delivery_many_events(made_up: DeclaredConnector) -> None:
    """A list in the body gives one event per item that is wanted, in order."""
    at = "2026-01-05T09:00:00Z"
    items = [
        {"kind": "changed", "id": 1, "version": 2, "at": at, "fields": [{"name": "size"}], "parent": "p"},
        {"kind": "seen", "id": 2},
        {"kind": "removed", "id": 3, "version": 9, "at": at},
    ]
    events = deliver(made_up, items).events

    assert ["thing/1/2", "thing/3/9"] == [event.id for event in events]
    assert [("p", ["size"]), ("3", [])] == [(event.key, event.data["changed"]) for event in events]


def test_one_bad_item_rejects_the_delivery(made_up: DeclaredConnector) -> None:
    """Half a delivery is never published."""
    at = "2026-01-05T09:00:00Z"
    good = {"kind": "removed", "id": 3, "version": 9, "at": at}
    for bad in (
        {**good, "at": "yesterday"},
        {**good, "id": True},
        {**good, "id": "x"},
        {"kind": "removed", "id": 1, "at": at},
    ):
        with pytest.raises(Rejected):
            deliver(made_up, [good, bad])


async def test_pages_are_followed_as_far_as_needed(made_up: DeclaredConnector) -> None:
    """Pages are read until there is enough, hidden records do not count, and parameters are sent once."""
    http = Script()
    http.say(
        {"items": [{"id": 1}, {"id": 2, "hidden": True}], "next": "/things?page=2"},
        {"items": [{"id": 3}, {"id": 4}], "next": "/things?page=3"},
    )
    found = await made_up.lookups["things"].fetch("a&b", call(made_up, http), 3)

    assert [{"id": 1}, {"id": 3}, {"id": 4}] == found
    assert ["/things?of=a%26b&page_size=3", "/things?page=2"] == [request.url.raw_path_qs for request in http.requests]
    assert "token-value" == http.requests[0].headers["x-api-key"]


@pytest.mark.parametrize("body", [{"items": None}, {}, [], {"items": [{"id": "x"}]}, {"items": [{}]}, {"items": [5]}])
async def test_answers_that_do_not_fit(made_up: DeclaredConnector, body: Any) -> None:
    """An answer of another shape than declared is `Unavailable`: not the event's fault."""
    http = Script()
    http.say(body)
    with pytest.raises(Unavailable):
        await made_up.lookups["things"].fetch("a", call(made_up, http), 3)


async def test_key_in_a_header(made_up: DeclaredConnector) -> None:
    """The idempotency key goes into the header; what is not given is left out of the body."""
    http = Script()
    http.say({"id": 77})
    written = await made_up.actions["make"].write("", {"fields": {"name": 'a"b {{x}}'}}, "add", call(made_up, http))

    assert "77" == written.remote_id
    assert "k1" == http.requests[0].headers["idempotency-key"]
    assert {"kind": "thing", "name": 'a"b {{x}}', "fixed": 1} == orjson.loads(http.requests[0].content)


async def test_key_as_external_id(made_up: DeclaredConnector) -> None:
    """The idempotency key can be the record's own id in the path."""
    http = Script()
    http.say({})
    await made_up.actions["upsert"].write("", {"fields": {"a": 1}}, "add", call(made_up, http))

    assert "/things/by-key/k1" == http.requests[0].url.path


async def test_find_by_expression(made_up: DeclaredConnector) -> None:
    """A write can be found by any expression over what the system lists."""
    http = Script()
    http.say([{"id": 1, "ref": "other"}, {"id": 2, "ref": "k1"}], [{"id": 1, "ref": "other"}], {"not": "a list"})
    find = made_up.actions["remark"].find
    assert find is not None

    assert (found := await find("9", "add", call(made_up, http))) is not None
    assert ("2", True) == (found.remote_id, found.already)
    assert await find("9", "add", call(made_up, http)) is None
    with pytest.raises(Unavailable):
        await find("9", "add", call(made_up, http))


async def test_looking_has_an_end(made_up: DeclaredConnector, monkeypatch: pytest.MonkeyPatch) -> None:
    """When there is more than may be looked through, nobody can tell, and nothing is written twice."""
    rule = catalog.manifest("zendesk").actions["internal_note"]
    settings = {"subdomain": "a", "email": "a@b.example", "api_token": "${env:T}", "webhook_secret": "${env:T}"}
    desk = catalog.open(
        "zendesk", settings, secrets=Secrets({"T": "t"}, redactor=Redactor()), http=Script(), clock=ManualClock()
    )
    http, desk.acts_as = Script(), "9001"
    pages = rule.idempotency.look.pages.most
    http.say(*[{"comments": [], "next_page": f"https://a.zendesk.com/p?page={page}"} for page in range(pages)])
    with pytest.raises(UnknownOutcome):
        await desk.actions["internal_note"].find("1", "add", call(desk, http))

    assert pages == len(http.requests)


async def test_another_host_is_never_followed(made_up: DeclaredConnector) -> None:
    """A next page elsewhere is refused."""
    http = Script()
    http.say({"items": [], "next": "https://evil.example/things"})
    with pytest.raises(Rejected):
        await made_up.lookups["things"].fetch("a", call(made_up, http), 3)

    assert 1 == len(http.requests)


@pytest.mark.parametrize(
    "url",
    ["http://acme.zendesk.com", "ftp://x", "acme", "http://localhost.evil.example", "http://127.0.0.1.evil.example"],
)
def test_credentials_do_not_travel_in_clear(url: str) -> None:
    """A plain http address is allowed on this machine only."""
    settings = {
        "subdomain": "a",
        "email": "a@b.example",
        "api_token": "${env:T}",
        "webhook_secret": "${env:T}",
        "url": url,
    }
    with pytest.raises(Invalid):
        catalog.open(
            "zendesk", settings, secrets=Secrets({"T": "t"}, redactor=Redactor()), http=Script(), clock=ManualClock()
        )


def test_a_literal_secret_is_refused_and_not_repeated() -> None:
    """A secret in clear is refused with a hint, and is not in the message."""
    with pytest.raises(Invalid) as raised:
        catalog.open(
            "github",
            {"token": "ghp_clear", "webhook_secret": "${env:T}"},
            secrets=Secrets({}),
            http=Script(),
            clock=ManualClock(),
        )

    assert "ghp_clear" not in str(raised.value)
    assert "${env:" in str(raised.value)


def test_a_rotated_file_counts_at_once(tmp_path: Path) -> None:
    """A secret kept in a file is read again when the file has changed, and survives its replacement."""
    path = tmp_path / "hook"
    path.write_text("first")
    settings = {"token": "${env:T}", "webhook_secret": f"${{file:{path}}}"}
    secrets = Secrets({"T": "t"}, redactor=Redactor())
    hub = catalog.open("github", settings, secrets=secrets, http=Script(), clock=ManualClock())
    assert isinstance(hub, DeclaredConnector)
    rule, body = hub.manifest.verify, hub.samples[0].body
    assert rule is not None

    def arrives(secret: str) -> bool:
        plain = Delivery(method="POST", url="", headers={}, body=body, received_ms=0)
        headers = sign(rule, plain, secret)
        return bool(hub.receive(Delivery(method="POST", url="", headers=headers, body=body, received_ms=0)).events)

    assert arrives("first")
    path.unlink()
    assert arrives("first")
    path.write_text("second!")
    assert arrives("second!")
