"""
Salesforce: its stream, its limits, what simple-salesforce does by itself, and what we write.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
import warnings
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import jsonschema_rs
import orjson
import pytest
from simple_salesforce.api import Salesforce

from connectors import catalog, open_call, open_source_call
from connectors.bench import KEY, NASTY, OTHER_KEY, SLOT
from connectors.contract import Call, Delivery
from connectors.double import serving
from connectors.salesforce import changes as changes_module
from connectors.salesforce.connector import SalesforceConnector
from connectors.salesforce.double import CLIENT, SECRET, SalesforceDouble
from connectors.salesforce.double_stream import FIELDS_OF, TOKEN, USER
from connectors.salesforce.facts import flat
from connectors.salesforce.guard import Guard
from connectors.salesforce.pubsub import changed_fields
from connectors.settings import SettingError
from penstock import errors
from penstock.clock import Clock, SystemClock
from penstock.redaction import Redactor
from penstock.secrets import Secrets
from schemas.events import Event

OBJECTS = {
    "Account": {
        "fields": ["Name", "Website", "Industry", "Description"],
        "external_id": "Hub_Key__c",
        "upsert_on": "ERP__c",
    },
    "Contact": {"fields": ["Name"]},
}
LOOKUPS = {
    "contacts_of": {"object": "Contact", "by": "AccountId", "fields": {"name": "Name", "site": "Account.Website"}},
}


def connect(
    url: str | None, pubsub: str = "127.0.0.1:9", *, secret: str = SECRET, clock: Clock | None = None, **more: Any
) -> SalesforceConnector:
    given = {
        "domain": "acme.my",
        "client_id": CLIENT,
        "client_secret": "${env:S}",
        "objects": OBJECTS,
        "lookups": LOOKUPS,
        "pubsub": pubsub,
        **({"url": url} if url else {}),
        **more,
    }
    found = catalog.open(
        "salesforce",
        given,
        secrets=Secrets({"S": secret}, redactor=Redactor()),
        http=None,  # type: ignore[arg-type]  # simple-salesforce and grpc send
        clock=clock or SystemClock(),
    )
    assert isinstance(found, SalesforceConnector)
    return found


@dataclass
class Org:
    """
    A pretended org and a connection to it.
    """

    double: SalesforceDouble
    url: str
    pubsub: str
    crm: SalesforceConnector
    clock: Clock = field(default_factory=SystemClock)

    def call(self, key: str = KEY, *, timeout: float = 10.0, fence: Any = None) -> Call:
        return open_call(
            self.crm,
            None,  # type: ignore[arg-type]
            key=key,
            slot=SLOT,
            timeout=timeout,
            fence=fence,
            clock=self.clock,
        )

    def pages(self, cursor: bytes | None, source: str = "changes") -> Any:
        call = open_source_call(self.crm, None, key="s", timeout=10.0, clock=SystemClock())  # type: ignore[arg-type]
        return self.crm.sources[source].read(cursor, call)

    async def read(
        self, cursor: bytes | None, count: int = 10**9, *, source: str = "changes", pages: int = 10**9
    ) -> tuple[list[Event], bytes | None]:
        """Read until *count* events came, or so many pages, or the reading ended."""
        found: list[Event] = []
        async with asyncio.timeout(60), contextlib.aclosing(self.pages(cursor, source)) as reading:
            async for page in reading:
                found += page.events
                cursor = page.cursor or cursor
                pages -= 1
                if len(found) >= count or not pages:
                    break
        return found, cursor

    async def start(self, source: str = "changes") -> bytes | None:
        pages = 2 if source == "changes" else 1  # when it begins, and the first keep-alive
        return (await self.read(None, source=source, pages=pages))[1]

    async def fault(self, **fault: Any) -> None:
        async with httpx.AsyncClient(trust_env=False) as client:
            assert (await client.post(f"{self.url}/_faults", json=fault)).status_code == 204

    async def write(self, name: str, record: str, key: str = KEY, **more: Any) -> Any:
        args = (
            {"text": more.pop("text", "A note.")}
            if name == "note"
            else {"fields": more.pop("fields", {"Industry": "Retail"})}
        )
        return await self.crm.actions[name].write(record, args, "add", self.call(key, **more))

    def asked(self) -> list[dict[str, Any]]:
        return [call for call in self.double.calls if not call["path"].endswith("/oauth2/token")]


@pytest.fixture
async def org() -> AsyncIterator[Org]:
    double = SalesforceDouble()
    async with serving(double) as url, double.pubsub() as pubsub:
        crm = connect(url, pubsub)
        yield Org(double, url, pubsub, crm)
        await crm.close()


# ---- the stream --------------------------------------------------------------------------------------


async def test_a_change_becomes_an_event(org: Org) -> None:
    """With the fields that changed, the whole record as it is, who changed it, and valid against its schema."""
    account = org.double.made("Account", Name="Nadia Ltd", Website="https://nadia.example")
    cursor = await org.start()
    org.double.change(account, Industry="Retail", Website="https://nadia.test")
    org.double.delete(org.double.made("Account", Name="Gone"))
    [changed, made, deleted], _ = await org.read(cursor, 3)

    assert (changed.type, changed.subject) == ("account.updated", account["Id"])
    assert changed.data["changed"] == ["Industry", "Website"]
    assert changed.data["Name"] == "Nadia Ltd"
    assert changed.actor == "005000000000002AAA"
    assert not changed.data["ours"]
    assert (made.type, made.id, deleted.type) == ("account.created", f"{made.subject}/created", "account.deleted")
    for event in (changed, made, deleted):
        jsonschema_rs.validator_for(dict(org.crm.events[event.type])).validate(event.data)


async def test_two_thousand_changes_over_cut_streams(org: Org) -> None:
    """Two thousand unique events, none twice from a saved cursor, and every own write recognised."""
    accounts = [org.double.made("Account", Name=f"A{number}") for number in range(100)]
    cursor = await org.start()
    for number in range(2_000):
        org.double.change(accounts[number % 100], ours=number % 5 == 0, Industry=f"I{number}")
    org.double.cut_after = 330
    found: list[Event] = []
    cuts = 0
    while len(found) < 2_000:
        try:
            async with asyncio.timeout(120), contextlib.aclosing(org.pages(cursor)) as reading:
                async for page in reading:
                    found += page.events
                    cursor = page.cursor or cursor
                    if len(found) >= 2_000:
                        break
        except errors.Unavailable:
            cuts += 1
    own = [event for event in found if org.crm.own(event)]

    assert cuts >= 5
    assert len({event.id for event in found}) == len(found) == 2_000
    assert len(own) == 400


async def test_a_keep_alive_moves_the_position(org: Org) -> None:
    """Also when nothing happens: a quiet topic's position does not grow too old."""
    cursor = await org.start()
    assert cursor is not None
    org.double.made("Account", Name="missed by nobody")
    _, later = await org.read(cursor, 1)
    _, quiet = await org.read(later, pages=1)

    assert (
        orjson.loads(quiet or b"")["replay"] == orjson.loads(later or b"")["replay"] != orjson.loads(cursor)["replay"]
    )


