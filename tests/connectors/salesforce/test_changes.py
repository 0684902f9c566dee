"""
What changes of Salesforce never lose: answers in pieces, gaps of large transactions, odd records, slow beginnings.
"""

from __future__ import annotations

import contextlib
from typing import Any

import orjson
import pytest

from connectors.salesforce import changes as changes_module
from connectors.salesforce.double_stream import SOMEBODY, USER
from penstock import errors
from tests.connectors.salesforce.test_salesforce import Org, connect, org, polled, stamp

__all__ = ["org", "polled"]  # fixtures


def made(org: Org, count: int, at: str) -> set[str]:
    return {f"{org.double.made('Account', Name=f'A{number}', at=at)['Id']}/created" for number in range(count)}


async def test_answers_in_pieces_by_polls(polled: Org, monkeypatch: pytest.MonkeyPatch) -> None:
    """Salesforce hands out 20 where 50 were asked for: of 130 changes within the overlap none is lost."""
    cursor = await polled.start("polled")
    polled.double.batch = 20
    ids = made(polled, 130, stamp(1))
    found, cursor = await polled.read(cursor, source="polled")
    again, _ = await polled.read(cursor, source="polled")

    assert {event.id for event in found} == ids
    assert again == []


@pytest.mark.parametrize("lost", ["position", "one by one"])
async def test_answers_in_pieces_by_the_stream(org: Org, lost: str) -> None:
    """What is read because a position is too old, or because of a gap, is read to its end."""
    cursor = await org.start()
    org.double.batch = 20
    ids = made(org, 130, stamp(0))
    del org.double.events[:]
    if lost == "position":
        org.double.oldest = 1
        org.double.tell("UPDATE", {"Id": "001000000009999AAA"}, (), ours=False)
    else:
        org.double.tell("GAP_OVERFLOW", {"Id": "001000000009999AAA"}, (), ours=False, ids=["001*"])
    found, _ = await org.read(cursor, 130)

    assert ids <= {event.id for event in found}


async def test_an_answer_that_leads_elsewhere(polled: Org, monkeypatch: pytest.MonkeyPatch) -> None:
    """The rest of an answer is only fetched where the API is: our token goes nowhere else."""
    cursor = await polled.start("polled")
    body = {"totalSize": 2, "done": False, "records": [], "nextRecordsUrl": ".elsewhere.example/services/data/x"}
    await polled.fault(kind="status", status=200, body=body, match="queryAll")

    with pytest.raises(errors.Unavailable, match="where the rest is"):
        await polled.read(cursor, source="polled")


async def test_a_gap_of_a_large_transaction(org: Org, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its records were made seconds before it was committed; they come in pages, and the last one has the position."""
    monkeypatch.setattr(changes_module, "PAGE", 2)
    ids = made(org, 5, stamp(-3))
    cursor = await org.start()
    org.double.tell("GAP_OVERFLOW", {"Id": "001000000009999AAA"}, (), ours=False, ids=["001*"])
    pages: list[Any] = []
    async with contextlib.aclosing(org.pages(cursor)) as reading:
        async for page in reading:
            pages.append(page)
            if page.cursor and page.cursor != cursor and len(pages) > 2:
                break

    assert {event.id for page in pages for event in page.events} == ids
    assert max(len(page.events) for page in pages) == 2
    assert [bool(page.cursor) for page in pages if page.events] == [False] * 3


async def test_a_position_that_is_too_old_after_a_large_transaction(org: Org) -> None:
    """What was made before its commit, which is the time the position has, is told as made."""
    cursor = await org.start()
    ids = made(org, 5, stamp(-3))
    for name in ids:
        account = org.double.records["Account"][name.partition("/")[0]]
        account["SystemModstamp"] = stamp(1)  # and changed since
    org.double.oldest = len(org.double.events)
    found, _ = await org.read(cursor, 10)

    assert ids <= {event.id for event in found}


async def test_a_change_before_the_first_answer(org: Org) -> None:
    """A stream may be silent for minutes at first: what changes meanwhile is found by the reading after it."""
    nobody = connect(org.url)
    silent = Org(org.double, org.url, "", nobody)
    cursor = None
    with pytest.raises(errors.Unavailable):
        async for page in silent.pages(None):
            cursor = page.cursor
    await nobody.close()
    account = org.double.made("Account", Name="Nadia Ltd")
    [event], after = await org.read(cursor, 1)

    assert event.id == f"{account['Id']}/created"
    assert cursor is not None
    assert orjson.loads(cursor)["replay"] is None
    assert after == cursor  # until the position is known


async def test_who_made_a_record_that_we_changed(polled: Org) -> None:
    """A person's record is theirs, also when our change of it was quicker than the poll; the change is ours."""
    await polled.crm.health(polled.call())
    cursor = await polled.start("polled")
    account = polled.double.made("Account", Name="Nadia Ltd", at=stamp(1))
    polled.double.change(account, ours=True, at=stamp(2), Industry="Retail")
    [created, updated], _ = await polled.read(cursor, source="polled")

    assert (created.type, created.actor, polled.crm.own(created)) == ("account.created", SOMEBODY, None)
    assert (updated.type, updated.actor) == ("account.updated", USER)
    assert polled.crm.own(updated)


async def test_an_odd_record_holds_up_no_other(polled: Org) -> None:
    """It is set aside with what is wrong, once, and those around it are events."""
    cursor = await polled.start("polled")
    ids = made(polled, 2, stamp(1))
    odd = polled.double.made("Account", Name="odd", at=stamp(1))
    odd["CreatedDate"] = "soon"
    pages = [page async for page in polled.pages(cursor, "polled")]
    again, _ = await polled.read(pages[-1].cursor, source="polled")
    [(refused, why)] = [one for page in pages for one in page.refused]

    assert {event.id for page in pages for event in page.events} == ids
    assert again == []
    assert (refused.subject, refused.data) == (odd["Id"], {})
    assert "soon" in why


async def test_an_odd_change_holds_up_no_other(org: Org) -> None:
    """A kind of change that nobody knows is set aside, and the stream goes on."""
    account = org.double.made("Account", Name="Nadia Ltd")
    cursor = await org.start()
    org.double.tell("MERGE", account, (), ours=False)
    org.double.change(account, Name="later")
    refused, events = [], []
    async with contextlib.aclosing(org.pages(cursor)) as reading:
        async for page in reading:
            refused += page.refused
            events += page.events
            if events:
                break

    assert [event.subject for event, _ in refused] == [account["Id"]]
    assert "MERGE" in refused[0][1]
    assert [event.type for event in events] == ["account.updated"]


async def test_parts_of_a_second_address(org: Org) -> None:
    """Avro says what an address is at the first one; parts of the second have names too, and so has the whole."""
    wide = {"fields": ["Name", "ShippingAddress", "ShippingCity", "BillingAddress"]}
    crm = connect(org.url, org.pubsub, objects={"Account": wide, "Contact": {"fields": ["Name"]}})
    broad = Org(org.double, org.url, org.pubsub, crm)
    account = org.double.made("Account", Name="Nadia Ltd")
    cursor = await broad.start()
    org.double.tell("UPDATE", account, ("Name",), ours=False, parts=("8-0x2", "99-0x1", "8-0xFF00"))
    [event], _ = await broad.read(cursor, 1)
    await crm.close()

    assert event.data["changed"] == ["Name", "ShippingAddress", "ShippingCity"]
