"""
A ticket's way through a hub in this process: real HTTP on both sides, doubles at both ends.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pipelines
from ai.double import ModelDouble
from connectors.double import serving
from connectors.double_faults import Fault
from connectors.zendesk.double import AGENT_EMAIL, TOKEN, ZendeskDouble
from console.app import Hub, open_hub
from console.serving import listening
from console.testing import overlay
from ledger.contract import RunQuery
from penstock import HOUSE
from penstock.secrets import Secrets
from schemas.entries import Run, RunDetail

KEY = "sk-test-0123456789abcdef"
HOOK = "journey-signing-secret"
SECRETS = {"ZENDESK_TOKEN": TOKEN, "ZENDESK_HOOK": HOOK, "ZENDESK_HOOK_OLD": "older", "OPENAI_API_KEY": KEY}
WITHIN = 60.0  # seconds


def _ended(run: Run) -> bool:
    return run.verdict not in (None, "own-write")


@dataclass
class Journey:
    """
    A desk, a model, and a hub that runs between them.
    """

    desk: ZendeskDouble
    model: ModelDouble
    hub: Hub

    def open_ticket(self, order: int) -> int:
        text = f"Order A-{order} has not arrived. Please say where it is."
        ticket = self.desk.opened(subject=f"Where is order A-{order}?", description=text, requester_id=1)
        return int(ticket["id"])

    def notes(self, ticket: int) -> list[str]:
        return [note["body"] for note in self.desk.notes[ticket] if not note["public"]]

    async def runs(self, ticket: int) -> list[Run]:
        return await self.hub.ledger.runs(RunQuery(subject=str(ticket)))

    async def detail(self, ticket: int, wanted: Callable[[Run], bool] = _ended) -> RunDetail:
        """
        Wait for a run of *ticket* that is as *wanted*, by default final and about what the customer did.
        """
        async with asyncio.timeout(WITHIN):
            while not (found := [run for run in await self.runs(ticket) if wanted(run)]):
                await asyncio.sleep(0.02)
        detail = await self.hub.ledger.detail(found[-1].run)
        assert detail is not None
        return detail


@asynccontextmanager
async def journey(folder: Path, **changes: Any) -> AsyncIterator[Journey]:
    """
    Start the worked example between doubles; *changes* are laid over its `ticket-summary`.
    """
    desk = ZendeskDouble(email=AGENT_EMAIL)
    async with ModelDouble(keys={"main": KEY}) as model, serving(desk) as url:
        laid = {
            "connections.helpdesk.url": url,
            "models.small.url": model.openai_url,
            "models.small.price_as": "openai/gpt-5-mini",
            **{f"pipelines.ticket-summary.{path.replace('__', '.')}": value for path, value in changes.items()},
        }
        root = overlay(HOUSE, folder / "hub", laid, pipelines=["ticket-summary"])
        declared = pipelines.load(root / "pipelines.yaml").declaration
        assert declared is not None
        async with open_hub(declared, root, secrets=Secrets(SECRETS)) as hub:
            await hub.engine.start()
            try:
                async with listening(hub, "127.0.0.1", 0) as own:
                    desk.hooks.subscribe(f"{own}/in/helpdesk", HOOK)
                    yield Journey(desk, model, hub)
            finally:
                await hub.engine.stop()


async def test_a_ticket_comes_in_and_a_note_comes_out(tmp_path: Path) -> None:
    """
    One ticket, one internal note, and a run that tells verdict, receipt, prompt and cost.
    """
    async with journey(tmp_path) as way:
        ticket = way.open_ticket(10_042)
        detail = await way.detail(ticket)

        assert detail.run.verdict == "delivered"
        (note,) = way.notes(ticket)
        assert "[penstock:" in note
        asked, wrote = detail.steps
        assert (asked.step, asked.state) == ("ask", "done")
        assert (wrote.step, wrote.state) == ("helpdesk.internal_note", "done")
        assert asked.receipt["receipt"]["used"] <= asked.receipt["receipt"]["budget"] == 2000
        assert "A-10042" in asked.receipt["prompt"]["user"]
        (call,) = detail.calls
        assert (call.outcome, call.cost) == ("ok", detail.run.cost)
        assert detail.run.cost > 0


async def test_our_own_note_coming_back_is_an_own_write(tmp_path: Path) -> None:
    """
    The desk tells us of our note as of any other: it is kept as own-write, and no model is asked about it.
    """
    async with journey(tmp_path, trigger__events=["ticket.created", "comment.added"]) as way:
        ticket = way.open_ticket(1)
        await way.detail(ticket)
        await way.desk.hooks.settled()
        echo = await way.detail(ticket, lambda run: run.verdict == "own-write")

        assert "actor=" in (echo.run.error or "")
        assert (len(way.model.calls), len(way.notes(ticket))) == (1, 1)


async def test_a_desk_that_is_down_gets_its_note_later(tmp_path: Path) -> None:
    """
    The note waits at the desk's gate, is no attempt of its event, pays no second call, and is written once.
    """
    async with journey(tmp_path) as way:
        way.desk.faults.add(Fault(kind="status", status=503, match="PUT ", times=2, retry_after="1"))
        ticket = way.open_ticket(1)
        waiting = await way.detail(ticket, lambda run: run.state == "waiting")
        assert (waiting.run.reason, waiting.run.gate) == ("outage", "connection:helpdesk")
        assert [gate.gate for gate in await way.hub.ledger.gates()] == ["connection:helpdesk"]
        detail = await way.detail(ticket)

        assert (detail.run.verdict, detail.run.attempts) == ("delivered", 0)
        assert (len(way.model.calls), len(way.notes(ticket))) == (1, 1)
        assert await way.hub.ledger.gates() == []


async def test_when_the_money_of_the_day_is_spent_nothing_more_is_asked(tmp_path: Path) -> None:
    """
    Tickets are answered until the next call's worst case does not fit; the cap holds, and the rest say so.
    """
    async with journey(tmp_path, limits__spend="0.004 USD/day") as way:
        for order in range(40):
            asked = len(way.model.calls)
            ticket = way.open_ticket(order)
            detail = await way.detail(ticket)
            if detail.run.verdict != "delivered":
                break

        assert order > 0
        assert detail.run.verdict == "over-budget"
        assert (len(way.model.calls), way.notes(ticket), detail.calls) == (asked, [], ())
        plan = way.hub.plans["ticket-summary"]
        (cap,) = plan.spending.caps(way.hub.clock.now_ms())
        spent, reserved = await way.hub.ledger.spent(cap.scope, cap.period)
        assert (0 < spent <= cap.limit, reserved) == (True, 0)


async def test_a_delivery_that_comes_twice_is_one_run(tmp_path: Path) -> None:
    """
    The same bytes under a new signature: the same event, one run, one call, one note.
    """
    async with journey(tmp_path) as way:
        ticket = way.open_ticket(1)
        way.desk.hooks.redeliver(1)
        await way.detail(ticket)
        way.desk.hooks.redeliver(len(way.desk.hooks.deliveries))
        created = await way.detail(ticket, lambda run: _ended(run) and run.redelivered >= 2)

        assert created.run.verdict == "delivered"
        assert (len(way.model.calls), len(way.notes(ticket))) == (1, 1)


async def test_a_forged_delivery_leaves_no_event(tmp_path: Path) -> None:
    """
    Signed with another secret: refused, and nothing runs.
    """
    async with journey(tmp_path) as way:
        (url, _), way.desk.hooks._targets = way.desk.hooks._targets[0], []
        way.desk.hooks.subscribe(url, "wrong")
        way.open_ticket(1)
        async with asyncio.timeout(WITHIN):
            while not (way.desk.hooks.deliveries and way.desk.hooks.deliveries[0].statuses):
                await asyncio.sleep(0.02)

        assert way.desk.hooks.deliveries[0].statuses[0] == 401
        assert await way.hub.ledger.runs(RunQuery()) == []