async def test_a_position_that_is_too_old(org: Org) -> None:
    """What changed since is read, then the stream goes on: nothing is lost, nothing that was read comes twice."""
    cursor = await org.start()
    accounts = [org.double.made("Account", Name=f"A{number}") for number in range(700)]
    org.double.oldest = len(org.double.events)
    found: list[Event] = []
    async with asyncio.timeout(60), contextlib.aclosing(org.pages(cursor)) as reading:
        async for page in reading:
            found += page.events
            cursor = page.cursor or cursor
            if len({event.subject for event in found}) == 700 and page.cursor:
                break
    org.double.change(
        accounts[0],
        Name="later",
        at=(datetime.now(UTC) + timedelta(seconds=5)).isoformat(timespec="seconds").replace("+00:00", ".000+0000"),
    )
    after, _ = await org.read(cursor, 1)

    assert {event.id for event in found} >= {f"{account['Id']}/created" for account in accounts}
    assert [event.type for event in after] == ["account.updated"]


@pytest.mark.parametrize("gap", ["GAP_UPDATE", "GAP_OVERFLOW"])
async def test_gaps_are_read_again(org: Org, gap: str) -> None:
    """What Salesforce could not tell is looked up; a wildcard of ids is every record that changed since."""
    account = org.double.made("Account", Name="Nadia Ltd", at="2020-01-01T00:00:00.000+0000")
    cursor = await org.start()
    account |= {
        "Name": "Changed",
        "SystemModstamp": datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", ".000+0000"),
    }
    ids = ["001*"] if gap == "GAP_OVERFLOW" else None
    org.double.tell(gap, account, (), ours=False, ids=ids)
    found, _ = await org.read(cursor, 1)

    assert [(event.type, event.data["Name"], event.data["changed"]) for event in found] == [
        ("account.updated", "Changed", [])
    ]


