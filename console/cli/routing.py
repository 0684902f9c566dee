"""
`penstock cost routing`: how far asks had to climb, and what that saved.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from pathlib import Path

from rich.table import Table

from console import routes
from console.cli import project, wording
from console.cli.exits import Exit
from console.cli.streams import emit, out, say
from console.routes import Routed
from console.shadows import NOTHING
from penstock.errors import Invalid
from penstock.units import percent


def routing(
    file: Path,
    *,
    since: str,
    until: str | None,
    pipeline: str | None,
    target: float | None,
    state: Path | None,
    as_json: bool,
) -> int:
    """
    Print what the route of each pipeline came to.
    """
    loaded = project.load(file)
    declaration = project.declaration(loaded)
    place, now = project.ledger_place(file, state), time.time_ns() // 1_000_000
    zone = project.zone(declaration)
    first = wording.since(since, now, zone=zone)
    last = wording.since(until, now, "--until", zone) if until else now + 1

    async def ask() -> list[Routed]:
        async with project.open_ledger(place) as ledger:
            return await routes.routed(
                ledger, declaration, loaded.root, since=first, until=last, pipeline=pipeline, target=target
            )

    found = asyncio.run(ask())
    if as_json:
        emit("routing", since=first, until=last, routes=[line.as_data() for line in found])
    elif found:
        out().print(_table(found))
        for text in (text for line in found for text in _remarks(line)):
            out().print(text, markup=False, highlight=False, soft_wrap=True)
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


def target_of(text: str) -> float:
    """
    Return which share of the kept answers may disagree. Raises `Invalid`.
    """
    try:
        return percent(text)
    except ValueError as error:
        raise Invalid(str(error), where="--disagreement") from None


def _remarks(line: Routed) -> Iterator[str]:
    """
    Yield what its shadow found, and what is proposed.
    """
    shadow, found = line.shadow, line.shadow.agreement
    if shadow.share and not shadow.fields:
        yield f"{line.pipeline}: {NOTHING}"
    elif found is not None:
        part, low, high = found
        pairs = wording.plural(len(shadow.kept), "kept answer")
        cost = wording.money(shadow.cost)
        yield f"{line.pipeline}: {pairs} compared, {part:.1%} agree ({low:.1%} to {high:.1%}); shadows cost {cost}"
    elif shadow.share:
        yield f"{line.pipeline}: nothing compared yet, of {shadow.share:.4%} of the kept answers"
    if line.proposal is not None:
        yield from (f"{line.pipeline}: {text}" for text in line.proposal.lines())


def _saved(line: Routed) -> str:
    if line.saved is None:
        return "unknown" if line.asks else ""
    return f"-{wording.money(-line.saved)}" if line.saved < 0 else f"about {wording.money(line.saved)}"


def _escalations(line: Routed) -> str:
    words = ", ".join(f"{cause} {count:,}" for cause, count in line.escalations.most_common())
    others = f"{wording.plural(line.elsewhere, 'ask')} of other models" if line.elsewhere else ""
    return "; ".join(filter(None, (words, others)))
