"""
`penstock pipelines`: what there is, what its runs came to, and what a pipeline left that is gone.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path

from rich.table import Table
from rich.text import Text

from console.cli import project, wording
from console.cli.exits import Exit
from console.cli.pausing import shown
from console.cli.streams import emit, out, say
from ledger.contract import Ledger
from ledger.pausing import Pause
from penstock.errors import Invalid
from pipelines.declaration import Declaration

OPEN = ("running", "waiting", "aside")
_COLUMNS = ("waiting", "running", "aside", "dead", "delivered")
Counts = Mapping[tuple[str, str], int]


def list_pipelines(file: Path, *, state: Path | None, as_json: bool) -> int:
    """
    Print every declared pipeline, and those that only the ledger knows.
    """
    declared = project.declaration(project.load(file))

    async def work() -> tuple[Counts, list[Pause]]:
        async with project.open_ledger(project.ledger_place(file, state)) as ledger:
            return await ledger.counts(), await ledger.pauses()

    counts, pauses = asyncio.run(work())
    names = [*declared.pipelines, *sorted({name for name, _ in counts} - set(declared.pipelines))]
    if as_json:
        emit("pipelines", pipelines=[_data(name, declared, counts, pauses) for name in names])
    else:
        out().print(_table(names, declared, counts, pauses))
        for line in shown(pauses):
            say(line)
    return Exit.OK


def retire(file: Path, pipeline: str, *, yes: bool, state: Path | None, as_json: bool) -> int:
    """
    Print which runs of a pipeline that is gone would be discarded; with *yes*, discard them.
    """
    if pipeline in project.declaration(project.load(file)).pipelines:
        hint = "take it out of the declaration first, or pause it"
        raise Invalid(f"{pipeline} is declared", where="penstock pipelines retire", hint=hint)
    opened = project.open_ledger_to_write if yes else project.open_ledger

    async def work() -> tuple[Counter[str], int, Counter[str]]:
        async with opened(project.ledger_place(file, state)) as ledger:
            before = await _open_runs(ledger, pipeline)
            ended = await ledger.retire(pipeline, person=project.person()) if yes else 0
            return before, ended, await _open_runs(ledger, pipeline)

    before, ended, left = asyncio.run(work())
    if as_json:
        emit("retired", pipeline=pipeline, done=yes, runs=dict(before), discarded=ended, left=dict(left))
    return _say_retired(pipeline, before, ended, left, yes=yes)


def _say_retired(pipeline: str, before: Counter[str], ended: int, left: Counter[str], *, yes: bool) -> int:
    if not before.total():
        say(f"{pipeline} has no runs that are not final")
        return Exit.OK
    if not yes:
        parts = ", ".join(f"{count} {word}" for word, count in before.items())
        say(f"{wording.plural(before.total(), 'run')} of {pipeline} ({parts}) would end as discarded")
        say("nothing was done yet; next: the same command with --yes")
        return Exit.CHANGES
    say(f"{wording.plural(ended, 'run')} of {pipeline} ended as discarded")
    if left.total():
        say(f"{wording.plural(left.total(), 'run')} are in the hands of a hub that runs; next: stop it, then again")
        return Exit.PARTIAL
    return Exit.OK


async def look_before_start(ledger: Ledger, declared: Declaration) -> None:
    """
    Say what is paused; raise `Invalid` when runs are left of a pipeline that nobody takes up.
    """
    for line in shown(await ledger.pauses()):
        say(line)
    left: Counter[str] = Counter()
    for (name, word), count in (await ledger.counts()).items():
        left[name] += count if word in OPEN else 0
    known = set(declared.pipelines) | {pipeline.was for pipeline in declared.pipelines.values()}
    for name, count in left.items():
        if count and name not in known:
            hint = (
                f"renamed: write `was: {name}` in the pipeline that takes over; gone: penstock pipelines retire {name}"
            )
            raise Invalid(
                f"{wording.plural(count, 'run')} of pipeline {name!r} are not final, and no such pipeline is declared",
                where="penstock run",
                hint=hint,
            )


async def _open_runs(ledger: Ledger, pipeline: str) -> Counter[str]:
    counts = await ledger.counts([pipeline])
    return Counter({word: count for (_, word), count in counts.items() if word in OPEN})


def _data(name: str, declared: Declaration, counts: Counts, pauses: Iterable[Pause]) -> dict[str, object]:
    paused = next((pause for pause in pauses if pause.pipeline == name), None)
    entry = declared.pipelines.get(name)
    return {
        "pipeline": name,
        "declared": entry is not None,
        "connection": entry.trigger.connection if entry else None,
        "was": entry.was if entry else None,
        "paused": None if paused is None else {"since": paused.since, "until": paused.until, "reason": paused.reason},
        "runs": {word: count for (of, word), count in counts.items() if of == name},
    }


def _table(names: Iterable[str], declared: Declaration, counts: Counts, pauses: Iterable[Pause]) -> Table:
    paused = {pause.pipeline for pause in pauses}
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("pipeline", "connection"):
        table.add_column(name, no_wrap=True)
    for name in _COLUMNS:
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("", no_wrap=True)
    for name in names:
        entry = declared.pipelines.get(name)
        numbers = [str(counts.get((name, word), 0)) for word in _COLUMNS]
        note = "not declared" if entry is None else "paused" if name in paused else ""
        table.add_row(*map(Text, (name, entry.trigger.connection if entry else "", *numbers, note)))
    return table
