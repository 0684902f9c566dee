"""
`penstock runs`: what ran, and everything known of one run.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar, get_args

from rich.table import Table
from rich.text import Text

from console.cli import project, wording
from console.cli.exits import Exit
from console.cli.pausing import shown
from console.cli.run_sheet import sheet
from console.cli.streams import emit, out, say
from ledger.contract import Ledger, RunQuery
from penstock.errors import Invalid
from schemas.entries import Run, RunDetail, State, Verdict

T = TypeVar("T")
NARROW = 100  # columns of a terminal with no room for every number


@dataclass(frozen=True, slots=True, kw_only=True)
class Filter:
    """
    Which runs are asked for, as written on the command line.
    """

    pipeline: str | None = None
    subject: str | None = None
    verdict: str | None = None
    since: str | None = None
    limit: int = 50

    def query(self, now_ms: int) -> RunQuery:
        """
        Return it as the ledger takes it; raises `Invalid`.
        """
        is_state = self.verdict in get_args(State)
        if self.verdict and not is_state and self.verdict not in get_args(Verdict):
            allowed = ", ".join((*get_args(Verdict), *get_args(State)))
            raise Invalid(f"{self.verdict!r} is no verdict", where="--verdict", hint=f"one of {allowed}")
        narrowed: dict[str, Any] = {"state" if is_state else "verdict": self.verdict} if self.verdict else {}
        since = wording.since(self.since, now_ms) if self.since else None
        return RunQuery(pipeline=self.pipeline, subject=self.subject, since=since, limit=self.limit, **narrowed)


def list_runs(file: Path, wanted: Filter, *, state: Path | None, as_json: bool) -> int:
    """
    Print the runs that match, newest first.
    """
    query = wanted.query(time.time_ns() // 1_000_000)
    place = project.ledger_place(file, state)
    found = _read(place, lambda ledger: ledger.runs(query))
    for line in shown(_read(place, lambda ledger: ledger.pauses())):
        say(line)
    if as_json:
        emit("runs", runs=[run.model_dump(mode="json") for run in found])
    elif found:
        out().print(_table(found, out().width))
    if not found:
        say("no runs match; next: penstock runs, without options, lists the newest 50")
    return Exit.OK


def show_run(file: Path, run: str, *, state: Path | None, as_json: bool) -> int:
    """
    Print everything known of one run.
    """
    detail: RunDetail | None = _read(project.ledger_place(file, state), lambda ledger: ledger.detail(run))
    if detail is None:
        say(f"error: no run begins with {run!r}\nnext: penstock runs lists them")
        return Exit.FINDINGS
    if as_json:
        emit("run", **detail.model_dump(mode="json"))
    else:
        out().print(sheet(detail))
    return Exit.OK


def _read(place: Path | str, question: Callable[[Ledger], Awaitable[T]]) -> T:
    async def ask() -> T:
        async with project.open_ledger(place) as ledger:
            return await question(ledger)

    return asyncio.run(ask())


def _table(runs: list[Run], width: int) -> Table:
    """
    Return the runs as a table for a terminal of *width* columns: where there is little room, the records and the
    reasons give way, and in a narrow one the less important numbers.
    """
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("run", "time (UTC)", "pipeline"):
        table.add_column(name, no_wrap=True)
    table.add_column("record")
    table.add_column("verdict", no_wrap=True)
    for name in ("cost",) if width < NARROW else ("cost", "took", "again"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("why")
    for run in runs:
        word = run.verdict or run.state
        plain = (run.run[:8], wording.moment(run.created_at), run.pipeline, run.subject)
        verdict = Text(word, style=wording.COLOURS.get(word, ""))
        why = _text((run.error or "").replace("\n", " "))
        table.add_row(*map(_text, plain), verdict, *map(_text, _numbers(run, width)), why)
    return table


def _numbers(run: Run, width: int) -> tuple[str, ...]:
    cost = wording.money(run.cost)
    if width < NARROW:
        return (cost,)
    took = wording.duration(run.finished_at - run.created_at) if run.finished_at else ""
    return cost, took, str(run.redelivered) if run.redelivered else ""


def _text(said: str) -> Text:
    return Text(wording.printable(said), no_wrap=True, overflow="ellipsis")
