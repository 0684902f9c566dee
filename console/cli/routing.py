"""
`penstock cost routing`: how far asks had to climb, and what that saved.
"""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

from rich.table import Table

from console import routes
from console.cli import project, wording
from console.cli.exits import Exit
from console.cli.streams import emit, out, say
from console.routes import Routed


def routing(
    file: Path, *, since: str, until: str | None, pipeline: str | None, state: Path | None, as_json: bool
) -> int:
    """
    Print what the route of each pipeline came to.
    """
    declaration = project.declaration(project.load(file))
    place, now = project.ledger_place(file, state), time.time_ns() // 1_000_000
    zone = project.zone(declaration)
    first = wording.since(since, now, zone=zone)
    last = wording.since(until, now, "--until", zone) if until else now + 1

    async def ask() -> list[Routed]:
        async with project.open_ledger(place) as ledger:
            return await routes.routed(ledger, declaration, since=first, until=last, pipeline=pipeline)

    found = asyncio.run(ask())
    if as_json:
        emit("routing", since=first, until=last, routes=[line.as_data() for line in found])
    elif found:
        out().print(_table(found))
    if not found:
        say("no pipeline has a route; next: docs/howto/routing.md says how to ask cheap models first")
    return Exit.OK


def _table(found: list[Routed]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("pipeline", "route", "model"):
        table.add_column(name, no_wrap=True)
    for name in ("asks", "share", "cost", "saved"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("escalations", overflow="fold")
    for line in found:
        for rung in line.rungs:
            row = ["", "", rung.model, f"{rung.asks:,}", f"{line.share(rung):.1%}", wording.money(rung.cost)]
            table.add_row(*row)
        total = [line.pipeline, line.route, "", f"{line.asks:,}", "", wording.money(line.cost), _saved(line)]
        table.add_row(*total, _escalations(line), style="bold", end_section=True)
    return table


def _saved(line: Routed) -> str:
    if line.saved is None:
        return "unknown" if line.asks else ""
    return f"-{wording.money(-line.saved)}" if line.saved < 0 else f"about {wording.money(line.saved)}"


def _escalations(line: Routed) -> str:
    words = ", ".join(f"{cause} {count:,}" for cause, count in line.escalations.most_common())
    others = f"{wording.plural(line.elsewhere, 'ask')} of other models" if line.elsewhere else ""
    return "; ".join(filter(None, (words, others)))
