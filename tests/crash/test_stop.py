"""
SIGTERM to a running hub.
"""

from __future__ import annotations

import asyncio
from pathlib import Path

from ai.double import ModelDouble
from connectors.double import serving
from connectors.double_faults import Fault
from connectors.zendesk.double import AGENT_EMAIL, TOKEN, ZendeskDouble
from console.testing import HubProcess, overlay
from penstock import HOUSE

KEY = "sk-test-0123456789abcdef"
SECRETS = {"ZENDESK_TOKEN": TOKEN, "ZENDESK_HOOK": "hook", "ZENDESK_HOOK_OLD": "older", "OPENAI_API_KEY": KEY}
ORDERS = 60


def _hub(folder: Path, desk: str, model: ModelDouble) -> HubProcess:
    changes = {
        "connections.helpdesk.url": desk,
        "models.small.url": model.openai_url,
        "models.small.price_as": "openai/gpt-5-mini",
    }
    return HubProcess(overlay(HOUSE, folder / "hub", changes, pipelines=["ticket-summary"]), env=SECRETS)


async def test_a_stop_during_the_start_is_clean(tmp_path: Path) -> None:
    """
    SIGTERM comes while the desk takes its time to say who we are: the hub starts, stops, and leaves with 0.
    """
    desk = ZendeskDouble(email=AGENT_EMAIL)
    desk.faults.add(Fault(kind="slow", match="GET /api/v2/users/me", seconds=1.0))
    async with ModelDouble(keys={"main": KEY}) as model, serving(desk) as url:
        hub = _hub(tmp_path, url, model)
        starting = asyncio.create_task(hub.start())
        async with asyncio.timeout(60):
            while desk.faults._waiting and not starting.done():  # until it is asked
                await asyncio.sleep(0.01)
        stopped = await hub.stop()
        await asyncio.gather(starting, return_exceptions=True)

    assert stopped == 0
    assert "Traceback" not in hub.log()


async def test_a_stop_in_the_middle_runs_nothing_again(tmp_path: Path) -> None:
    """
    Stopped with tickets under way and started again: each is asked about once and has one note.
    """
    desk = ZendeskDouble(email=AGENT_EMAIL)
    async with ModelDouble(keys={"main": KEY}) as model, serving(desk) as url:
        hub = _hub(tmp_path, url, model)
        await hub.start()
        desk.hooks.subscribe(f"{hub.url}/in/helpdesk", "hook")
        for number in range(ORDERS):
            desk.opened(subject=f"Order {number}?", description=f"Where is order A-{10_000 + number}?")
        async with asyncio.timeout(120):
            while len(model.calls) < ORDERS // 3:
                await asyncio.sleep(0.01)
            assert await hub.stop() == 0
            await hub.start()
            while (await _delivered(hub)) < ORDERS:
                await asyncio.sleep(0.1)
            await desk.hooks.settled()
            assert await hub.stop() == 0

    assert len(model.calls) == ORDERS
    assert [sum(not note["public"] for note in notes) for notes in desk.notes.values()] == [1] * ORDERS


async def _delivered(hub: HubProcess) -> int:
    async with hub.ledger() as ledger:
        counts: dict[tuple[str, str], int] = await ledger.counts()
    return counts.get(("ticket-summary", "delivered"), 0)
