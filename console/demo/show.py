"""
The demo from the first ticket to the last verdict.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pipelines
from console.app import Hub, open_hub
from console.demo import overlay
from console.demo.desk import Desk
from console.demo.receipts import prompt_of, receipt_of
from console.demo.report import Scene
from console.demo.tickets import TICKETS, Ticket
from console.demo.view import View
from console.serving import listening
from ledger.contract import RunQuery
from penstock import HOUSE
from penstock.errors import Invalid, Unreachable
from penstock.secrets import Secrets
from pipelines.declaration import Kafka
from schemas.entries import Run, RunDetail

PAUSE = 0.7  # seconds between two tickets, for people who watch
LOOK_EVERY = 0.1  # seconds between looks at the ledger
WITHIN = 120.0  # seconds until every event must have a verdict
ECHOES_WITHIN = 15.0  # seconds for the events our own notes cause
STOP_GRACE = 5.0  # seconds
RUNS_MOST = 1000  # runs looked at; the demo makes about fifteen


@dataclass(frozen=True, slots=True, kw_only=True)
class Played:
    """
    What the demo came to.
    """

    scenes: Mapping[int, Scene]
    """By ticket."""
    runs: Sequence[Run]
    """All of them, those of the echoes of our notes included."""
    deliveries: int
    """Signed webhooks the desk sent."""
    url: str
    seconds: float

    @property
    def faults(self) -> list[str]:
        """
        Everything that is not as it must be; empty when the demo may end with 0.
        """
        found = [f"ticket {number}: {fault}" for number, scene in self.scenes.items() for fault in scene.faults]
        found += [f"run {run.run[:8]} has no verdict ({run.state})" for run in self.runs if run.state != "final"]
        for ticket in TICKETS:
            if ticket.twice and not self.scenes[ticket.id].run.redelivered:
                found.append(f"ticket {ticket.id}: its second delivery was not recognised")
        return found


@asynccontextmanager
async def playing(
    state: Path, view: View, *, model: overlay.Choice, fast: bool, bus: Kafka | None = None
) -> AsyncIterator[Played]:
    """
    Let the pretend desk receive every ticket; yields what came of them, with everything still running.

    Events travel over the embedded bus unless *bus* names a Kafka.
    """
    loaded = pipelines.load(HOUSE / "pipelines.yaml")
    if loaded.declaration is None:
        raise Invalid("the worked examples are wrong", where="pipelines.yaml", hint="penstock check says why")
    async with Desk.open() as desk:
        declaration = overlay.overlaid(loaded.declaration, desk=desk.url, model=model, state=str(state), bus=bus)
        secrets = Secrets({**os.environ, **overlay.SECRETS})
        async with open_hub(declaration, loaded.root, secrets=secrets) as hub:
            await hub.engine.start()
            try:
                async with listening(hub, "127.0.0.1", 0) as url:
                    desk.tell(f"{url}/in/{overlay.CONNECTION}", overlay.SECRETS["DEMO_ZENDESK_HOOK"])
                    yield await _performance(hub, desk, view, url, fast=fast)
            finally:
                await hub.engine.stop(STOP_GRACE)


async def _performance(hub: Hub, desk: Desk, view: View, url: str, *, fast: bool) -> Played:
    begun = time.perf_counter()
    with view:
        try:
            async with asyncio.timeout(WITHIN), asyncio.TaskGroup() as group:
                group.create_task(_write(desk, view, fast=fast))
                watching = group.create_task(_watch(hub, view))
        except TimeoutError:
            raise Unreachable(f"After {WITHIN:g} s not every ticket has a verdict.") from None
        seconds = time.perf_counter() - begun
        await _echoed(hub, desk)
    details = watching.result()
    return Played(
        scenes={ticket.id: await _scene(hub, desk, ticket, details[ticket.id]) for ticket in TICKETS},
        runs=await hub.ledger.runs(RunQuery(limit=RUNS_MOST)),
        deliveries=desk.deliveries,
        url=url,
        seconds=seconds,
    )


async def _write(desk: Desk, view: View, *, fast: bool) -> None:
    for ticket in TICKETS:
        desk.receive(ticket)
        view.stage(ticket, "written")
        if not fast:
            await asyncio.sleep(PAUSE)


async def _watch(hub: Hub, view: View) -> dict[int, RunDetail]:
    """
    Follow the tickets until each has a verdict.
    """
    ended: dict[int, RunDetail] = {}
    while len(ended) < len(TICKETS):
        await asyncio.sleep(LOOK_EVERY)
        opened = {run.event_id: run for run in await hub.ledger.runs(RunQuery(limit=RUNS_MOST))}
        for ticket in TICKETS:
            run = opened.get(ticket.event_id)
            if run is None or ticket.id in ended:
                continue
            detail = await hub.ledger.detail(run.run)
            if detail is None or detail.run.state != "final":
                view.stage(ticket, "running")
                continue
            ended[ticket.id] = detail
            view.ended(ticket, detail.run, receipt_of(detail))
    return ended


async def _echoed(hub: Hub, desk: Desk) -> None:
    """
    Wait until the events that our own notes caused, and the second delivery, were judged too.
    """
    again = sum(ticket.twice for ticket in TICKETS)
    try:
        async with asyncio.timeout(ECHOES_WITHIN):
            await desk.settled()
            while True:
                runs = await hub.ledger.runs(RunQuery(limit=RUNS_MOST))
                final = [run for run in runs if run.state == "final"]
                if len(final) >= desk.deliveries - again and sum(run.redelivered for run in final) >= again:
                    return
                await asyncio.sleep(LOOK_EVERY)
    except TimeoutError:
        return  # `Played.faults` says what is missing


async def _scene(hub: Hub, desk: Desk, ticket: Ticket, detail: RunDetail) -> Scene:
    fresh = await hub.ledger.detail(detail.run.run) or detail
    return Scene(
        ticket=ticket,
        run=fresh.run,
        receipt=receipt_of(fresh),
        prompt=prompt_of(fresh),
        notes=desk.notes(ticket.id),
        status=desk.status(ticket.id),
        public=desk.public_replies(ticket.id),
    )
