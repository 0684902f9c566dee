"""
The project a command works on: its declaration and its state.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from console.cli.streams import talk
from penstock.errors import Invalid, Unreachable

if TYPE_CHECKING:
    from ledger.contract import Ledger
    from pipelines import Finding, Loaded
    from pipelines.declaration import Declaration

LEDGER = "ledger.db"  # in the state folder


def load(file: Path) -> Loaded:
    """
    Read the declaration *file*, or `pipelines.yaml` in the folder *file*. Raises `Invalid`.
    """
    import connectors
    import pipelines

    path = file / "pipelines.yaml" if file.is_dir() else file
    if not path.is_file():
        raise Invalid(
            "there is no such file",
            where=str(path),
            hint="go to your project, name one with -f, or make one: penstock init my-hub",
        )
    connectors.extend(path.parent / "connectors")
    loaded = pipelines.load(path)
    if loaded.declaration is None:
        show_errors(loaded.findings, path)
    return loaded


def show_errors(findings: Sequence[Finding], path: Path) -> None:
    """
    Print errors on stderr and raise `Invalid`; do nothing when there are none.
    """
    from pipelines import as_text

    errors = [finding for finding in findings if finding.severity == "error"]
    if errors:
        talk().print(as_text(errors), markup=False, soft_wrap=True)
        raise Invalid("the configuration is wrong", where=str(path))


def refuse(file: Path) -> None:
    """
    Raise `Invalid` for everything `check` finds wrong, and for keys this version does not run yet.
    """
    from pipelines import check

    path = file / "pipelines.yaml" if file.is_dir() else file
    report = check.run(path)
    show_errors([*report.findings, *report.refusals], path)


def declaration(loaded: Loaded) -> Declaration:
    """
    Return the declaration of a file that could be read.
    """
    if loaded.declaration is None:
        raise Invalid("the configuration is wrong", where=str(loaded.root))
    return loaded.declaration


def state_folder(file: Path, state: Path | None) -> Path:
    """
    Return where bus and ledger live: *state*, `PENSTOCK_STATE`, or `hub.state` of *file*.
    """
    if state is not None:
        return state
    if named := os.environ.get("PENSTOCK_STATE"):
        return Path(named)
    loaded = load(file)
    return loaded.root / declaration(loaded).hub.state


@asynccontextmanager
async def open_ledger(state: Path) -> AsyncIterator[Ledger]:
    """
    Open the ledger in the folder *state* to read, also beside a running hub.
    """
    import ledger
    from penstock.clock import SystemClock

    path = state / LEDGER
    if not path.is_file():
        raise Unreachable(f"{path}: there is no ledger yet. Start the hub (penstock run) or name its folder (--state).")
    opened = await ledger.open(path, clock=SystemClock(), read_only=True)
    try:
        yield opened
    finally:
        await opened.close()
