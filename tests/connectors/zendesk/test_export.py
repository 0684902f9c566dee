"""
The catch-up of Zendesk: tickets no webhook told of, under the ids their webhooks would have had.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import jsonschema_rs
import pytest

from connectors import catalog, open_source_call
from connectors.bench import Receiver
from connectors.contract import Connector, Delivery
from connectors.double import serving
from connectors.double_faults import Fault
from connectors.listening import listening
from connectors.zendesk.double import AGENT_EMAIL, TOKEN, ZendeskDouble
from penstock import errors
from penstock.clock import SystemClock
from penstock.http_aiohttp import AiohttpHttp
from penstock.secrets import Secrets
from schemas.events import Event
from tests.connectors.reading import read_pages


@dataclass
class Desk:
    """
    A desk and a connection that reads its export.
    """

    double: ZendeskDouble
    connector: Connector
    http: AiohttpHttp

    async def read(self, cursor: bytes | None, *, pages: int = 1_000) -> tuple[list[Event], bytes]:
        return await read_pages(self.connector, "tickets", cursor, self.http, pages=pages)

    def opened(self, number: int, *, ago: float = 0.0, **more: object) -> None:
        at = (datetime.now(UTC) - timedelta(seconds=ago)).isoformat(timespec="seconds").replace("+00:00", "Z")
        self.double.opened(id=number, subject=f"Ticket {number}", requester_id=77, created_at=at, **more)


@pytest.fixture
async def desk() -> AsyncIterator[Desk]:
    double = ZendeskDouble()
    double.withheld = 0.0
    http = AiohttpHttp()
    async with serving(double) as url:
        given = {
            "subdomain": "acme",
            "email": AGENT_EMAIL,
            "api_token": "${env:T}",
            "webhook_secret": "${env:H}",
            "url": url,
        }
        secrets = Secrets({"T": TOKEN, "H": "hook"})
        yield Desk(double, catalog.open("zendesk", given, secrets=secrets, http=http, clock=SystemClock()), http)
    await http.close()


async def test_what_was_there_is_no_event(desk: Desk) -> None:
    """It begins now; an old ticket that changes later is still no new one."""
    desk.opened(1, ago=3600)
    _, cursor = await desk.read(None)
    desk.opened(2)
    desk.double.tickets[1]["updated_at"] = desk.double.tickets[2]["updated_at"]
    found, cursor = await desk.read(cursor)
    again, _ = await desk.read(cursor)

    assert [event.subject for event in found] == ["2"]
    assert again == []


async def test_one_ticket_by_webhook_and_by_export_is_one_event(desk: Desk) -> None:
    """The same source, id, type, record and data."""
    _, cursor = await desk.read(None)
    got: list[Delivery] = []
    async with listening(Receiver(got, SystemClock())) as url:
        desk.double.hooks.subscribe(f"{url}/in/x", "hook")
        desk.opened(7, priority="high", type="problem", tags=["vip"])
        await desk.double.hooks.settled()
    [pushed] = desk.connector.receive(got[0]).events
    [polled], _ = await desk.read(cursor)

    assert (pushed.source, pushed.id, pushed.type, pushed.subject) == (
        polled.source,
        polled.id,
        polled.type,
        polled.subject,
    )
    assert pushed.data == polled.data
    jsonschema_rs.validator_for(dict(desk.connector.events[polled.type])).validate(polled.data)


async def test_ties_across_pages(desk: Desk) -> None:
    """Five hundred tickets of one second, seventy to a page."""
    _, cursor = await desk.read(None)
    desk.double.export_page = 70
    for number in range(1, 501):
        desk.opened(number)
    now = max(ticket["updated_at"] for ticket in desk.double.tickets.values())
    for ticket in desk.double.tickets.values():
        ticket["updated_at"] = now
    found, _ = await desk.read(cursor)

    assert {event.subject for event in found} == {str(number) for number in range(1, 501)}
    assert len(found) == 500


async def test_a_crash_between_pages(desk: Desk) -> None:
    """From the cursor of any page on nothing is lost."""
    _, cursor = await desk.read(None)
    desk.double.export_page = 10
    for number in range(1, 31):
        desk.opened(number)
    first, saved = await desk.read(cursor, pages=1)
    again, _ = await desk.read(cursor, pages=1)
    rest, _ = await desk.read(saved)

    assert [event.id for event in first] == [event.id for event in again]
    assert len({event.id for event in (*first, *rest)}) == 30


async def test_a_cursor_that_is_not_taken_any_more(desk: Desk) -> None:
    """It reads by time again, and loses nothing."""
    _, cursor = await desk.read(None)
    desk.opened(1)
    _, cursor = await desk.read(cursor)
    desk.double.exports += 1
    desk.opened(2)
    found, cursor = await desk.read(cursor)
    desk.opened(3)
    later, _ = await desk.read(cursor)

    assert "2" in {event.subject for event in found}
    assert "3" in {event.subject for event in later}


async def test_what_is_withheld_comes_later(desk: Desk) -> None:
    """Zendesk keeps the last minute back; nothing of it is passed over."""
    _, cursor = await desk.read(None)
    desk.double.withheld = 60.0
    desk.opened(1)
    early, cursor = await desk.read(cursor)
    desk.double.withheld = 0.0
    late, _ = await desk.read(cursor)

    assert early == []
    assert [event.subject for event in late] == ["1"]


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        (Fault(kind="status", status=401, times=5), errors.AuthFailed),
        (Fault(kind="status", status=429, retry_after="7"), errors.Unavailable),
        (Fault(kind="status", status=500), errors.Unavailable),
        (Fault(kind="garbage"), errors.Unavailable),
        (Fault(kind="drop-before", times=3), errors.Unavailable),
    ],
)
async def test_failing_readings(desk: Desk, fault: Fault, error: type[Exception]) -> None:
    """Each way to fail has its error, and the next reading goes on where the last one was."""
    _, cursor = await desk.read(None)
    desk.opened(1)
    desk.double.faults.add(fault)
    before = len(desk.double.calls)
    with pytest.raises(error):
        await desk.read(cursor)
    assert len(desk.double.calls) - before <= 3
    desk.double.faults.clear()
    if fault.retry_after is None:
        found, _ = await desk.read(cursor)
        assert [event.subject for event in found] == ["1"]


async def test_an_agent_may_not_export(desk: Desk) -> None:
    """That only the catch-up cannot be used: it is no refused credential, which would shut everything."""
    _, cursor = await desk.read(None)
    desk.double.admin = False
    with pytest.raises(errors.Rejected, match="403"):
        await desk.read(cursor)


async def test_the_export_has_a_limit_of_its_own(desk: Desk) -> None:
    """When its ten requests a minute are used up, nothing else waits."""
    _, cursor = await desk.read(None)
    desk.opened(1)
    desk.double.exports_a_minute = 0
    with pytest.raises(errors.Unavailable) as raised:
        await desk.read(cursor)
    call = open_source_call(desk.connector, desk.http, key="s", timeout=5.0, clock=SystemClock())
    with pytest.raises(errors.Unavailable):
        await desk.read(cursor)
    ticket = await desk.connector.lookups["ticket"].fetch("1", call, 1)

    assert raised.value.retry_after is not None
    assert 0 < raised.value.retry_after <= 61
    assert ticket[0]["id"] == "1"


async def test_the_catch_up_can_be_off(desk: Desk) -> None:
    """Then there is no source, for a connection and for who looks at it."""
    given = {
        "subdomain": "acme",
        "email": AGENT_EMAIL,
        "api_token": "${env:T}",
        "webhook_secret": "${env:H}",
        "catch_up": "off",
    }
    secrets = Secrets({"T": TOKEN, "H": "hook"})
    off = catalog.open("zendesk", given, secrets=secrets, http=desk.http, clock=SystemClock())

    assert off.sources == {}
    assert catalog.spec("zendesk", given).sources == {}
    assert set(catalog.spec("zendesk", {**given, "catch_up": "on"}).sources) == {"tickets"}
    assert set(catalog.spec("zendesk").sources) == {"tickets"}
