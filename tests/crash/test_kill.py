"""
`kill -9` of a running hub. The judge reads what the doubles wrote down, and what the ledger says of it.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections import Counter
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from ai import ModelSpec
from ai.double import ModelDouble
from ai.prices import find
from connectors.double import Answered, Asked, serving
from connectors.zendesk.double import AGENT_EMAIL, TOKEN, ZendeskDouble
from console.testing import HubProcess, overlay
from ledger.contract import RunQuery
from penstock import HOUSE
from schemas.entries import RunDetail, Usage

TICKETS = 500
WITHIN = 300.0  # seconds: a machine may be slow, a promise may not be broken
KEY = "sk-test-0123456789abcdef"
SECRETS = {"ZENDESK_TOKEN": TOKEN, "ZENDESK_HOOK": "hook", "ZENDESK_HOOK_OLD": "older", "OPENAI_API_KEY": KEY}


class Desk(ZendeskDouble):
    """
    A desk that says when a note has taken effect, before its writer hears of it.
    """

    noted: Callable[[int], None] = lambda _count: None
    notes_taken = 0

    def update(self, asked: Asked, actor: str, ticket: str) -> Answered:
        answered = super().update(asked, actor, ticket)
        self.notes_taken += 1
        self.noted(self.notes_taken)
        return answered


@dataclass
class Scene:
    """
    A desk, a model and a hub between them.
    """

    desk: Desk
    model: ModelDouble
    hub: HubProcess

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

    async def dies_at_note(self, count: int) -> None:
        """
        Kill the hub at the very moment at which note number *count* has taken effect.
        """

        def strike(now: int) -> None:
            if now >= count:
                self.hub.kill_at_once()

        self.desk.noted = strike
        strike(self.desk.notes_taken)
        assert await self.hub.died() == -9
        self.desk.noted = lambda _count: None

    async def dies_between_answer_and_note(self, nth: int) -> None:
        """
        Start a hub that dies when a run has its answer for the *nth* time.
        """
        await self.hub.start(fail=f"run:answered@{nth}")
        assert await self.hub.died() == -9

    async def until_final(self) -> list[RunDetail]:
        """
        Wait until every ticket's run ended; return them.
        """
        while True:
            async with self.hub.ledger() as ledger:
                counts: dict[Any, int] = await ledger.counts()
                if counts.get(("ticket-summary", "delivered"), 0) >= TICKETS and not _under_way(counts):
                    runs = await ledger.runs(RunQuery(verdict="delivered", limit=10_000))
                    details = [await ledger.detail(run.run) for run in runs]
                    return [detail for detail in details if detail is not None]
            await asyncio.sleep(0.2)

    @property
    def metered(self) -> int:
        """
        Micro-USD of everything the model answered, by its own count.
        """
        price = find(ModelSpec(name="small", provider="openai", model="gpt-5-mini"))
        assert price is not None
        return sum(price.cost(Usage(input=call.input, output=call.output)) for call in self.model.calls)


def _under_way(counts: dict[Any, int]) -> bool:
    return bool({"running", "waiting"} & {state for _, state in counts})


def _question(detail: RunDetail) -> str:
    """
    Return the hash by which the model's log names the question of a run.
    """
    (asked,) = [step for step in detail.steps if step.step == "ask"]
    return hashlib.sha256(asked.receipt["prompt"]["user"].encode()).hexdigest()


@pytest.fixture
async def scene(tmp_path: Path) -> AsyncIterator[Scene]:
    desk = Desk(email=AGENT_EMAIL)
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
        yield Scene(desk, model, hub)
        if hub.alive:
            await hub.kill()


async def test_killed_at_10_50_and_90_percent_and_between_answer_and_note(scene: Scene) -> None:
    """
    Five hundred tickets, six deaths: each ticket has exactly one note, no finished call is repeated.
    """
    async with asyncio.timeout(WITHIN):
        scene.open_tickets(TICKETS)
        for share in (0.1, 0.5, 0.9):
            await scene.dies_at_note(int(TICKETS * share))
            await scene.dies_between_answer_and_note(7)
            await scene.hub.start()
        details = await scene.until_final()
        await scene.desk.hooks.settled()

    assert [ticket for ticket, count in scene.notes.items() if count != 1] == []
    assert len(scene.notes) == len(details) == TICKETS
    asked = Counter(call.question for call in scene.model.calls)
    for detail in details:
        cut_off = sum(call.outcome == "swept" for call in detail.calls)
        assert [call.outcome for call in detail.calls].count("ok") == 1
        assert asked[_question(detail)] <= 1 + cut_off, "a finished answer was paid again"
    async with scene.hub.ledger() as ledger:
        today = datetime.now(UTC).strftime("%Y-%m-%d")
        spent, reserved = await ledger.spent("pipeline:ticket-summary", today)

    assert reserved == 0
    assert spent >= scene.metered, "the ledger counts every call the model answered, those cut off by a death too"
