"""
`penstock runs decide`: how a run goes on that stands aside.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from console.cli import project
from console.cli.exits import Exit
from console.cli.streams import emit, say
from ledger.contract import Ledger
from ledger.returning import Return
from penstock.errors import Invalid
from schemas.entries import RunDetail

_SAID = {
    "delivered": "the write counts as delivered; the run goes on after it, at its lane's tail",
    "again": "the write is sent again, at its lane's tail",
    "approved": "the draft is sent as it stands",
    "discarded": "the run ends as discarded",
}


def decide(
    file: Path,
    run: str,
    chosen: Sequence[str],
    *,
    insist: bool,
    state: Path | None,
    as_json: bool,
    text: str | None = None,
) -> int:
    """
    Take the one decision in *chosen* about *run*; *text* is where the draft stands as somebody changed it.
    """
    if len(chosen) != 1:
        raise Invalid(
            "say what happened", where="penstock runs decide", hint="one of --delivered, --again, --approve, --discard"
        )
    what: Any = chosen[0]
    changed = None if text is None else _read(text, what)

    async def work() -> RunDetail:
        async with project.open_ledger_to_write(project.ledger_place(file, state)) as ledger:
            found = await ledger.detail(run)
            if found is None:
                raise Invalid(
                    f"no run begins with {run!r}", where="penstock runs decide", hint="penstock runs lists them"
                )
            if found.run.reason == "approval" and found.run.state == "aside":
                await _about_draft(ledger, found, what, changed)
                return await ledger.detail(found.run.run) or found
            _must_be_parked(found)
            if what == "approved":
                raise Invalid("no draft waits in this run", where="penstock runs decide", hint="--delivered or --again")
            one = Return(run=found.run.run, seq=found.run.seq, insist=insist)
            if not await ledger.decide(one, what, person=project.person()):
                raise Invalid(f"run {found.run.run[:8]} was decided by somebody else", where="penstock runs decide")
            return await ledger.detail(found.run.run) or found

    detail = asyncio.run(work())
    if as_json:
        emit("decision", **detail.model_dump(mode="json"))
    said = _SAID[what] if changed is None else "the draft is sent as you changed it"
    say(f"run {detail.run.run[:8]}: {said}")
    return Exit.OK


def _read(text: str, what: str) -> str:
    """
    Return what stands in the file *text*, `-` for standard input.
    """
    where = "penstock runs decide"
    if what != "approved":
        raise Invalid("only what is approved is sent", where=where, hint="--text goes with --approve")
    try:
        found = sys.stdin.read() if text == "-" else Path(text).read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise Invalid(
            f"{text} cannot be read: {error}", where=where, hint="--text names a file, or - for input"
        ) from None
    if not found.strip() or "\x00" in found:
        raise Invalid(f"there is no text in {text}", where=where, hint="--discard sends nothing")
    return found.strip()


async def _about_draft(ledger: Ledger, found: RunDetail, what: str, text: str | None) -> None:
    if what not in ("approved", "discarded"):
        raise Invalid("its draft was not sent yet", where="penstock runs decide", hint="--approve or --discard")
    choice: Literal["approve", "discard"] = "approve" if what == "approved" else "discard"
    waiting = [draft for draft in await ledger.drafts(found.run.run) if draft.choice is None]
    taken = [await ledger.decide_draft(draft.key, choice, person=project.person(), text=text) for draft in waiting]
    if "taken" not in taken:
        raise Invalid(f"run {found.run.run[:8]} was decided by somebody else", where="penstock runs decide")


def _must_be_parked(found: RunDetail) -> None:
    run = found.run
    if run.state != "aside" or run.reason != "parked":
        is_now = run.verdict or run.state
        hint = "penstock runs --verdict aside lists those that wait for a person"
        raise Invalid(
            f"run {run.run[:8]} is {is_now}: there is nothing to decide", where="penstock runs decide", hint=hint
        )
