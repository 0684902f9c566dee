"""
Tickets that died of a mistake, the mistake mended, and all of them run again: each effect once.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import orjson
import pytest

import pipelines
from ai.double import ModelDouble
from connectors.double import serving
from connectors.double_faults import Fault
from connectors.zendesk.double import AGENT_EMAIL, TOKEN, ZendeskDouble
from console.app import Hub, open_hub
from console.cli import front, project
from console.cli.exits import Exit
from console.serving import listening
from console.testing import HubProcess, overlay
from penstock import HOUSE
from penstock.secrets import Secrets

KEY = "sk-test-0123456789abcdef"
HOOK = "journey-signing-secret"
SECRETS = {"ZENDESK_TOKEN": TOKEN, "ZENDESK_HOOK": HOOK, "ZENDESK_HOOK_OLD": "older", "OPENAI_API_KEY": KEY}
TICKETS = 40
PIPELINE = "ticket-summary"


@asynccontextmanager
async def hub_in(root: Path) -> AsyncIterator[tuple[Hub, str]]:
    """
    Run the hub of a folder; give its address.
    """
    declared = pipelines.load(root / "pipelines.yaml").declaration
    assert declared is not None
    async with open_hub(declared, root, secrets=Secrets(SECRETS)) as hub:
        await hub.engine.start()
        try:
            async with listening(hub, "127.0.0.1", 0) as url:
                yield hub, url
        finally:
            await hub.engine.stop()


async def counted(hub: Hub, word: str, count: int) -> None:
    """
    Wait until so many runs ended so.
    """
    async with asyncio.timeout(120):
        while (await hub.ledger.counts()).get((PIPELINE, word), 0) < count:
            await asyncio.sleep(0.05)


async def typed(*words: str) -> int:
    """
    Type a command beside this event loop; return its exit code.
    """
    return await asyncio.to_thread(front.run, list(words))


async def in_state(root: Path, word: str, count: int) -> None:
    """
    Wait until so many runs of a hub in another process are so.
    """
    async with asyncio.timeout(120), project.open_ledger(root / ".penstock/ledger.db") as ledger:
        while (await ledger.counts()).get((PIPELINE, word), 0) < count:
            await asyncio.sleep(0.1)


async def test_a_running_hub_takes_up_what_is_typed_beside_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    Replayed, paused and resumed by commands in other processes: the hub obeys without a restart.
    """
    desk = ZendeskDouble(email=AGENT_EMAIL)
    async with ModelDouble(keys={"main": KEY}) as model, serving(desk) as url:
        laid = {"connections.helpdesk.url": url, "models.small.url": model.openai_url}
        laid["models.small.price_as"] = "openai/gpt-5-mini"
        root = overlay(HOUSE, tmp_path / "hub", laid, pipelines=[PIPELINE])
        monkeypatch.chdir(root)
        desk.faults.add(Fault(kind="status", status=422, match="PUT "))
        async with HubProcess(root, env=SECRETS) as hub:
            desk.hooks.subscribe(f"{hub.url}/in/helpdesk", HOOK)
            first = int(desk.opened(subject="Order 1?", description="Where is A-1?", requester_id=1)["id"])
            await in_state(root, "dead", 1)
            assert Exit.OK == await typed("replay", "--yes")
            await in_state(root, "delivered", 1)

            assert Exit.OK == await typed("pause", PIPELINE, "--reason", "a journey")
            async with asyncio.timeout(30):
                while f"pipeline {PIPELINE} is paused" not in hub.log():
                    await asyncio.sleep(0.05)
            second = int(desk.opened(subject="Order 2?", description="Where is A-2?", requester_id=1)["id"])
            await in_state(root, "waiting", 1)
            assert 1 == len(model.calls)
            assert Exit.OK == await typed("resume", PIPELINE)
            await in_state(root, "delivered", 2)

    assert [1, 1] == [sum(not note["public"] for note in desk.notes[ticket]) for ticket in (first, second)]


async def test_dead_mended_and_replayed_twice_is_one_effect(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """
    R8: many dead letters, mended and replayed twice: one note each, no answer paid again, each told once on the bus.
    """
    desk = ZendeskDouble(email=AGENT_EMAIL)
    async with ModelDouble(keys={"main": KEY}) as model, serving(desk) as url:
        laid = {
            "connections.helpdesk.url": url,
            "models.small.url": model.openai_url,
            "models.small.price_as": "openai/gpt-5-mini",
        }
        root = overlay(HOUSE, tmp_path / "hub", laid, pipelines=[PIPELINE])
        monkeypatch.chdir(root)
        desk.faults.add(Fault(kind="status", status=422, match="PUT ", times=10 * TICKETS))
        async with hub_in(root) as (hub, own):
            desk.hooks.subscribe(f"{own}/in/helpdesk", HOOK)
            tickets = [
                int(desk.opened(subject=f"Order {n}?", description=f"Where is A-{n}?", requester_id=1)["id"])
                for n in range(TICKETS)
            ]
            await counted(hub, "dead", TICKETS)
            told = await hub.bus.subscribe("penstock.dead", "reader", start="oldest")
            letters = []
            async with asyncio.timeout(60):
                while len(letters) < TICKETS:
                    letters += await told.fetch(100, wait=0.5)
            await told.close()
        assert [] == [note for ticket in tickets for note in desk.notes[ticket] if not note["public"]]
        desk.faults.clear()

        capsys.readouterr()
        assert Exit.CHANGES == await typed("replay", "--json")
        plan = orjson.loads(capsys.readouterr().out)
        assert (TICKETS, 0, 0) == (plan["coming_back"], plan["asked"], plan["worst_case_micro_usd"])
        assert [Exit.OK, Exit.OK] == [await typed("replay", "--yes") for _ in range(2)]
        async with hub_in(root) as (hub, _):
            await counted(hub, "delivered", TICKETS)
        assert Exit.OK == await typed("replay", "--yes")
        async with hub_in(root) as (hub, _):
            assert TICKETS == (await hub.ledger.counts())[PIPELINE, "delivered"]

    assert TICKETS == len({message.key for message in letters}) == len(letters)
    notes = [sum(not note["public"] for note in desk.notes[ticket]) for ticket in tickets]
    assert [1] * TICKETS == notes
    assert TICKETS == len(model.calls)
