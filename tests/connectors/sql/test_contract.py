"""
A database keeps the connector contract: a real PostgreSQL, behind a proxy that fails as networks and servers do.
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import gc
import itertools
import os
import re
from collections.abc import AsyncIterator, Iterator, Mapping
from typing import Any, ClassVar
from urllib.parse import urlsplit

import psycopg
import pytest
from psycopg import sql

from connectors.bench import Bench
from connectors.testing import ConnectorContract
from connectors.testing_points import point
from connectors.testing_portrait import READ_FAULTS
from ledger.testing_server import ELSEWHERE, LocalServer
from penstock import errors
from penstock.http_aiohttp import AiohttpHttp
from tests.between import Between, Trouble

ROLE, PASSWORD = "reader", "canary-of-the-reader"
ASKED = b"DECLARE "  # every statement of ours is a cursor
STATES = {401: "28P01", 403: "42501", 409: "40001", 418: "22P02", 429: "53300", 500: "58000", 503: "57P03"}
"""What PostgreSQL says where others have a status."""
TABLES = """
DROP TABLE IF EXISTS tickets, notes, outbox;
CREATE TABLE tickets (id TEXT PRIMARY KEY, text TEXT, secret TEXT, changed TIMESTAMPTZ);
CREATE TABLE notes (number SERIAL PRIMARY KEY, ticket TEXT, text TEXT);
CREATE TABLE outbox (id SERIAL PRIMARY KEY, at TIMESTAMPTZ, ticket TEXT);
GRANT SELECT ON tickets, notes, outbox TO reader;
"""
TICKET = {
    "query": "SELECT id, text FROM tickets WHERE id = :by",
    "fields": {"id": "string", "text": "string"},
}
NOTES = {
    "query": "SELECT number, text FROM notes WHERE ticket = :by ORDER BY number DESC LIMIT :most",
    "fields": {"number": "integer", "text": "string"},
    "many": True,
}
SENT = {"table": "outbox", "id": "id", "time": "at", "event": "ticket.sent", "subject": "ticket"}
CHANGED = {"table": "tickets", "id": "id", "time": "changed", "event": "ticket.updated", "changes": True}


class Desk:
    """
    A help desk in a database, as its owner sees it.
    """

    def __init__(self, admin: psycopg.Connection[Any]) -> None:
        self.wire = Between(admin.info.port)
        self._admin = admin
        self._numbers = itertools.count(1)
        self.let_in()
        self.do(TABLES)

    def do(self, statement: str, *values: Any) -> None:
        self._admin.execute(statement.encode(), values or None)

    def let_in(self, password: str = PASSWORD) -> None:
        self._admin.execute(sql.SQL("ALTER ROLE reader PASSWORD {}").format(password))

    def ticket(self, text: str, at: dt.datetime | None = None) -> str:
        number = f"T-{next(self._numbers)}"
        self.do("INSERT INTO tickets VALUES (%s, %s, 'canary', %s)", number, text, at or now())
        return number

    def sends(self, ticket: str, at: dt.datetime) -> None:
        self.do("INSERT INTO outbox (at, ticket) VALUES (%s, %s)", at, ticket)


class DeskBench(Bench):
    """
    A database's requests are connections and queries; it fails on the wire.
    """

    def requests(self) -> list[Any]:
        wire = self.double.wire
        return ["connection"] * wire.connections + [said for said in wire.said if ASKED in said]

    def refused(self) -> list[Any]:
        return ["connection"] * (self.double.wire.connections - 1)  # one of them was let in

    async def fault(self, **fault: Any) -> None:
        kind, status = fault.pop("kind"), fault.pop("status", 503)
        body, _ = str(fault.pop("body", "")), fault.pop("retry_after", None)
        answer = b""
        if kind == "status":
            kind, answer = "say", _error(STATES.get(status, "XX000"), body)
        self.double.wire.fails(Trouble(kind=kind, match=re.compile(ASKED), answer=answer, **fault))


@pytest.fixture(scope="module", autouse=True)
def _server() -> Iterator[None]:
    local = None
    dsn = os.environ.get(ELSEWHERE)
    if dsn is None:
        local = LocalServer()
        local.start()
        dsn = local.dsn
    with psycopg.connect(dsn, autocommit=True) as admin:
        _wants_passwords(admin)
        TestSql.admin = admin
        yield
    if local is not None:
        local.remove()


@pytest.mark.filterwarnings("ignore:.*ServerCursor:pytest.PytestUnraisableExceptionWarning")
class TestSql(ConnectorContract):
    name = "sql"
    environment: ClassVar = {"DSN": PASSWORD}
    ours = ()
    credential = "DSN"
    lacks: ClassVar = {
        "deliveries": "a database delivers nothing: rows are read",
        "old_secret": "it has no deliveries",
        "handshakes": "it has no deliveries",
        "both_ways": "it has no deliveries",
        "actions": "nothing is ever written",
        "text": "nothing is ever written",
        "find": "nothing is ever written",
        "echoes": "nothing is ever written",
        "expiry": "rows are read by their time, which does not expire",
        "subscriptions": "it has none: NOTIFY lasts as long as the connection",
        "retry_after": "a database names no time",
    }
    lookup = "ticket"
    listing = "notes"
    unknown = ("999999999", "..", "", "T-1' OR '1' = '1", "T-0")
    benches = DeskBench
    most_requests = 2  # a connection, and the query
    read_faults = (
        ({"kind": "status", "status": 401}, errors.AuthFailed),
        ({"kind": "status", "status": 403}, errors.AuthFailed),
        ({"kind": "status", "status": 409}, errors.Unavailable),  # a standby cancels what it cannot keep
        ({"kind": "status", "status": 418}, errors.Rejected),
        ({"kind": "status", "status": 429}, errors.Unavailable),
        *(fault for fault in READ_FAULTS if fault[1] is errors.Unavailable),
        ({"kind": "drop-after"}, errors.Unavailable),
    )

    listens: Mapping[str, Any] = {}
    admin: ClassVar[psycopg.Connection[Any]]

    def settings(self, url: str) -> dict[str, Any]:
        fields = {"id": "string", "text": "string"}
        return {
            "url": "${env:DSN}",
            "lookups": {"ticket": TICKET, "notes": NOTES},
            "sources": {
                "sent": SENT | {"fields": {"ticket": "string"}, "overlap": 60} | self.listens,
                "changed": CHANGED | {"fields": fields, "overlap": 60},
            },
        }

    def variables(self, url: str, environment: Mapping[str, str]) -> Mapping[str, str]:
        place = urlsplit(url)
        return {
            name: f"postgresql://{ROLE}:{password}@{place.netloc}/{place.path.strip('/')}" if password else ""
            for name, password in environment.items()
        }

    @contextlib.asynccontextmanager
    async def pretend(self) -> AsyncIterator[tuple[Desk, str]]:
        """
        Serve a fresh desk. A cursor whose connection broke cannot be closed, says psycopg as it goes: it goes here.
        """
        desk = Desk(self.admin)
        yield desk, f"postgresql://127.0.0.1:{desk.wire.port}/{self.admin.info.dbname}"
        desk.wire.close()
        if desk.wire.failed:
            gc.collect()

    def foreign(self) -> Mapping[str, str]:
        return {"PostgreSQL": self.admin.info.parameter_status("server_version") or "unknown"}

    def record(self, double: Desk, text: str) -> str:
        ticket = double.ticket(text)
        double.do("INSERT INTO notes (ticket, text) VALUES (%s, 'one'), (%s, 'two'), (%s, 'three')", *[ticket] * 3)
        return ticket

    def main_text(self, record: Mapping[str, Any]) -> str:
        return str(record["text"])

    def change_again(self, double: Desk, record: str) -> None:
        double.do("UPDATE tickets SET changed = now() WHERE id = %s", record)

    def changed(self, double: Desk, source: str, count: int) -> list[str]:
        at = now()
        tickets = [double.ticket("text", at) for _ in range(count)]
        for ticket in tickets:
            double.sends(ticket, at)
        return tickets

    def late(self, double: Desk, source: str) -> str:
        at = now() - dt.timedelta(seconds=30)
        ticket = double.ticket("late", at)
        double.sends(ticket, at)
        return ticket

    async def break_reading(self, bench: Bench) -> None:
        await bench.fault(kind="drop-before", skip=1)

    async def refuse(self, bench: Bench) -> None:
        bench.double.let_in("another password")
        bench.double.wire.cut()

    @point(12)
    async def test_it_listens_with_the_password_that_works(self) -> None:
        """In the middle of a rotation the notifications are those of whom the server lets in."""
        async with self.pretend() as (desk, url):
            self.listens = {"listen": "news", "every": 3600}
            async with self.opened(url, NEWER="not-known-yet") as connector:
                bench = DeskBench(connector=connector, double=desk, url=url, http=AiohttpHttp())
                pages = connector.sources["sent"].read(None, bench.source_call())
                await anext(pages)
                waiting = asyncio.ensure_future(anext(pages))
                while not any(b"LISTEN" in said for said in desk.wire.said):
                    await asyncio.sleep(0.01)
                desk.sends("T-1", now())
                desk.do("NOTIFY news")
                async with asyncio.timeout(30):
                    page = await waiting
                await pages.aclose()

        assert [event.subject for event in page.events] == ["T-1"]


def now() -> dt.datetime:
    return dt.datetime.now(dt.UTC)


def _wants_passwords(admin: psycopg.Connection[Any]) -> None:
    """
    Let the server ask our role for its password, whoever else it trusts.
    """
    admin.execute("DROP TABLE IF EXISTS tickets, notes, outbox")
    admin.execute("DROP ROLE IF EXISTS reader")
    admin.execute("CREATE ROLE reader LOGIN")
    [found] = admin.execute("SELECT setting, pg_read_file(setting) FROM pg_settings WHERE name = 'hba_file'").fetchall()
    rule = f"host all {ROLE} 127.0.0.1/32 scram-sha-256"
    if rule not in found[1]:
        lines = sql.SQL("COPY (SELECT unnest({}::text[])) TO {}").format([rule, *found[1].split("\n")], found[0])
        admin.execute(lines)
        admin.execute("SELECT pg_reload_conf()")


def _error(state: str, said: str) -> bytes:
    """
    Return an error of PostgreSQL, as it goes over the wire, and that the server waits for more.
    """
    parts = {"S": "ERROR", "V": "ERROR", "C": state, "M": said or "it cannot be"}
    body = b"".join(name.encode() + text.encode() + b"\0" for name, text in parts.items()) + b"\0"
    error = b"E" + (len(body) + 4).to_bytes(4, "big") + body
    return (error + b"Z\0\0\0\x05E").replace(b"\\", b"\\\\")
