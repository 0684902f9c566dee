"""
`penstock check`: findings with their place, and what an event can cost.
"""

from __future__ import annotations

from pathlib import Path

from console.cli.exits import Exit
from console.cli.streams import say, write
from penstock.errors import Invalid
from pipelines.check import run as run_check


def check(path: Path, *, form: str, strict: bool) -> int:
    """
    Check the declaration at *path*; 1 when something is wrong.
    """
    file = path / "pipelines.yaml" if path.is_dir() else path
    if not file.is_file():
        raise Invalid(
            "there is no such file", where=str(file), hint="name the declaration, or make one: penstock init my-hub"
        )
    report = run_check(file)
    write(report.render(form))
    errors = [finding for finding in report.findings if finding.severity == "error"]
    if form == "text":
        notes = len(report.findings) - len(errors)
        say(f"{len(errors)} errors, {notes} notes")
    return Exit.FINDINGS if errors or (strict and report.findings) else Exit.OK
