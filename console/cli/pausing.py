"""
`penstock pause` and `penstock resume`.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from console.cli import project, wording
from console.cli.exits import Exit
from console.cli.streams import say
from ledger.pausing import Pause
from penstock.errors import Invalid

_NOTHING_SAID = "paused by hand"


def pause(
    file: Path, pipeline: str, *, until: str | None, span: str | None, reason: str | None, state: Path | None
) -> int:
    """
    Pause a declared pipeline.
    """
    declared = project.declaration(project.load(file)).pipelines
    if pipeline not in declared:
        hint = f"one of {', '.join(declared)}"
        raise Invalid(f"there is no pipeline {pipeline!r}", where="penstock pause", hint=hint)
    ends = _ends(until, span, time.time_ns() // 1_000_000)
    told = f"{reason or _NOTHING_SAID} ({project.person()})"

    async def work() -> None:
        async with project.open_ledger_to_write(project.ledger_place(file, state)) as ledger:
            await ledger.pause(pipeline, reason=told, until=ends)

    asyncio.run(work())
    when = f"until {wording.moment(ends)} UTC" if ends else f"until: penstock resume {pipeline}"
    say(f"{pipeline} is paused {when}; events are taken and wait, what runs finishes")
    return Exit.OK


def resume(file: Path, pipeline: str, *, state: Path | None) -> int:
    """
    Let a paused pipeline go on.
    """

    async def work() -> bool:
        async with project.open_ledger_to_write(project.ledger_place(file, state)) as ledger:
            return await ledger.resume(pipeline)

    if not asyncio.run(work()):
        say(f"error: {pipeline} is not paused\nnext: penstock pipelines shows which are")
        return Exit.FINDINGS
    say(f"{pipeline} goes on")
    return Exit.OK


def shown(pauses: Sequence[Pause]) -> list[str]:
    """
    Return one line for each pause.
    """
    return [_line(pause) for pause in pauses]


def _line(pause: Pause) -> str:
    until = f"until {wording.moment(pause.until)} UTC" if pause.until else f"until: penstock resume {pause.pipeline}"
    return f"paused: {pause.pipeline} since {wording.moment(pause.since)} UTC, {until}: {pause.reason}"


def _ends(until: str | None, span: str | None, now_ms: int) -> int | None:
    if until is not None and span is not None:
        raise Invalid("say one of them", where="--until, --for", hint="--until names a time, --for a span from now")
    if span is not None:
        return now_ms + wording.span_ms(span, "--for")
    if until is None:
        return None
    try:
        at = datetime.fromisoformat(until.strip())
    except ValueError:
        hint = "write 2026-11-24 or 2026-11-24T18:00"
        raise Invalid(f"{until!r} is no date or time", where="--until", hint=hint) from None
    ends = int((at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp() * 1000)
    if ends <= now_ms:
        raise Invalid(f"{until!r} has passed", where="--until", hint="name a time to come")
    return ends
