"""
A database as a connection: lookups that only read, rows that become events, on SQLite and a real PostgreSQL.
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import os
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest
import sqlalchemy as sa

from connectors import catalog, open_call, open_source_call
from connectors.contract import Delivery, Page
from connectors.sql.connector import SqlConnector
from ledger.testing_server import ELSEWHERE, LocalServer
from penstock import errors
from penstock.clock import Clock, SystemClock
from penstock.errors import Invalid
from penstock.secrets import Secrets

NO_HTTP: Any = None
CANARY = "canary-of-the-warehouse"
LOOKUPS = {
    "customer": {
        "query": "SELECT id, name, tier, notes FROM customers WHERE id = CAST(:by AS INTEGER)",
        "fields": {"id": "string", "name": "string", "tier": "string", "notes": "string"},
        "ttl": 60,
    },
    "orders": {
        "query": "SELECT number, total, paid FROM orders WHERE customer = CAST(:by AS INTEGER) ORDER BY number DESC LIMIT :most",
        "fields": {"number": "integer", "total": "number", "paid": "boolean"},
        "many": True,
    },
}
OUTBOX = {
    "table": "outbox",
    "id": "id",
    "time": "at",
    "type": "kind",
    "events": ["order.shipped", "order.cancelled"],
    "subject": "order_no",
    "fields": {"order_no": "string", "payload": "object"},
    "overlap": 60,
    "every": 5,
}
CHANGES = {
    "table": "customers",
    "id": "id",
    "time": "changed",
    "event": "customer.updated",
    "changes": True,
    "fields": {"id": "string", "name": "string", "tier": "string"},
    "overlap": 60,
}
TABLES = """
CREATE TABLE customers (id INTEGER PRIMARY KEY, name TEXT, tier TEXT, notes TEXT, secret TEXT, changed {time});
CREATE TABLE orders (number INTEGER PRIMARY KEY, customer INTEGER, total NUMERIC(12, 2), paid BOOLEAN);
CREATE TABLE outbox (id {serial}, at {time}, kind TEXT, order_no INTEGER, payload {json});
"""
NOON = dt.datetime(2026, 1, 5, 12, tzinfo=dt.UTC)


@dataclass
class Shop:
    """
    A database with customers, orders and an outbox, and a connection that reads it.
    """

    url: str
    engine: sa.Engine
    connector: SqlConnector

    def do(self, statement: str, **values: Any) -> None:
        with self.engine.begin() as connection:
            connection.execute(sa.text(statement), values)

    def ship(self, *numbers: int, at: dt.datetime = NOON, kind: str = "order.shipped") -> None:
        values = [
            {"at": self.when(at), "kind": kind, "no": number, "payload": '{"carrier": "post"}'} for number in numbers
        ]
        with self.engine.begin() as connection:
            connection.execute(
                sa.text("INSERT INTO outbox (at, kind, order_no, payload) VALUES (:at, :kind, :no, :payload)"), values
            )

    def when(self, at: dt.datetime) -> Any:
        return at.isoformat() if self.engine.dialect.name == "sqlite" else at

    async def look(self, name: str, by: str, most: int = 5, timeout: float = 5.0) -> list[dict[str, Any]]:
        call = open_call(self.connector, NO_HTTP, key="1" * 64, slot="", timeout=timeout, clock=SystemClock())
        return await self.connector.lookups[name].fetch(by, call, most)

    async def read(self, cursor: bytes | None, source: str = "outbox", pages: int = 1_000) -> tuple[list[str], bytes]:
        """Return the ids of what is new, and the cursor behind *pages* pages."""
        found: list[str] = []
        async for page in self.pages(cursor, source):
            found += [event.id for event in page.events]
            cursor = page.cursor or cursor
            pages -= 1
            if not pages:
                break
        assert cursor is not None
        return found, cursor

    def pages(self, cursor: bytes | None, source: str = "outbox") -> AsyncIterator[Page]:
        call = open_source_call(self.connector, NO_HTTP, key="s", timeout=5.0, clock=SystemClock())
        return self.connector.sources[source].read(cursor, call)


def connect(url: str, *, clock: Clock | None = None, secrets: Secrets | None = None, **settings: Any) -> SqlConnector:
    given = {"url": "${env:WAREHOUSE}", "lookups": LOOKUPS, "sources": {"outbox": OUTBOX, "changes": CHANGES}}
    found = catalog.open(
        "sql",
        given | settings,
        secrets=secrets or Secrets({"WAREHOUSE": url}),
        http=None,  # type: ignore[arg-type]  # it speaks no HTTP
        clock=clock or SystemClock(),
    )
    assert isinstance(found, SqlConnector)
    return found


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    if elsewhere := os.environ.get(ELSEWHERE):
        yield elsewhere
        return
    local = LocalServer()
    local.start()
    yield local.dsn
    local.remove()


@pytest.fixture(params=["sqlite", "postgresql"])
async def shop(request: Any, tmp_path: Path) -> AsyncIterator[Shop]:
    if request.param == "sqlite":
        url, words = (
            f"sqlite:///{tmp_path / 'shop.db'}",
            {"time": "TEXT", "serial": "INTEGER PRIMARY KEY", "json": "TEXT"},
        )
        engine = sa.create_engine(url)
    else:
        dsn = request.getfixturevalue("server")
        url = dsn.replace("postgresql://", "postgresql+psycopg://")
        words = {"time": "TIMESTAMPTZ", "serial": "SERIAL PRIMARY KEY", "json": "JSONB"}
        engine = sa.create_engine(url)
        with engine.begin() as connection:
            connection.execute(sa.text("DROP TABLE IF EXISTS customers, orders, outbox"))
    with engine.begin() as connection:
        for statement in TABLES.format(**words).split(";"):
            if statement.strip():
                connection.execute(sa.text(statement))
    found = Shop(url, engine, connect(url))
    changed = {"now": found.when(NOON), "canary": CANARY}
    found.do("INSERT INTO customers VALUES (7, 'Nadia \"N\" {{ 7*7 }} 😀', 'gold', 'x', :canary, :now)", **changed)
    found.do("INSERT INTO orders VALUES (1, 7, 12.5, TRUE), (2, 7, 3, FALSE), (3, 7, 0.1, TRUE), (4, 8, 9, TRUE)")
    yield found
    await found.connector.close()
    engine.dispose()


# ---- lookups ---------------------------------------------------------------------------------------


async def test_a_lookup_gives_its_declared_fields(shop: Shop) -> None:
    """Of the declared types, text as it stands, and no other column."""
    (customer,) = await shop.look("customer", "7")
    orders = await shop.look("orders", "7", most=2)

    assert customer == {"id": "7", "name": 'Nadia "N" {{ 7*7 }} 😀', "tier": "gold", "notes": "x"}
    assert orders == [{"number": 3, "total": 0.1, "paid": True}, {"number": 2, "total": 3, "paid": False}]
    for name, record in (("customer", customer), ("orders", orders[0])):
        for field, schema in shop.connector.lookups[name].fields.items():
            jsonschema_rs.validator_for(dict(schema)).validate(record[field])


@pytest.mark.parametrize("by", ["8", "999999"])
async def test_nothing_found(shop: Shop, by: str) -> None:
    """One record that is not there is `NotFound`; a list of none is empty."""
    with pytest.raises(errors.NotFound):
        await shop.look("customer", by)

    assert len(await shop.look("orders", by)) == (1 if by == "8" else 0)


async def test_what_is_asked_for_is_data(shop: Shop) -> None:
    """Whatever stands in an event is bound as a value."""
    with contextlib.suppress(errors.Rejected):  # PostgreSQL calls it no number
        assert await shop.look("orders", "7 OR 1=1") in ([], await shop.look("orders", "7"))
    with contextlib.suppress(errors.Rejected):
        await shop.look("orders", "7'; DROP TABLE orders; --")

    assert len(await shop.look("orders", "7")) == 3


async def test_nothing_is_written(shop: Shop) -> None:
    """A query that hides a write is refused by the database itself."""
    if shop.engine.dialect.name == "sqlite":
        query = "WITH x AS (SELECT 1 AS one) INSERT INTO orders SELECT 99, 7, one, one FROM x RETURNING number"
    else:
        shop.do(
            "CREATE OR REPLACE FUNCTION sneak() RETURNS INTEGER LANGUAGE sql AS "
            "'INSERT INTO orders VALUES (99, 7, 1, TRUE) RETURNING number'"
        )
        query = "SELECT sneak() AS number"
    sneaky = {"query": query}
    connector = connect(shop.url, lookups={"bad": sneaky | {"fields": {"number": "integer"}, "many": True}})
    bad = Shop(shop.url, shop.engine, connector)
    with pytest.raises(errors.EdgeError) as raised:
        await bad.look("bad", "7")
    await connector.close()

    assert "read" in str(raised.value), raised.value
    assert len(await shop.look("orders", "7")) == 3


async def test_rows_and_fields_are_bounded(shop: Shop) -> None:
    """A million characters come as twenty thousand with a mark, a thousand rows as those that were asked for."""
    shop.do("UPDATE customers SET notes = :text", text="ä" * 1_000_000)
    (customer,) = await shop.look("customer", "7")
    everything = {
        "query": "SELECT o.number FROM orders o, orders p, orders q, orders r",
        "fields": {"number": "integer"},
    }
    connector = connect(shop.url, lookups={"all": everything | {"many": True}})
    found = await Shop(shop.url, shop.engine, connector).look("all", "", most=100)
    await connector.close()

    assert len(customer["notes"]) < 20_010
    assert customer["notes"].endswith("[…]")
    assert len(found) == 100


async def test_a_slow_query_is_stopped(shop: Shop) -> None:
    """After its time it is `Unavailable`, the database works no more on it, and the connection can be used again."""
    forever = {
        "sqlite": "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) SELECT max(x) AS number FROM n",
        "postgresql": "SELECT 1 AS number, pg_sleep(600)",
    }[shop.engine.dialect.name]
    connector = connect(shop.url, lookups={**LOOKUPS, "slow": {"query": forever, "fields": {"number": "integer"}}})
    slow = Shop(shop.url, shop.engine, connector)
    with pytest.raises(errors.Unavailable):
        await asyncio.gather(*(slow.look("slow", "", timeout=0.5) for _ in range(8)))
    found = await slow.look("orders", "7")
    await connector.close()

    assert len(found) == 3
    if shop.engine.dialect.name == "postgresql":
        with shop.engine.connect() as connection:
            running = connection.execute(
                sa.text("SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%pg_sleep(600)' AND state = 'active'")
            )
            assert running.scalar() == 0


async def test_many_at_once(shop: Shop) -> None:
    """More lookups than connections wait for their turn; the event loop goes on meanwhile."""
    ticks = 0

    async def tick() -> None:
        nonlocal ticks
        while True:
            await asyncio.sleep(0.001)
            ticks += 1

    ticking = asyncio.create_task(tick())
    found = await asyncio.gather(*(shop.look("orders", "7", timeout=30.0) for _ in range(64)))
    ticking.cancel()

    assert all(len(orders) == 3 for orders in found)
    assert ticks > 0


async def test_a_changed_table_is_told(shop: Shop) -> None:
    """A column that is gone, or holds something else, is named."""
    rules = {
        "gone": {"query": "SELECT 1 AS one", "fields": {"two": "integer"}},
        "other": {"query": "SELECT 'x' AS one", "fields": {"one": "integer"}},
        "typo": {"query": "SELECT nmae FROM customers", "fields": {"nmae": "string"}},
    }
    connector = connect(shop.url, lookups=rules)
    wrong = Shop(shop.url, shop.engine, connector)
    said = {}
    for name in rules:
        with pytest.raises(errors.EdgeError) as raised:
            await wrong.look(name, "")
        said[name] = str(raised.value)
    await connector.close()

    assert "no column 'two'" in said["gone"]
    assert "'one' is declared 'integer'" in said["other"]
    assert "nmae" in said["typo"]


# ---- health and secrets ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "state"),
    [
        (f"postgresql://reader:{CANARY}@127.0.0.1:9/shop", "down"),
        (f"postgresql://reader:{CANARY}@no-such-host.invalid/shop", "down"),
        (f"mysql+nodriver://reader:{CANARY}@127.0.0.1/shop", "down"),
    ],
)
async def test_health_of_what_is_not_there(url: str, state: str) -> None:
    """It is `down`, and nobody hears the password."""
    connector = connect(url)
    call = open_call(connector, NO_HTTP, key="h", slot="", timeout=3.0, clock=SystemClock())
    health = await connector.health(call)
    seen = [repr(health), repr(connector), repr(vars(connector)), repr(connector._database)]
    with pytest.raises(errors.EdgeError) as raised:
        await connector.lookups["customer"].fetch("7", call, 1)
    seen.append(repr(raised.value))
    await connector.close()

    assert health.state == state
    assert not [text for text in seen if CANARY in text]


async def test_a_wrong_password_is_refused(server: str) -> None:
    """It shuts the gate of the connection and is not tried again and again."""
    connector = connect(server.replace("penstock@", f"nobody:{CANARY}@"))
    call = open_call(connector, NO_HTTP, key="h", slot="", timeout=3.0, clock=SystemClock())
    health = await connector.health(call)
    await connector.close()

    assert health.state == "auth"
    assert CANARY not in health.detail


def test_an_address_that_is_none() -> None:
    """What cannot be read is refused at once, and not repeated: there may be a password in it."""
    with pytest.raises(Invalid, match="no address of a database") as raised:
        connect(f"postgres/{CANARY}")

    assert CANARY not in str(raised.value)


def test_it_takes_no_deliveries(tmp_path: Path) -> None:
    """A database delivers nothing."""
    connector = connect(f"sqlite:///{tmp_path / 'x.db'}")
    delivery = Delivery(method="POST", url="https://x.example", headers={}, body=b"{}", received_ms=0)
    with pytest.raises(errors.Rejected):
        connector.receive(delivery)


# ---- sources ---------------------------------------------------------------------------------------


async def test_the_first_reading_begins_now(shop: Shop) -> None:
    """What is there already is no event; what comes later is one, once."""
    shop.ship(1, 2)
    first, cursor = await shop.read(None)
    shop.ship(3)
    second, cursor = await shop.read(cursor)
    third, cursor = await shop.read(cursor)

    assert (first, second, third) == ([], ["outbox/3"], [])


async def test_an_empty_table(shop: Shop) -> None:
    """Of a table that is empty at first, every row is an event."""
    first, cursor = await shop.read(None)
    shop.ship(1, at=NOON - dt.timedelta(days=900))
    second, _ = await shop.read(cursor)

    assert (first, second) == ([], ["outbox/1"])


async def test_what_a_row_becomes(shop: Shop) -> None:
    """Type, record, time and data come from columns, the source from the address, without its password."""
    _, cursor = await shop.read(None)
    shop.ship(77)
    (page,) = [page async for page in shop.pages(cursor)]
    (event,) = page.events

    assert (event.type, event.subject, event.time) == ("order.shipped", "77", NOON)
    assert event.data == {"order_no": "77", "payload": {"carrier": "post"}}
    assert event.source.startswith(shop.engine.dialect.name)
    jsonschema_rs.validator_for(dict(shop.connector.events[event.type])).validate(event.data)


async def test_ties_across_the_edge_of_a_page(shop: Shop) -> None:
    """Five hundred rows of one moment are five hundred events."""
    _, cursor = await shop.read(None)
    shop.ship(*range(500))
    found, _ = await shop.read(cursor)

    assert len(found) == 500
    assert len(set(found)) == 500


async def test_a_late_commit_inside_the_overlap(shop: Shop) -> None:
    """A row whose transaction took longer, and which carries an older time than the newest read, is not lost."""
    shop.ship(1)
    _, cursor = await shop.read(None)
    shop.ship(2, at=NOON + dt.timedelta(seconds=50))
    second, cursor = await shop.read(cursor)
    shop.ship(3, at=NOON + dt.timedelta(seconds=10))
    late, cursor = await shop.read(cursor)
    shop.ship(4, at=NOON - dt.timedelta(seconds=11))
    too_late, _ = await shop.read(cursor)

    assert (second, late, too_late) == (["outbox/2"], ["outbox/3"], [])


@pytest.mark.parametrize("shop", ["postgresql"], indirect=True)
async def test_a_real_late_commit(shop: Shop) -> None:
    """The same with a transaction that is open while the next one commits: a bare `>` would lose it."""
    _, cursor = await shop.read(None)
    slow = shop.engine.connect()
    insert = "INSERT INTO outbox (at, kind, order_no, payload) VALUES (now(), 'order.shipped', :no, '{}')"
    slow.execute(sa.text(insert), {"no": 1})
    await asyncio.sleep(0.01)
    shop.do(insert, no=2)
    early, cursor = await shop.read(cursor)
    slow.commit()
    slow.close()
    late, _ = await shop.read(cursor)

    assert (early, late) == (["outbox/2"], ["outbox/1"])


async def test_the_cursor_stays_small(shop: Shop) -> None:
    """It remembers the rows of the overlap and no others."""
    _, cursor = await shop.read(None)
    for hour in range(5):
        shop.ship(*range(50), at=NOON + dt.timedelta(hours=hour))
        _, cursor = await shop.read(cursor)

    assert len(cursor) < 5_000


async def test_changes_of_a_row(shop: Shop) -> None:
    """A row is an event each time it changed: two changes within a second are two, none is none."""
    _, cursor = await shop.read(None, "changes")
    found = []
    for ms in (100, 200):
        at = shop.when(NOON + dt.timedelta(milliseconds=ms))
        shop.do("UPDATE customers SET tier = 'silver', changed = :at WHERE id = 7", at=at)
        ids, cursor = await shop.read(cursor, "changes")
        found += ids
    none, _ = await shop.read(cursor, "changes")

    assert len(set(found)) == 2
    assert none == []
    assert all(name.startswith("changes/7/2026-01-05") for name in found)


async def test_changes_of_one_moment(shop: Shop) -> None:
    """A time that is too coarse tells two changes as one: the second is an event, too, if it was read after the first."""
    _, cursor = await shop.read(None, "changes")
    found = []
    for tier in ("silver", "bronze", "bronze"):
        shop.do("UPDATE customers SET tier = :tier WHERE id = 7", tier=tier)
        ids, cursor = await shop.read(cursor, "changes")
        found.append(len(ids))

    assert found == [1, 1, 0]


async def test_rows_of_other_kinds_are_passed(shop: Shop) -> None:
    """A row of a type that is not declared stops nothing."""
    _, cursor = await shop.read(None)
    shop.ship(1, kind="order.lost")
    shop.ship(2)
    found, _ = await shop.read(cursor)

    assert found == ["outbox/2"]


async def test_a_notification_wakes_it(shop: Shop) -> None:
    """PostgreSQL says that there is something; what came before we listened is found too."""
    if shop.engine.dialect.name == "sqlite":
        with pytest.raises(Invalid, match="only PostgreSQL"):
            connect(shop.url, sources={"outbox": OUTBOX | {"listen": "news"}})
        return
    connector = connect(shop.url, sources={"outbox": OUTBOX | {"listen": "news", "every": 3600}})
    listening = Shop(shop.url, shop.engine, connector)
    _, cursor = await shop.read(None)
    shop.ship(1)
    pages = listening.pages(cursor)
    async with asyncio.timeout(30):
        before = await anext(pages)
        waiting = asyncio.ensure_future(anext(pages))
        await asyncio.sleep(0.3)
        asleep = not waiting.done()
        shop.ship(2)
        shop.do("NOTIFY news")
        after = await waiting
    await pages.aclose()  # type: ignore[attr-defined]
    await connector.close()

    assert asleep
    assert [event.id for page in (before, after) for event in page.events] == ["outbox/1", "outbox/2"]


async def test_a_database_that_goes_away_while_it_listens(server: str) -> None:
    """The reading ends with `Unavailable`, and begins again from its cursor."""
    connector = connect(server, sources={"outbox": OUTBOX | {"listen": "news", "every": 3600}})
    engine = sa.create_engine(server.replace("postgresql://", "postgresql+psycopg://"))
    with engine.begin() as connection:
        connection.execute(sa.text("DROP TABLE IF EXISTS outbox"))
        connection.execute(
            sa.text("CREATE TABLE outbox (id SERIAL, at TIMESTAMPTZ, kind TEXT, order_no INT, payload JSONB)")
        )
    found = Shop(server, engine, connector)
    pages = found.pages(None)
    await anext(pages)
    waiting = asyncio.ensure_future(anext(pages))
    await asyncio.sleep(0.3)
    found.do("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE 'LISTEN%'")
    async with asyncio.timeout(30):
        with pytest.raises(errors.Unavailable):
            await waiting
    await connector.close()
    engine.dispose()


# ---- check -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "keys", "said"),
    [
        (
            {"lookups": {"x": {"query": "DELETE FROM t", "fields": {"a": "string"}}}},
            ("lookups", "x", "query"),
            "only reads",
        ),
        (
            {"lookups": {"x": {"query": "SELECT 1; SELECT 2", "fields": {"a": "string"}}}},
            ("lookups", "x", "query"),
            "one",
        ),
        ({"lookups": {"x": {"query": "SELECT :id", "fields": {"a": "string"}}}}, ("lookups", "x", "query"), "`:id`"),
        ({"lookups": {"x": {"query": "SELECT 1"}}}, ("lookups", "x"), "fields"),
        ({"lookups": {"x": {"query": "SELECT 1", "fields": {"a": "text"}}}}, ("lookups", "x", "fields", "a"), "text"),
        (
            {"sources": {"x": {"table": "t", "id": "i", "time": "t", "fields": {"a": "string"}}}},
            ("sources", "x"),
            "oneOf",
        ),
        ({"sources": {"x": OUTBOX | {"table": "a; b"}}}, ("sources", "x", "table"), "a; b"),
    ],
)
def test_mistakes_have_their_place(settings: Any, keys: tuple[str, ...], said: str) -> None:
    """Each is told with the way to it."""
    from connectors.settings import SettingError

    with pytest.raises(SettingError, match=said) as raised:
        catalog.spec("sql", settings)

    assert raised.value.keys == keys


@pytest.mark.parametrize(
    "query",
    [
        "select ':id' AS a, x::text FROM t -- :no; really",
        'WITH a AS (SELECT ";" FROM t) SELECT * FROM a WHERE i = :by;',
    ],
)
def test_what_only_looks_like_a_mistake(query: str) -> None:
    """Texts, comments and casts are not taken for values."""
    assert catalog.spec("sql", {"lookups": {"x": {"query": query, "fields": {"a": "string"}}}}).lookups["x"].fields
