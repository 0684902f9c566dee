"""
`kill -9` of a running hub. The judge reads only what the doubles wrote down.
"""

from __future__ import annotations

import asyncio
import itertools
import time
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from ai import ModelSpec
from ai.double import ModelDouble
from ai.prices import find
from connectors.double import serving
from connectors.zendesk.double import AGENT_EMAIL, TOKEN, ZendeskDouble
from console.testing import HubProcess, overlay
from ledger.contract import RunQuery
from penstock import HOUSE
from schemas.entries import Usage

TICKETS = 500
IN_FLIGHT_MOST = 1.0  # seconds around a death in which an answer may not have been written down
KEY = "sk-test-0123456789abcdef"
SECRETS = {"ZENDESK_TOKEN": TOKEN, "ZENDESK_HOOK": "hook", "ZENDESK_HOOK_OLD": "older", "OPENAI_API_KEY": KEY}


@dataclass
class Scene:
    """
    A desk, a model and a hub between them.
    """

    desk: ZendeskDouble
    model: ModelDouble
    hub: HubProcess
    deaths: list[float]
    """Wall time of each."""

    def open_tickets(self, count: int) -> None:
        for number in range(count):
            text = f"Order A-{10_000 + number} has not arrived. Please say where it is."
            self.desk.opened(subject=f"Where is order A-{10_000 + number}?", description=text)

    @property
    def notes(self) -> Counter[int]:
        """
        Internal notes per ticket that took effect.
        """
        return Counter({ticket: sum(not note["public"] for note in notes) for ticket, notes in self.desk.notes.items()})

    async def until_notes(self, count: int, *, within: float = 120) -> None:
        async with asyncio.timeout(within):
            while sum(self.notes.values()) < count and self.hub.alive:
                await asyncio.sleep(0.01)

    def repeated(self) -> list[tuple[float, float]]:
        """
        Pairs of times at which one question was answered, and answered again.
        """
        answered: dict[str, list[float]] = {}
        for call in self.model.calls:
            answered.setdefault(call.question, []).append(call.at)
        return [pair for times in answered.values() for pair in itertools.pairwise(times)]

    @property
    def metered(self) -> int:
        """
        Micro-USD of everything the model answered, by its own count.
        """
        price = find(ModelSpec(name="small", provider="openai", model="gpt-5-mini"))
        assert price is not None
        return sum(price.cost(Usage(input=call.input, output=call.output)) for call in self.model.calls)

    async def kill(self) -> None:
        await self.hub.kill()
        self.deaths.append(time.time())

    async def die(self, *, fail: str) -> None:
        """
        Start a hub that dies at a failpoint, and wait for it.
        """
        await self.hub.start(fail=fail)
        assert await self.hub.died() == -9
        self.deaths.append(time.time())


@pytest.fixture
async def scene(tmp_path: Path) -> AsyncIterator[Scene]:
    desk = ZendeskDouble(email=AGENT_EMAIL)
    async with ModelDouble(keys={"main": KEY}) as model, serving(desk) as url:
        changes = {
            "connections.helpdesk.url": url,
            "models.small.url": model.openai_url,
            "models.small.price_as": "openai/gpt-5-mini",
        }
        folder = overlay(HOUSE, tmp_path / "hub", changes, pipelines=["ticket-summary"])
        hub = HubProcess(folder, env=SECRETS)
        desk.hooks.subscribe(f"{hub.url}/in/helpdesk", "hook")
        await hub.start()
        yield Scene(desk, model, hub, [])
        if hub.alive:
            await hub.kill()


async def test_killed_at_10_50_and_90_percent_and_between_answer_and_note(scene: Scene) -> None:
    """
    Five hundred tickets, six deaths: each ticket has exactly one note, no finished call is repeated.
    """
    scene.open_tickets(TICKETS)
    for share in (0.1, 0.5, 0.9):
        await scene.until_notes(int(TICKETS * share))
        await scene.kill()
        await scene.die(fail="run:answered@7")
        await scene.hub.start()
    await scene.until_notes(TICKETS)
    await scene.desk.hooks.settled()
    await _all_final(scene.hub)

    assert [ticket for ticket, count in scene.notes.items() if count != 1] == []
    assert len(scene.notes) == TICKETS
    for first, _again in scene.repeated():
        assert any(abs(death - first) < IN_FLIGHT_MOST for death in scene.deaths), "a finished answer was paid again"
    async with scene.hub.ledger() as ledger:
        runs = await ledger.runs(RunQuery(pipeline="ticket-summary", verdict="delivered", limit=10_000))
        today = datetime.now(UTC).strftime("%Y-%m-%d")
        spent, reserved = await ledger.spent("pipeline:ticket-summary", today)

    assert len(runs) == TICKETS
    assert reserved == 0
    assert spent >= scene.metered, "the ledger counts every call the model answered, those cut off by a death too"


async def _all_final(hub: HubProcess) -> None:
    async with asyncio.timeout(60):
        while True:
            async with hub.ledger() as ledger:
                counts: dict[Any, int] = await ledger.counts()
            if not {"running", "waiting"} & {state for _, state in counts}:
                return
            await asyncio.sleep(0.2)
