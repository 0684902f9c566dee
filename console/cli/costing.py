"""
`penstock cost`: what model calls came to, and for whom.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from zoneinfo import ZoneInfo

from rich.table import Table

from console import costs
from console.cli import project, wording
from console.cli.exits import Exit
from console.cli.streams import emit, out, say
from console.costs import Line, Report
from penstock.errors import Invalid
from penstock.units import amount, usd

NOBODY = "-"  # a call without that label, tenant or user, or a model nobody knows


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """
    Which calls are asked for, as written on the command line.
    """

    by: str
    since: str
    until: str | None
    pipeline: str | None
    fail_over: str | None


def cost(file: Path, asked: Asked, *, state: Path | None, as_json: bool) -> int:
    """
    Print what calls came to; 5 when that is more than was allowed, or nobody can say that it is not.
    """
    by, most = _words(asked.by), None if asked.fail_over is None else _most(asked.fail_over)
    place, zone, now = project.ledger_place(file, state), zone_of(file, state), time.time_ns() // 1_000_000
    since = wording.since(asked.since, now, zone=zone)
    until = wording.since(asked.until, now, "--until", zone) if asked.until else now + 1

    async def ask() -> Report:
        async with project.open_ledger(place) as ledger:
            return await costs.report(ledger, by, since=since, until=until, zone=zone, pipeline=asked.pipeline)

    found = asyncio.run(ask())
    if as_json:
        lines = [dict(zip(found.by, key, strict=True)) | line.as_data() for key, line in found.lines]
        total, over = found.total.as_data(), most is not None and _over(found.total, most)
        emit("cost", since=since, until=until, timezone=zone.key, by=by, lines=lines, total=total, over=over)
    elif found.total.calls or found.total.hits:
        out().print(_table(found))
    for line in _remarks(found.total):
        say(line)
    return Exit.OK if most is None else _judged(found.total, most)


def zone_of(file: Path, state: Path | None) -> ZoneInfo:
    """
    Return the time zone of the hub; UTC where a ledger is looked at without its declaration.
    """
    there = (file / "pipelines.yaml" if file.is_dir() else file).is_file()
    if state is not None and not there:
        return ZoneInfo("UTC")
    return project.zone(project.declaration(project.load(file)))


def _words(text: str) -> list[str]:
    words = [word.strip() for word in text.split(",")]
    if not all(words) or len(set(words)) < len(words):
        raise Invalid(f"{text!r} is no list of different words", where="--by", hint="for example pipeline,day")
    return words


def _most(text: str) -> int:
    try:
        return amount(text)
    except ValueError as error:
        raise Invalid(str(error), where="--fail-over") from None


def _over(total: Line, most: int) -> bool:
    return total.cost > most or total.unpriced > 0


def _judged(total: Line, most: int) -> int:
    if total.cost > most:
        say(f"error: {usd(total.cost)} were spent, more than {usd(most)}")
    elif total.unpriced:
        say(f"error: nobody can say whether more than {usd(most)} were spent, for the cost of some calls is unknown")
    return Exit.BUDGET if _over(total, most) else Exit.OK


def _remarks(total: Line) -> Iterator[str]:
    if not total.calls and not total.hits:
        yield "no model was asked in that time; next: penstock runs lists what ran"
    if total.unpriced:
        calls = wording.plural(total.unpriced, "call")
        yield f"the cost of {calls} is unknown: give the model its `price`, or `price_as`, for the next ones"


def _table(found: Report) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in found.by:
        table.add_column(name, no_wrap=True)
    extra = [name for name in ("late", "swept", "lost") if getattr(found.total, name)]
    extra += ["hits", "saved"] if found.total.hits else []
    for name in ("calls", "in", "out", "cached", "cost", *extra):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("errors", overflow="fold")
    several = len(found.lines) > 1
    for at, (key, line) in enumerate(found.lines):
        last = several and at == len(found.lines) - 1
        table.add_row(*(wording.printable(word) or NOBODY for word in key), *_cells(line, extra), end_section=last)
    if several:
        table.add_row("total", *[""] * (len(found.by) - 1), *_cells(found.total, extra), style="bold")
    return table


def _cells(line: Line, extra: list[str]) -> list[str]:
    counts = [wording.tokens(getattr(line, name)) for name in ("calls", "tokens_in", "tokens_out", "tokens_cached")]
    more = [_shown(name, getattr(line, name)) for name in extra]
    errors = sorted((name, count) for name, count in line.outcomes.items() if name != "ok")
    return [*counts, _money(line), *more, ", ".join(f"{name} {count:,}" for name, count in errors)]


def _shown(name: str, value: int) -> str:
    return wording.tokens(value) if name == "hits" else wording.money(value)


def _money(line: Line) -> str:
    if not line.unpriced:
        return wording.money(line.cost)
    return f"{wording.money(line.cost)} + unknown" if line.cost else "unknown"
