"""
A row's way: from the outbox of a real PostgreSQL through a hub that may only read there, to a note in the help desk.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import pytest
from sqlalchemy import make_url

import pipelines
from ai.double import ModelDouble
from connectors.double import serving
from connectors.zendesk.double import TOKEN, ZendeskDouble
from console.app import Hub, open_hub
from console.testing import overlay
from ledger.contract import RunQuery
from penstock import HOUSE
from penstock.secrets import Secrets
from schemas.entries import RunDetail

WITHIN = 60.0  # seconds
LOOK_EVERY = 0.02  # seconds
NEVER = 3600  # seconds between looks at the table: whoever is read sooner was told of
TABLES = """
CREATE TABLE customers (id TEXT PRIMARY KEY, name TEXT, tier TEXT, card TEXT);
INSERT INTO customers VALUES ('c7', 'Nadia Ltd', 'gold', '4111-1111');
CREATE TABLE outbox (id SERIAL PRIMARY KEY, at TIMESTAMPTZ DEFAULT now(), kind TEXT, ticket TEXT, payload JSONB);
CREATE FUNCTION tell() RETURNS trigger AS $$ BEGIN PERFORM pg_notify('outbox_news', ''); RETURN NULL; END $$
    LANGUAGE plpgsql;
CREATE TRIGGER news AFTER INSERT ON outbox EXECUTE FUNCTION tell();
"""
WAREHOUSE = {
    "connector": "sql",
    "url": "${env:WAREHOUSE}",
    "lookups": {
        "customer": {
            "query": "SELECT name, tier FROM customers WHERE id = :by",
            "fields": {"name": "string", "tier": "string"},
        }
    },
    "sources": {
        "outbox": {
            "table": "outbox",
            "id": "id",
            "time": "at",
            "type": "kind",
            "events": ["order.cancelled"],
            "subject": "ticket",
            "fields": {"ticket": "string", "payload": "object"},
            "every": NEVER,
            "listen": "outbox_news",
        }
    },
}
PIPELINE = {
    "trigger": {"connection": "warehouse", "events": ["order.cancelled"]},
    "context": {
        "tokens": 1000,
        "sections": {
            "customer": {
                "fetch": "warehouse.customer",
                "by": "event.data.payload.customer",
                "tokens": "..100",
                "priority": 2,
            },
            "order": {"from": "event.data.payload", "fields": ["number", "why"], "tokens": "100..800", "priority": 1},
        },
    },
    "ask": {"model": "small", "template": "ticket-summary.j2", "output": "ticket-summary.json", "max_output": 300},
    "deliver": [{"to": "helpdesk.internal_note", "template": "ticket-note.j2"}],
    "limits": {"spend": "25 USD/day", "per_event": "0.02 USD"},
}
HELPDESK = {
    "connector": "zendesk",
    "subdomain": "acme",
    "email": "hub@acme.example",
    "api_token": "${env:ZENDESK_TOKEN}",
    "webhook_secret": "${env:ZENDESK_HOOK}",
}


@dataclass
class Shop:
    """
    A database as its owners see it, and the address of a role that may only read.
    """

    owner: psycopg.Connection[Any]
    url: str

    def cancels(self, ticket: int, customer: str = "c7", kind: str = "order.cancelled") -> None:
        payload = f'{{"customer": "{customer}", "number": "A-{ticket}", "why": "The saddle is missing."}}'
        self.owner.execute(
            "INSERT INTO outbox (kind, ticket, payload) VALUES (%s, %s, %s)", (kind, str(ticket), payload)
        )

    def rows(self) -> list[Any]:
        every = "SELECT (SELECT json_agg(o) FROM outbox o), (SELECT json_agg(c) FROM customers c)"
        return self.owner.execute(every).fetchall()


@pytest.fixture
def shop(dsn: str) -> Iterator[Shop]:
    role = f"reader_{secrets.token_hex(4)}"
    with psycopg.connect(dsn, autocommit=True) as owner:
        owner.execute(TABLES)
        schema = owner.execute("SELECT current_schema()").fetchone()
        assert schema is not None
        owner.execute(f"CREATE ROLE {role} LOGIN PASSWORD 'may-read'")  # type: ignore[call-overload]  # a name of ours
        owner.execute(f"GRANT USAGE ON SCHEMA {schema[0]} TO {role}")
        owner.execute(f"GRANT SELECT ON customers, outbox TO {role}")  # type: ignore[call-overload]
        url = make_url(dsn).set(username=role, password="may-read")
        yield Shop(owner, url.render_as_string(hide_password=False))
        owner.execute(f"DROP OWNED BY {role}; DROP ROLE {role}")  # type: ignore[call-overload]


@dataclass
class Journey:
    """
    A desk, a model, and a hub that runs between them and the database.
    """

    desk: ZendeskDouble
    model: ModelDouble
    hub: Hub

    def notes(self, ticket: int) -> list[str]:
        return [note["body"] for note in self.desk.notes[ticket] if not note["public"]]

    async def detail(self, ticket: int) -> RunDetail:
        async with asyncio.timeout(WITHIN):
            while True:
                for run in await self.hub.ledger.runs(RunQuery(subject=str(ticket))):
                    detail = await self.hub.ledger.detail(run.run)
                    if run.state == "final" and detail is not None:
                        return detail
                await asyncio.sleep(LOOK_EVERY)


@asynccontextmanager
async def journey(folder: Path, shop: Shop, desk: ZendeskDouble) -> AsyncIterator[Journey]:
    """
    Start a hub between the database and the desk.
    """
    async with ModelDouble(keys={"main": "sk-test"}) as model, serving(desk) as url:
        laid = {
            "connections.warehouse": WAREHOUSE,
            "connections.helpdesk": HELPDESK | {"url": url},
            "models.small.url": model.openai_url,
            "models.small.price_as": "openai/gpt-5-mini",
            "pipelines.order-brief": PIPELINE,
        }
        root = overlay(HOUSE, folder / "hub", laid, pipelines=[])
        loaded = pipelines.load(root / "pipelines.yaml")
        assert loaded.declaration is not None, loaded
        known = {"WAREHOUSE": shop.url, "ZENDESK_TOKEN": TOKEN, "ZENDESK_HOOK": "hook", "OPENAI_API_KEY": "sk-test"}
        async with open_hub(loaded.declaration, root, secrets=Secrets(known)) as hub:
            await hub.engine.start()
            try:
                async with asyncio.timeout(WITHIN):
                    while await hub.ledger.cursor("warehouse/outbox") is None:  # watched from outside
                        await asyncio.sleep(LOOK_EVERY)
                yield Journey(desk, model, hub)
            finally:
                await hub.engine.stop()


def opened(desk: ZendeskDouble) -> int:
    return int(desk.opened(subject="Where is my order?", description="…", requester_id=1, silent=True)["id"])


async def test_a_row_becomes_a_note(tmp_path: Path, shop: Shop) -> None:
    """
    NOTIFY wakes the hub, the lookup gives its declared fields alone, and nothing in the database has changed.
    """
    desk = ZendeskDouble()
    async with journey(tmp_path, shop, desk) as way:
        ticket = opened(desk)
        shop.cancels(ticket, kind="order.packed")  # nobody's event
        shop.cancels(ticket)
        before = shop.rows()
        detail = await way.detail(ticket)
        asked = next(step.receipt for step in detail.steps if step.kind == "ask")["prompt"]["user"]

        assert detail.run.verdict == "delivered"
        assert detail.run.event_id == "outbox/2"
        assert len(way.notes(ticket)) == 1
        assert "Nadia Ltd" in asked
        assert "The saddle is missing." in asked
        assert "4111" not in asked
        assert shop.rows() == before
        assert len(way.model.calls) == 1


async def test_rows_of_the_time_when_nobody_listened(tmp_path: Path, shop: Shop) -> None:
    """
    Nothing told the hub of them: it reads them when it comes back, once, also those it has seen before it left.
    """
    desk = ZendeskDouble()
    tickets = [opened(desk) for _ in range(4)]
    async with journey(tmp_path, shop, desk) as way:
        shop.cancels(tickets[0])
        await way.detail(tickets[0])
    for ticket in tickets[1:3]:
        shop.cancels(ticket)
    async with journey(tmp_path, shop, desk) as way:
        for ticket in tickets[1:3]:
            await way.detail(ticket)
        shop.cancels(tickets[3])
        await way.detail(tickets[3])

        assert [len(way.notes(ticket)) for ticket in tickets] == [1, 1, 1, 1]
        assert len(way.model.calls) == 3
