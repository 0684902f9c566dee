"""
The project a command works on: its declaration and its state.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from console.cli.streams import talk
from penstock.errors import Invalid, Unreachable

if TYPE_CHECKING:
    from zoneinfo import ZoneInfo

    from ledger.contract import Ledger
    from pipelines import Finding, Loaded
    from pipelines.declaration import Declaration


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


@contextmanager
def placing(loaded: Loaded) -> Iterator[None]:
    """
    Let a mistake in a setting that shows only once secrets are known be told with file, line and column.
    """
    from connectors.settings import SettingError

    try:
        yield
    except SettingError as error:
        raise Invalid(error.said, where=str(loaded.places.value(*error.keys)), hint=error.hint) from None


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


def zone(declaration: Declaration) -> ZoneInfo:
    """
    Return in which zone the hub's days begin.
    """
    from zoneinfo import ZoneInfo

    return ZoneInfo(declaration.hub.timezone)


def ledger_place(file: Path, state: Path | None) -> Path | str:
    """
    Return where the ledger is: in *state*, in `PENSTOCK_STATE`, or where *file* says.
    """
    from console import places
    from console.references import of_ledger
    from penstock.secrets import Secrets

    if state is not None:
        return state / places.LEDGER
    if named := os.environ.get("PENSTOCK_STATE"):
        return Path(named) / places.LEDGER
    loaded = load(file)
    found, secrets = declaration(loaded), Secrets()
    secrets.check(of_ledger(found))
    return places.ledger_place(found, loaded.root, secrets)


@asynccontextmanager
async def open_ledger(place: Path | str) -> AsyncIterator[Ledger]:
    """
    Open the ledger at *place* to read, also beside a running hub.
    """
    import ledger
    from penstock.clock import SystemClock

    _must_be_there(place)
    opened = await ledger.open(place, clock=SystemClock(), read_only=True)
    try:
        yield opened
    finally:
        await opened.close()


@asynccontextmanager
async def open_ledger_to_write(place: Path | str) -> AsyncIterator[Ledger]:
    """
    Open the ledger at *place* to change it; raises `Unreachable` where a running hub has it for itself.
    """
    import ledger
    from penstock.clock import SystemClock

    _must_be_there(place)
    opened = await ledger.open(place, clock=SystemClock(), worker=f"{person()} at the command line")
    try:
        yield opened
    finally:
        await opened.close()


def person() -> str:
    """
    Return who is at the command line, for the record: `ana@host`.
    """
    import getpass
    import socket

    try:
        name = getpass.getuser()
    except (OSError, KeyError):  # a container's user may have no name
        name = str(os.getuid())
    return f"{name}@{socket.gethostname()}"


def _must_be_there(place: Path | str) -> None:
    if isinstance(place, Path) and not place.is_file():
        raise Unreachable(
            f"{place}: there is no ledger yet. Start the hub (penstock run) or name its folder (--state)."
        )