async def test_several_records_in_one_event(org: Org) -> None:
    """Each is an event of its own."""
    one, two = org.double.made("Account", Name="1"), org.double.made("Account", Name="2")
    cursor = await org.start()
    org.double.tell("UPDATE", one, ("Name",), ours=False, ids=[one["Id"], two["Id"]])
    found, _ = await org.read(cursor, 2)

    assert {event.subject for event in found} == {one["Id"], two["Id"]}
    assert len({event.id for event in found}) == 2


async def test_a_stream_that_refuses_us(org: Org) -> None:
    """It is told as such, and the next reading signs in anew."""
    cursor = await org.start()
    org.double.refuses = True
    with pytest.raises(errors.AuthFailed):
        await org.read(cursor, 1)
    org.double.refuses = False
    org.double.made("Account", Name="after")

    assert (await org.read(cursor, 1))[0]


async def test_a_stream_nobody_serves() -> None:
    """It is `Unavailable`."""
    double = SalesforceDouble()
    async with serving(double) as url:
        crm = connect(url)
        with pytest.raises(errors.Unavailable):
            await Org(double, url, "", crm).read(None, 1)
        await crm.close()


def test_bitmaps() -> None:
    """Fields by their place, nested ones by the place of their parent."""
    schema = {"fields": [{"name": "Header", "type": "string"}, *FIELDS_OF[1:]]}

    assert changed_fields(schema, ["0x6"]) == ["Name", "Website"]
    assert changed_fields(schema, ["7-0x2", "0x10"]) == ["BillingAddress.City", "Description"]
    assert [flat(name) for name in ("Name", "Name.FirstName", "BillingAddress.City")] == [
        "Name",
        "FirstName",
        "BillingCity",
    ]


# ---- polling -----------------------------------------------------------------------------------------


@pytest.fixture
async def polled(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Org]:
    monkeypatch.setattr(changes_module, "PAGE", 50)
    double = SalesforceDouble()
    async with serving(double) as url:
        crm = connect(url, changes="poll")
        yield Org(double, url, "", crm)
        await crm.close()


def stamp(seconds: float) -> str:
    return (datetime.now(UTC) + timedelta(seconds=seconds)).isoformat(timespec="seconds").replace("+00:00", ".000+0000")


async def test_made_changed_and_deleted_by_reading(polled: Org) -> None:
    """The id of what was made is that of the stream; a deleted record is told."""
    old = polled.double.made("Account", Name="old", at=stamp(-9_000))
    cursor = await polled.start("polled")
    new = polled.double.made("Account", Name="new", at=stamp(1))
    polled.double.change(old, at=stamp(2), Name="old but changed")
    found, cursor = await polled.read(cursor, source="polled")
    polled.double.delete(new)
    new["SystemModstamp"] = stamp(4)
    gone, _ = await polled.read(cursor, source="polled")

    assert found[0].id == f"{new['Id']}/created"
    assert [event.type for event in found] == ["account.created", "account.updated"]
    assert [event.type for event in gone] == ["account.deleted"]
    for event in (*found, *gone):
        jsonschema_rs.validator_for(dict(polled.crm.events[event.type])).validate(event.data)


