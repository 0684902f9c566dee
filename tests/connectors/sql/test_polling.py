"""
What a table's source never loses: rows that commit late, rows beside one of the future, rows beside an odd one.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from typing import Any

import pytest
import sqlalchemy as sa

from connectors.sql.polling import PAGE
from connectors.sql.times import before_now
from penstock.clock import ManualClock
from tests.connectors.sql.test_sql import NOON, OUTBOX, Shop, connect, server, shop

__all__ = ["server", "shop"]  # fixtures


@pytest.mark.parametrize("shop", ["postgresql"], indirect=True)
async def test_a_late_commit_while_the_table_is_busy(shop: Shop) -> None:
    """Who writes a page each time one is read never lets a reading end; a row that commits late is met all the same."""
    clock = ManualClock(NOON)
    connector = connect(shop.url, clock=clock)
    busy = Shop(shop.url, shop.engine, connector)
    table = connector._database
    slow, pages, read = shop.engine.connect(), 0, table.rows
    insert = "INSERT INTO outbox (at, kind, order_no, payload) VALUES (:at, 'order.shipped', :no, '{}')"

    async def rows(*args: Any, **words: Any) -> Any:
        nonlocal pages
        pages += 1
        await clock.advance(5.0)
        now = dt.datetime.fromtimestamp(clock.now_ms() / 1000, dt.UTC)
        shop.ship(*range(PAGE), at=now)
        if pages == 4:
            slow.execute(sa.text(insert), {"no": 4711, "at": now})
        if pages == 14:  # 50 of the 60 seconds that a transaction may take
            slow.commit()
        return await read(*args, **words)

    _, cursor = await busy.read(None)
    table.rows = rows  # type: ignore[method-assign]
    found, late, seen = [], 0, 0
    async for page in busy.pages(cursor):
        found += [event.id for event in page.events]
        late += sum(event.subject == "4711" for event in page.events)
        seen += 1
        if late or seen == 60:
            break
    slow.close()
    await connector.close()

    assert late == 1
    assert len(set(found)) == len(found)


@pytest.mark.parametrize("there", [True, False])
async def test_a_row_of_the_future(shop: Shop, there: bool) -> None:
    """It is an event, once, and silences nothing that comes after it, whether it was there at first or came later."""
    ahead = NOON + dt.timedelta(days=36_500)
    if there:
        shop.ship(1, at=ahead)
    _, cursor = await shop.read(None)
    if not there:
        shop.ship(1, at=ahead)
    found = []
    for number in (2, 3):
        shop.ship(number, at=dt.datetime.now(dt.UTC))
        ids, cursor = await shop.read(cursor)
        found += ids

    assert sorted(found) == [f"outbox/{number}" for number in ((2, 3) if there else (1, 2, 3))]


KINDS: Mapping[str, tuple[Any, Any]] = {
    "zone": (dt.datetime(2099, 1, 1, tzinfo=dt.timezone(dt.timedelta(hours=2))), NOON),
    "none": (dt.datetime(2099, 1, 1), NOON.replace(tzinfo=None)),  # noqa: DTZ001
    "date": (dt.date(2099, 1, 1), NOON.date()),
    "text": ("2099-01-01T00:00:00+02:00", "2026-01-05T14:00:00+02:00"),
    "text without": ("2099-01-01 00:00:00", "2026-01-05 12:00:00"),
    "day": ("2099-01-01", "2026-01-05"),
    "seconds": (4_070_908_800, int(NOON.timestamp())),
    "ms": (4_070_908_800_000.0, NOON.timestamp() * 1000),
    "past": ("2001-01-01", "2001-01-01"),
    "nothing": (None, None),
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_time_is_no_later_than_now(kind: str) -> None:
    """What lies ahead becomes now, in the kind the column has."""
    time, expected = KINDS[kind]
    found = before_now(time, NOON)

    assert (found, type(found)) == (expected, type(expected))


@pytest.mark.parametrize("shop", ["postgresql"], indirect=True)
async def test_a_row_of_no_time_at_all(shop: Shop) -> None:
    """PostgreSQL's `infinity`, which its driver cannot read, silences nothing, there or new."""
    insert = "INSERT INTO outbox (at, kind, order_no, payload) VALUES ('{}', 'order.shipped', 1, '{{}}')"
    shop.do(insert.format("infinity"))
    _, cursor = await shop.read(None)
    shop.do(insert.format("-infinity"))
    shop.do(insert.format("infinity"))
    shop.ship(2, at=dt.datetime.now(dt.UTC))
    found, _ = await shop.read(cursor)

    assert len(found) == 1


async def test_an_odd_row_holds_up_no_other(shop: Shop) -> None:
    """It is set aside, once, with what is wrong, and those around it are events."""
    if shop.engine.dialect.name == "postgresql":
        shop.do("ALTER TABLE outbox ALTER order_no TYPE TEXT")
    connector = connect(shop.url, sources={"outbox": OUTBOX | {"fields": {"payload": "object"}}})
    odd = Shop(shop.url, shop.engine, connector)
    _, cursor = await odd.read(None)
    insert = "INSERT INTO outbox (at, kind, order_no, payload) VALUES (:at, 'order.shipped', :no, :payload)"
    rows = [("1", "{}"), ("", "{}"), ("2", "[1]"), ("x" * 3_000, "{}"), ("3", "{}")]
    for number, payload in rows:
        shop.do(insert, at=shop.when(NOON), no=number, payload=payload)
    shop.do("INSERT INTO outbox (at, kind, order_no) VALUES (NULL, 'order.shipped', 'never')")
    if shop.engine.dialect.name == "sqlite":
        shop.do(insert, at="yesterday", no="5", payload="{}")
    found = []
    for _ in range(2):
        async for page in odd.pages(cursor):
            found.append(page)
            cursor = page.cursor or cursor
    refused = [one for page in found for one in page.refused]
    await connector.close()

    assert [event.subject for page in found for event in page.events] == ["1", "3"]
    assert [event.id for event, _ in refused][:3] == ["outbox/2", "outbox/3", "outbox/4"]
    assert all("row '" in why and "xxx" not in why for _, why in refused)
    assert [event.data for event, _ in refused] == [{}] * (4 if shop.engine.dialect.name == "sqlite" else 3)
