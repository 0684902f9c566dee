"""
`penstock cache clear`.
"""

from __future__ import annotations

import asyncio
from pathlib import Path

from console.cli import project, wording
from console.cli.exits import Exit
from console.cli.streams import emit, say
from penstock.errors import Invalid


def clear(file: Path, *, pipeline: str | None, state: Path | None, as_json: bool) -> int:
    """
    Let no answer of *pipeline*, or of any, be used again.
    """
    declared = project.declaration(project.load(file)).pipelines
    if pipeline is not None and pipeline not in declared:
        hint = f"one of {', '.join(declared)}"
        raise Invalid(f"there is no pipeline {pipeline!r}", where="--pipeline", hint=hint)

    async def work() -> int:
        async with project.open_ledger_to_write(project.ledger_place(file, state)) as ledger:
            return await ledger.clear_cache(pipeline)

    cleared = asyncio.run(work())
    if as_json:
        emit("cache-clear", pipeline=pipeline, cleared=cleared)
    say(f"{wording.plural(cleared, 'question')} forgotten: from now on each is asked again")
    return Exit.OK
