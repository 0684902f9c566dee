"""
Options that several commands share.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

File = Annotated[
    Path,
    typer.Option("--file", "-f", envvar="PENSTOCK_FILE", help="The declaration to work on."),
]
State = Annotated[Path | None, typer.Option("--state", help="The state folder; default hub.state of the file.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout.")]
OnlyPipeline = Annotated[str | None, typer.Option("--pipeline", help="Only this pipeline.")]
OnlySubject = Annotated[str | None, typer.Option("--subject", help="Only this record, e.g. a ticket id.")]
OnlyVerdict = Annotated[str | None, typer.Option("--verdict", help="Only this verdict, or a state.")]
Since = Annotated[str | None, typer.Option("--since", help="A span (2h, 7d) or a date (2026-11-24).")]
Limit = Annotated[int, typer.Option("--limit", min=1, max=10_000, help="At most this many.")]
Processes = Annotated[
    int | None,
    typer.Option("--processes", metavar="N", min=1, max=64, help="Work in so many; default hub.processes."),
]
Until = Annotated[str | None, typer.Option("--until", help="A span ago (2h) or a date; what came before it.")]
Yes = Annotated[bool, typer.Option("--yes", help="Do it. Without, only the plan is printed.")]
EvenIfNewer = Annotated[
    bool, typer.Option("--even-if-newer", help="Also where a newer run of the same lane was delivered.")
]
PIPELINES = Path("pipelines.yaml")