# ---- writes ------------------------------------------------------------------------------------------

ACTIONS = ["update_account", "create_account", "upsert_account", "note"]
CODES: list[tuple[int, str, type[Exception]]] = [
    (400, "UNABLE_TO_LOCK_ROW", errors.Unavailable),
    (400, "DUPLICATES_DETECTED", errors.Rejected),
    (403, "REQUEST_LIMIT_EXCEEDED", errors.Unavailable),
    (403, "INSUFFICIENT_ACCESS", errors.Rejected),  # of this record: it stops no other
    (403, "API_DISABLED_FOR_ORG", errors.AuthFailed),
    (503, "", errors.UnknownOutcome),
    (503, "SERVER_UNAVAILABLE", errors.Unavailable),
    (404, "NOT_FOUND", errors.NotFound),
    (500, "UNKNOWN_EXCEPTION", errors.UnknownOutcome),
]


@pytest.mark.parametrize(("status", "code", "error"), CODES)
@pytest.mark.parametrize("name", ["update_account", "note"])
async def test_how_salesforce_refuses(org: Org, name: str, status: int, code: str, error: type[Exception]) -> None:
    """Each code of an error has its meaning, after one request."""
    account = org.double.made("Account", Name="Nadia Ltd")
    await org.crm.health(org.call())
    before = len(org.double.calls)
    fault = {"kind": "status", "status": status, "body": [{"errorCode": code}]}
    await org.fault(match="^(POST|PATCH) /services/data", **fault)
    with pytest.raises(error):
        await org.write(name, account["Id"], timeout=1.5)

    assert len(org.double.calls) - before <= 1


async def test_a_copied_note_is_not_ours(org: Org) -> None:
    """Whoever has not asked yet who we are asks first: a subject can be copied, who made a task cannot."""
    account = org.double.made("Account", Name="Nadia Ltd")
    await org.write("note", account["Id"])
    [ours] = org.double.records["Task"].values()
    other = org.double.made("Account", Name="Other")
    org.double.made("Task", Subject=ours["Subject"], Description=ours["Description"], WhatId=other["Id"])
    find = org.crm.actions["note"].find
    assert find is not None
    assert org.crm.acts_as is None

    assert await find(other["Id"], "add", org.call()) is None
    found = await find(account["Id"], "add", org.call())
    assert found is not None
    assert found.remote_id == ours["Id"]


async def test_what_is_written(org: Org) -> None:
    """Fields as they are, text as it stands, and our app's name on every write."""
    account = org.double.made("Account", Name="Nadia Ltd", ERP__c="47 11 'x'")
    await org.write("update_account", account["Id"], fields={"Description": NASTY})
    await org.write("upsert_account", "47 11 'x'", fields={"Industry": "Retail"})
    made = await org.write("create_account", "ignored", fields={"Name": "New"})
    await org.write("note", account["Id"], text=NASTY)
    [task] = org.double.records["Task"].values()

    assert account["Description"] == NASTY
    assert account["Industry"] == "Retail"
    assert org.double.records["Account"][made.remote_id]["Hub_Key__c"] == KEY
    assert task["Description"] == NASTY.strip()
    assert set(org.double.options) == {"client=penstock"}
    assert len(org.double.options) == 4


async def test_headers_survive_a_new_token(org: Org) -> None:
    """simple-salesforce leaves headers of a call out when it signs in anew; those of the session stay."""
    account = org.double.made("Account", Name="Nadia Ltd")
    await org.crm.health(org.call())
    await org.fault(kind="status", status=401, body=[{"errorCode": "INVALID_SESSION_ID"}], match="^PATCH")
    await org.write("update_account", account["Id"])

    assert org.double.options == ["client=penstock"]
    assert account["Industry"] == "Retail"


