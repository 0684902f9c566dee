"""
Two workers of one hub in one folder, on the embedded bus and SQLite: one is killed, the other goes on.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from ai.double import ModelDouble
from connectors.double import serving
from connectors.zendesk.double import AGENT_EMAIL, TOKEN, ZendeskDouble
from console.testing import HubProcess, overlay
from penstock import HOUSE

TICKETS = 120
WITHIN = 240.0  # seconds: a machine may be slow
KEY = "sk-test-0123456789abcdef"
SECRETS = {"ZENDESK_TOKEN": TOKEN, "ZENDESK_HOOK": "hook", "ZENDESK_HOOK_OLD": "older", "OPENAI_API_KEY": KEY}


@pytest.fixture
async def desk() -> ZendeskDouble:
    return ZendeskDouble(email=AGENT_EMAIL)


@pytest.fixture
async def hub(desk: ZendeskDouble, tmp_path: Path) -> AsyncIterator[HubProcess]:
    async with ModelDouble(keys={"main": KEY}) as model, serving(desk) as url:
        changes = {
            "connections.helpdesk.url": url,
            "models.small.url": model.openai_url,
            "models.small.price_as": "openai/gpt-5-mini",
        }
        folder = overlay(HOUSE, tmp_path / "hub", changes, pipelines=["ticket-summary"])
        async with HubProcess(folder, env=SECRETS) as first:
            yield first


async def test_a_killed_worker_is_replaced_by_the_other_at_once(hub: HubProcess, desk: ZendeskDouble) -> None:
    """
    Both take deliveries and share the work; after `kill -9` of one the other ends everything, each ticket once.
    """
    desk.hooks.subscribe(f"{hub.url}/in/helpdesk", "hook")
    async with asyncio.timeout(WITHIN), hub.another() as second:
        for number in range(TICKETS):
            text = f"Order A-{10_000 + number} has not arrived. Please say where it is."
            desk.opened(subject=f"Where is order A-{10_000 + number}?", description=text)
        await desk.hooks.settled()
        assert len(await _workers(second)) == 2
        await hub.kill()
        while (await _counts(second)).get(("ticket-summary", "delivered"), 0) < TICKETS:
            await asyncio.sleep(0.1)
        while len(await _workers(second)) > 1:
            await asyncio.sleep(0.1)
        assert await second.stop() == 0

    notes = Counter({ticket: sum(not note["public"] for note in notes) for ticket, notes in desk.notes.items()})
    assert set(notes.values()) == {1}
    assert len(notes) == TICKETS
    assert {state for _, state in await _counts(second)} <= {"delivered", "own-write"}
    assert await _workers(second) == []


async def _counts(of: HubProcess) -> dict[Any, int]:
    async with of.ledger() as ledger:
        return dict(await ledger.counts())


async def _workers(of: HubProcess) -> list[str]:
    text = "SELECT name FROM workers WHERE state = 'alive'"
    async with of.ledger() as ledger:
        return [row["name"] for row in await ledger.store.read(lambda c: c.execute(text).fetchall())]
