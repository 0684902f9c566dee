"""
What `penstock doctor` looks at when events travel on Kafka. Only reads.
"""

from __future__ import annotations

from pathlib import Path

import ledger as ledger_room
from bus.kafka import KafkaBus
from console.cli.exam import Finding
from console.cluster import cluster_of
from console.places import layout, ledger_place
from console.references import of_bus, of_ledger
from ledger import Loss
from penstock.clock import SystemClock
from penstock.errors import Invalid, PenstockError, Unreachable
from penstock.http_aiohttp import AiohttpHttp
from penstock.secrets import MissingSecret, Secrets
from pipelines.declaration import Declaration, Kafka

FAR_BEHIND = 10_000  # messages


async def kafka(declaration: Declaration, root: Path, given: Kafka, *, offline: bool) -> list[Finding]:
    """
    Look at the cluster, and at how far each pipeline is; at what was lost, which the ledger remembers.
    """
    secrets, http, clock = Secrets(), AiohttpHttp(), SystemClock()
    wanted = [*of_bus(declaration), *of_ledger(declaration)]
    if offline and any(refs.newest.remote for refs in wanted):
        return [
            Finding(what="bus", state="note", says="Kafka: a secret of it is kept in a store; not asked (--offline)")
        ]
    try:
        await secrets.load(wanted, http=http)
        cluster = cluster_of(given, root, secrets, http=http, clock=clock)
        if offline:
            return [Finding(what="bus", state="note", says="Kafka: its secrets are set; not asked (--offline)")]
        bus = await KafkaBus.connect(cluster, partitions=int(given.partitions), keep=declaration.hub.keep)
        try:
            found = [Finding(what="bus", state="ok", says=f"Kafka at {cluster} lets us in")]
            lost = await _lost(declaration, root, secrets)
            return found + [await _pipeline(declaration, bus, name, lost.get(name)) for name in declaration.pipelines]
        finally:
            await bus.close()
    except MissingSecret as error:
        return [Finding(what="bus", state="bad", says=str(error), next="set it")]
    except Invalid as error:
        return [Finding(what="bus", state="bad", says=str(error), next="mend hub.bus")]
    except PenstockError as error:
        return [Finding(what="bus", state="down", says=str(error), next="start it, or mend hub.bus")]
    finally:
        await http.close()


async def _pipeline(declaration: Declaration, bus: KafkaBus, name: str, lost: Loss | None) -> Finding:
    topic = layout(declaration).topic(declaration.pipelines[name].trigger.connection)
    seen = await bus.standing(topic, name)
    what = f"pipeline {name}"
    if seen is None:
        return Finding(what=what, state="note", says=f"has not read {topic} yet; it will begin at its end")
    says = f"{seen.lag:,} messages of {topic} to read"
    messages = seen.gone + (lost.messages if lost is not None else 0)
    if messages:
        says += f"; {messages:,} were deleted before they were read"
        return Finding(what=what, state="note", says=says, next="have the systems send them again; raise hub.keep")
    if seen.lag > FAR_BEHIND:
        return Finding(what=what, state="note", says=says, next="start more workers, or look at penstock runs")
    return Finding(what=what, state="ok", says=says)


async def _lost(declaration: Declaration, root: Path, secrets: Secrets) -> dict[str, Loss]:
    """
    Return by pipeline what it lost in the time details are kept; nothing without a ledger to ask.
    """
    place, clock = ledger_place(declaration, root, secrets), SystemClock()
    if isinstance(place, Path) and not place.exists():
        return {}
    try:
        book = await ledger_room.open(place, clock=clock, read_only=True)
    except Unreachable:
        return {}  # another finding says so
    try:
        since = clock.now_ms() - int(declaration.hub.keep * 1000)
        return {loss.pipeline: loss for loss in await book.losses(since)}
    finally:
        await book.close()