async def test_the_daily_limit_is_watched(org: Org) -> None:
    """Reads stop while there is a rest for others; writes go on."""
    account = org.double.made("Account", Name="Nadia Ltd")
    org.double.used, org.double.most = 899, 1_000
    await org.crm.lookups["account"].fetch(account["Id"], org.call(), 1)
    with pytest.raises(errors.Unavailable, match="for others") as raised:
        await org.crm.lookups["account"].fetch(account["Id"], org.call(), 1)
    await org.write("update_account", account["Id"])

    assert raised.value.retry_after == pytest.approx(3600, abs=60)


async def test_the_fence_is_asked_last(org: Org) -> None:
    """A worker that lost its lane writes nothing."""
    account = org.double.made("Account", Name="Nadia Ltd")
    await org.crm.health(org.call())
    before = len(org.double.calls)

    def fence() -> None:
        raise errors.Fenced

    for name in ACTIONS:
        with pytest.raises(errors.Fenced):
            await org.write(name, account["Id"], fence=fence)
    assert len(org.double.calls) == before


@pytest.mark.parametrize("record", ["", "..", "001", "001' OR Name != '", "a/b", "001000000000001AAA/x"])
async def test_records_that_are_none(org: Org, record: str) -> None:
    """They are `NotFound` before anything is sent."""
    for work in (
        lambda: org.write("update_account", record),
        lambda: org.write("note", record),
        lambda: org.crm.lookups["account"].fetch(record, org.call(), 1),
    ):
        with pytest.raises(errors.NotFound):
            await work()
    assert org.asked() == []


async def test_fields_nobody_declared(org: Org) -> None:
    """They are not written."""
    account = org.double.made("Account", Name="Nadia Ltd")
    with pytest.raises(errors.Rejected, match="OwnerId"):
        await org.write("update_account", account["Id"], fields={"OwnerId": "x"})


# ---- reads -------------------------------------------------------------------------------------------


async def test_lookups(org: Org) -> None:
    """Declared fields only, quotes in what is asked for stay data, relations by their path, a long text bounded."""
    account = org.double.made("Account", Name="O'Neill", Website="https://x.example", Description="x" * 1_000_000)
    for number in range(3):
        site = {"Account": {"Website": "https://x.example"}, "AccountId": account["Id"]}
        org.double.records["Contact"][f"c{number}"] = {
            "Id": f"c{number}", "Name": f"C{number}", "IsDeleted": False, "CreatedDate": stamp(number), **site,
        }  # fmt: skip
    [record] = await org.crm.lookups["account"].fetch(account["Id"], org.call(), 1)
    contacts = await org.crm.lookups["contacts_of"].fetch(account["Id"], org.call(), 2)
    nobody = await org.crm.lookups["contacts_of"].fetch("x' OR Name != '", org.call(), 5)

    assert set(record) == set(org.crm.lookups["account"].fields)
    assert record["Name"] == "O'Neill"
    assert len(record["Description"]) < 20_010
    assert record["modified"] == account["SystemModstamp"]
    assert org.crm.lookups["account"].version == "modified"
    assert contacts == [{"name": f"C{number}", "site": "https://x.example"} for number in (2, 1)]
    assert nobody == []
    with pytest.raises(errors.NotFound):
        await org.crm.lookups["account"].fetch("001000000000999AAA", org.call(), 1)


async def test_many_at_once(org: Org) -> None:
    """Sixteen threads of its own, not the few that all share; the event loop goes on."""
    account = org.double.made("Account", Name="Nadia Ltd")
    await org.crm.health(org.call())
    await org.fault(kind="slow", seconds=0.2, times=32, match="query")
    ticks = 0

    async def tick() -> None:
        nonlocal ticks
        while True:
            await asyncio.sleep(0.005)
            ticks += 1

    ticking = asyncio.create_task(tick())
    fetch = org.crm.lookups["account"].fetch
    found = await asyncio.gather(*(fetch(account["Id"], org.call(timeout=30), 1) for _ in range(32)))
    ticking.cancel()

    assert len(found) == 32
    assert len({thread.name for thread in threading.enumerate() if thread.name.startswith("salesforce")}) == 16
    assert ticks > 10


