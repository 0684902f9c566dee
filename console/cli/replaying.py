"""
`penstock replay`: the plan first, then the act.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

from rich.text import Text

from connectors import catalog
from console.cli import project, wording
from console.cli.exits import Exit
from console.cli.streams import emit, out, say
from engine.replay import Forecast, forecast, returns
from ledger.contract import Ledger, RunQuery
from penstock.errors import Invalid
from pipelines.costing import costs
from pipelines.plan import compile_pipeline
from pipelines.survey import Survey
from schemas.entries import Run, Verdict

_WRITES = {
    "done": "done already, not repeated",
    "write": "written",
    "resend": "sent again under the same key, which the system knows",
    "look": "looked for, and written if it is not there",
    "park": "of unknown outcome: a person decides again",
    "repeat": "of unknown outcome: MAY BE WRITTEN TWICE",
}
_LEFT_SHOWN = 5  # runs that are left alone, each with its reason


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """
    Which runs are meant, as written on the command line.
    """

    runs: tuple[str, ...] = ()
    pipeline: str | None = None
    subject: str | None = None
    verdict: str = "dead"
    reason: str | None = None
    since: str | None = None
    until: str | None = None
    limit: int

    def query(self, now_ms: int, *, again: bool) -> RunQuery:
        """
        Return it as the ledger takes it; raises `Invalid`.
        """
        if self.verdict not in get_args(Verdict):
            allowed = ", ".join(get_args(Verdict))
            raise Invalid(f"{self.verdict!r} is no verdict", where="--verdict", hint=f"one of {allowed}")
        if self.verdict != "dead" and not again:
            hint = "--again asks, pays and writes again"
            raise Invalid(f"runs that ended {self.verdict} are not replayed", where="--verdict", hint=hint)
        return RunQuery(
            pipeline=self.pipeline,
            subject=self.subject,
            verdict=self.verdict,  # type: ignore[arg-type] # looked at above
            error=self.reason,
            since=wording.since(self.since, now_ms) if self.since else None,
            until=wording.since(self.until, now_ms, "--until") if self.until else None,
            oldest_first=True,
            limit=self.limit,
        )


def replay(
    file: Path, choice: Choice, *, again: bool, insist: bool, yes: bool, state: Path | None, as_json: bool
) -> int:
    """
    Print what would be run again; with *yes*, let it come back.
    """
    query = choice.query(time.time_ns() // 1_000_000, again=again)
    loaded = project.load(file)
    declared = project.declaration(loaded)
    plans = {name: compile_pipeline(declared, name, loaded.root) for name in declared.pipelines}
    opened = project.open_ledger_to_write if yes else project.open_ledger

    async def work() -> tuple[list[Forecast], list[str]]:
        async with opened(project.ledger_place(file, state)) as ledger:
            found = await _chosen(ledger, choice, query)
            planned = await forecast(found, ledger=ledger, plans=plans, again=again, insist=insist)
            wanted = returns(planned, insist=insist)
            return planned, await ledger.replay(wanted, person=project.person(), again=again) if yes else []

    planned, back = asyncio.run(work())
    worst = {cost.pipeline: cost.worst_case for cost in costs(Survey(loaded, catalog, os.environ))}
    if as_json:
        emit("replay", again=again, done=yes, **_data(planned, worst, back))
    else:
        _print(planned, worst, again=again)
    return _end(planned, back, choice, yes=yes)


async def _chosen(ledger: Ledger, choice: Choice, query: RunQuery) -> list[Run]:
    if not choice.runs:
        return await ledger.runs(query)
    found: dict[str, Run] = {}
    for name in choice.runs:
        detail = await ledger.detail(name)
        if detail is None:
            hint = "penstock runs lists them; one whose details were pruned cannot be replayed"
            raise Invalid(f"no run begins with {name!r}", where="penstock replay", hint=hint)
        found[detail.run.run] = detail.run
    return sorted(found.values(), key=lambda run: (run.created_at, run.seq))


def _end(planned: Sequence[Forecast], back: Sequence[str], choice: Choice, *, yes: bool) -> int:
    coming = sum(one.back for one in planned)
    if not choice.runs and len(planned) == choice.limit:
        say(f"these are the oldest {choice.limit:,}; there may be more (--limit)")
    if not coming:
        say("nothing to replay")
        return Exit.FINDINGS if choice.runs else Exit.OK
    if not yes:
        say("nothing was done yet; next: the same command with --yes")
        return Exit.CHANGES
    if len(back) < coming:
        say(f"{wording.plural(coming - len(back), 'run')} had come back meanwhile and were left alone")
    say(f"{wording.plural(len(back), 'run')} came back; a running hub takes them up, each at its lane's tail")
    return Exit.OK


def _total(planned: Sequence[Forecast], worst: Mapping[str, int]) -> int | None:
    """
    Return what the plan can cost at most; None when a price is not known.
    """
    asked = [one.run.pipeline for one in planned if one.asking == "asked"]
    return None if any(name not in worst for name in asked) else sum(worst[name] for name in asked)


def _data(planned: Sequence[Forecast], worst: Mapping[str, int], back: Sequence[str]) -> dict[str, Any]:
    return {
        "runs": [_one(each, worst) for each in planned],
        "coming_back": sum(each.back for each in planned),
        "giving_way": sum(each.newer is not None for each in planned),
        "asked": sum(each.asking == "asked" for each in planned),
        "worst_case_micro_usd": _total(planned, worst),
        "came_back": list(back),
    }


def _one(each: Forecast, worst: Mapping[str, int]) -> dict[str, Any]:
    names = ("run", "pipeline", "subject", "verdict", "error", "failed_step", "deaths", "generation")
    return {
        **{name: getattr(each.run, name) for name in names},
        "left": each.left,
        "newer": each.newer,
        "asking": each.asking,
        "worst_case_micro_usd": worst.get(each.run.pipeline) if each.asking == "asked" else 0,
        "writes": dict(each.writes),
    }


def _print(planned: Sequence[Forecast], worst: Mapping[str, int], *, again: bool) -> None:
    coming = [one for one in planned if one.back]
    if coming:
        _line(f"{wording.plural(len(coming), 'run')} of {len(planned):,} would be replayed", "bold")
    for name in dict.fromkeys(one.run.pipeline for one in coming):
        _pipeline(name, [one for one in coming if one.run.pipeline == name], worst, again=again)
    left = [one for one in planned if not one.back]
    for one in left[:_LEFT_SHOWN]:
        _line(f"left alone: {one.run.run[:8]}  {one.left}")
    if len(left) > _LEFT_SHOWN:
        _line(f"left alone: {len(left) - _LEFT_SHOWN:,} more; --json has them all")


def _pipeline(name: str, some: Sequence[Forecast], worst: Mapping[str, int], *, again: bool) -> None:
    _line(f"  {name}: {wording.plural(len(some), 'run')}")
    asked, kept = (sum(one.asking == word for one in some) for word in ("asked", "kept"))
    if kept:
        _line(f"    ask: {kept:,} with the answer that is paid already")
    if asked:
        price = f"at most {wording.money(asked * worst[name])}" if name in worst else "for a price nobody knows"
        _line(f"    ask: {asked:,} asked{' and paid AGAIN' if again else ''}, {price}")
    counted = Counter((step, how) for one in some for step, how in one.writes)
    for (step, how), count in counted.items():
        _line(f"    {step}: {count:,} {'written AGAIN' if again and how == 'write' else _WRITES[how]}")
    if newer := sum(one.newer is not None for one in some):
        why = "a newer run of their lane was delivered; --even-if-newer runs them all the same"
        _line(f"    {newer:,} end superseded: {why}")


def _line(text: str, style: str = "") -> None:
    out().print(Text(wording.printable(text), style=style), soft_wrap=True)
