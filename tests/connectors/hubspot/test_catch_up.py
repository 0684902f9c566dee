"""
The catch-up of HubSpot: new records no webhook told of, under the ids their webhooks would have had.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import jsonschema_rs
import pytest

from connectors import catalog, open_source_call
from connectors.bench import Receiver
from connectors.contract import Connector, Delivery
from connectors.double import serving
from connectors.hubspot.double import APP, PORTAL, TOKEN, HubspotDouble
from connectors.listening import listening
from penstock import errors
from penstock.clock import SystemClock
from penstock.http_aiohttp import AiohttpHttp
from penstock.secrets import Secrets
from schemas.events import Event

EVERY = ["contacts", "companies", "deals", "tickets"]


@dataclass
class Account:
    """
    A HubSpot, and a connection that searches it.
    """

    double: HubspotDouble
    connector: Connector
    http: AiohttpHttp

    async def read(self, cursor: bytes | None, many: str = "contacts") -> tuple[list[Event], bytes]:
        call = open_source_call(self.connector, self.http, key="s", timeout=5.0, clock=SystemClock())
        found: list[Event] = []
        async for page in self.connector.sources[many].read(cursor, call):
            found += page.events
            cursor = page.cursor or cursor
        assert cursor is not None
        return found, cursor


def given(url: str = "https://x.example", **more: Any) -> dict[str, Any]:
    return {
        "portal_id": str(PORTAL),
        "app_id": str(APP),
        "access_token": "${env:T}",
        "client_secret": "${env:H}",
        "url": url,
        **more,
    }


@pytest.fixture
async def account() -> AsyncIterator[Account]:
    double, http = HubspotDouble(), AiohttpHttp()
    async with serving(double) as url:
        secrets = Secrets({"T": TOKEN, "H": "hook"})
        settings = given(url, catch_up=EVERY)
        yield Account(double, catalog.open("hubspot", settings, secrets=secrets, http=http, clock=SystemClock()), http)
    await http.close()


def ago(seconds: float) -> str:
    moment = datetime.now(UTC) - timedelta(seconds=seconds)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


@pytest.mark.parametrize("many", EVERY)
async def test_one_record_by_webhook_and_by_search_is_one_event(account: Account, many: str) -> None:
    """The same source, id, type, record, actor and data, for every kind."""
    _, cursor = await account.read(None, many)
    got: list[Delivery] = []
    async with listening(Receiver(got, SystemClock())) as url:
        account.double.hooks.subscribe(f"{url}/in/x", "hook")
        account.double.created(many)
        await account.double.hooks.settled()
    [pushed] = account.connector.receive(got[0]).events
    [found], cursor = await account.read(cursor, many)
    again, _ = await account.read(cursor, many)

    assert found.model_dump(exclude={"time"}) == pushed.model_dump(exclude={"time"})
    assert again == []
    jsonschema_rs.validator_for(dict(account.connector.events[found.type])).validate(found.data)


async def test_what_was_there_is_no_event(account: Account) -> None:
    """An old record that changes is no new one; an import is none either."""
    old = account.double.created("contacts", at=ago(3600))["id"]
    _, cursor = await account.read(None)
    account.double.changed("contacts", old, {"email": "a@b.example"})
    account.double.created("contacts", source="IMPORT", by="import:1")
    found, _ = await account.read(cursor)

    assert found == []


async def test_more_than_a_search_shows(account: Account) -> None:
    """Ten thousand and some in one reading: each page begins where the last one ended, not at an offset."""
    _, cursor = await account.read(None)
    start = datetime.now(UTC)
    for number in range(10_250):
        moment = start + timedelta(milliseconds=number // 5)
        at = moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
        account.double.created("contacts", at=at)
    await SystemClock().sleep(max(0.0, 2.1 - (datetime.now(UTC) - start).total_seconds()))
    poll = account.connector.sources["contacts"].read.__self__  # type: ignore[attr-defined]
    poll.budget._size = poll.budget._left = 100_000.0  # a hundred pages at the pace of a test
    found, _ = await account.read(cursor)

    assert len(found) == len({event.id for event in found}) == 10_250


async def test_ties_and_a_record_the_search_shows_late(account: Account) -> None:
    """A hundred and fifty of one moment; one more comes with a later search."""
    _, cursor = await account.read(None)
    at = ago(0)
    for _ in range(150):
        account.double.created("contacts", at=at)
    late = account.double.created("contacts", at=at)["id"]
    account.double.unindexed.add(late)
    account.double.created("contacts")
    found, cursor = await account.read(cursor)
    account.double.unindexed.clear()
    after, _ = await account.read(cursor)

    assert len({event.id for event in found}) == len(found) == 151
    assert [event.subject for event in after] == [f"contacts/{late}"]


async def test_our_own_records_are_recognised(account: Account) -> None:
    """Those our app created are our own."""
    _, cursor = await account.read(None)
    account.double.created("contacts", source="INTEGRATION", by=str(APP))
    account.double.created("contacts", source="INTEGRATION", by="111")
    found, _ = await account.read(cursor)

    assert [True, False] == [account.connector.own(event) is not None for event in found]


async def test_a_kind_the_app_may_not_read(account: Account) -> None:
    """That only this search cannot be used: it is no refused credential, which would shut everything."""
    _, cursor = await account.read(None, "deals")
    account.double.scopes.discard("deals")
    with pytest.raises(errors.Rejected, match="MISSING_SCOPES"):
        await account.read(cursor, "deals")


async def test_all_searches_share_one_limit(account: Account) -> None:
    """HubSpot counts them together, whatever they search."""
    limits = {id(source.read.__self__.budget) for source in account.connector.sources.values()}  # type: ignore[attr-defined]

    assert len(limits) == 1


def test_only_what_is_wanted_is_searched() -> None:
    """Nothing without the setting."""
    assert catalog.spec("hubspot", given()).sources == {}
    assert set(catalog.spec("hubspot", given(catch_up=["deals", "tickets"])).sources) == {"deals", "tickets"}
    assert set(catalog.spec("hubspot").sources) == set(EVERY)