async def test_health(org: Org) -> None:
    """Who we are and what is left; a wrong secret is `auth`, nobody there `down`."""
    good = await org.crm.health(org.call())
    wrong, gone = connect(org.url, secret="wrong-canary"), connect("http://127.0.0.1:9")
    bad, down = await wrong.health(org.call()), await gone.health(org.call())
    await wrong.close()
    await gone.close()

    assert (good.state, good.acts_as) == ("ok", USER)
    assert good.quota_left is not None
    assert (bad.state, down.state) == ("auth", "down")
    assert "canary" not in bad.detail + down.detail + repr(wrong) + repr(vars(wrong._client))


async def test_secrets_stay_secret(org: Org) -> None:
    """Neither secret nor token is in an error, also when Salesforce echoes them."""
    account = org.double.made("Account", Name="Nadia Ltd")
    await org.crm.health(org.call())
    echo = [{"errorCode": "OTHER", "message": f"{SECRET} {TOKEN}"}]
    await org.fault(kind="status", status=400, body=echo, match="PATCH")
    with pytest.raises(errors.Rejected) as raised:
        await org.write("update_account", account["Id"])

    assert SECRET not in str(raised.value)
    assert TOKEN not in str(raised.value)


def mocked() -> Any:
    """Return what simple-mockforce puts in Salesforce's place; an old library of its warns at its import."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import simple_mockforce
    return simple_mockforce.mock_salesforce


@mocked()
def test_a_double_by_others() -> None:
    """simple-mockforce, which others wrote, understands what we send: a record is made, and our SOQL finds it."""
    salesforce = Salesforce(instance="mock.salesforce.com", session_id="123", domain="mock")
    salesforce.session.mount("https://guarded.example", Guard(None))
    made = salesforce.Account.create({"Name": "Nadia Ltd", "Industry": "Mining"})
    query = f"SELECT Id, Name, Industry FROM Account WHERE Id = '{made['id']}' ORDER BY Id LIMIT 1"
    found = salesforce.query(query)

    assert [record["Industry"] for record in found["records"]] == ["Mining"]


# ---- settings ----------------------------------------------------------------------------------------


def test_what_settings_offer() -> None:
    """Events, lookups and actions follow the objects; without a key of ours `create` is blind."""
    spec = catalog.spec("salesforce", {"objects": {"Order_Line__c": {"fields": ["Qty__c"]}}, "changes": "none"})

    assert set(spec.events) == {f"order_line.{verb}" for verb in ("created", "updated", "deleted", "undeleted")}
    assert set(spec.actions) == {"update_order_line", "create_order_line", "note"}
    assert spec.actions["create_order_line"].idempotency == "blind"
    assert spec.sources == {}


@pytest.mark.parametrize(
    ("settings", "keys"),
    [
        ({"objects": {"Account": {}}}, ("objects", "Account")),
        ({"objects": {"Account": {"fields": ["Name; DROP"]}}}, ("objects", "Account", "fields", 0)),
        ({"objects": OBJECTS, "lookups": {"account": LOOKUPS["contacts_of"]}}, ("lookups", "account")),
        ({"objects": OBJECTS, "lookups": {"x": {**LOOKUPS["contacts_of"], "by": "a b"}}}, ("lookups", "x", "by")),
    ],
)
def test_mistakes_have_their_place(settings: Any, keys: tuple[Any, ...]) -> None:
    """Each is told with the way to it."""
    with pytest.raises(SettingError) as raised:
        catalog.spec("salesforce", settings)

    assert raised.value.keys == keys


async def test_it_takes_no_deliveries(org: Org) -> None:
    """Salesforce delivers nothing to us."""
    delivery = Delivery(method="POST", url="https://x.example", headers={}, body=b"{}", received_ms=0)
    with pytest.raises(errors.Rejected):
        org.crm.receive(delivery)
    assert await org.crm.actions["note"].find("001000000000001AAA", "add", org.call(OTHER_KEY)) is None  # type: ignore[misc]
