"""
The outermost handler: every error ends as one line that says what, where, why and what next.
"""

from __future__ import annotations

import os
import sys
import tempfile
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from console.cli.exits import Exit

if TYPE_CHECKING:
    from penstock.errors import PenstockError

_NEXT = {
    Exit.INVALID: "next: penstock check",
    Exit.UNREACHABLE: "next: penstock doctor",
    Exit.BUDGET: "next: raise the cap in pipelines.yaml, then penstock check",
}


def main(argv: Sequence[str] | None = None) -> NoReturn:
    """
    Run the command line and end the process with its exit code.
    """
    sys.exit(run(sys.argv[1:] if argv is None else argv))


def run(argv: Sequence[str]) -> int:
    """
    Run one command; return its exit code. Nothing but `KeyboardInterrupt` in a handler escapes.
    """
    try:
        return _flushed(_dispatch(list(argv)))
    except KeyboardInterrupt:
        sys.stderr.write("interrupted\n")
        return Exit.INTERRUPTED
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # `penstock runs | head` is fine
        return Exit.OK
    except Exception as error:  # noqa: BLE001 - the outermost loop: a person gets a sentence, never a traceback
        return _ended(error)


def _dispatch(argv: list[str]) -> int:
    from typer.exceptions import Abort
    from typer.exceptions import Exit as TyperExit

    from console.cli.commands import app

    try:
        ended = app(args=argv or ["--help"], standalone_mode=False, prog_name="penstock")
    except TyperExit as ending:
        return ending.exit_code
    except Abort:
        return Exit.INTERRUPTED
    return int(ended or 0)


def _flushed(code: int) -> int:
    sys.stdout.flush()
    return code


def _ended(error: Exception) -> int:
    from typer.exceptions import TyperException

    from penstock.errors import PenstockError

    if os.environ.get("PENSTOCK_TRACEBACK") == "1":
        sys.stderr.write(_traced(error))
    if isinstance(error, TyperException):
        sys.stderr.write(f"error: {error.format_message()}\nnext: penstock --help\n")
        return Exit.USAGE
    if isinstance(error, PenstockError):
        code = exit_code(error)
        advice = None if getattr(error, "hint", None) else _NEXT.get(Exit(code))
        sys.stderr.write(f"error: {_hidden(str(error))}\n" + (f"{advice}\n" if advice else ""))
        return code
    sys.stderr.write(
        f"error: {type(error).__name__}: {_hidden(str(error))}\nThis was not foreseen; the details are in {_logged(error)}.\n"
        "next: PENSTOCK_TRACEBACK=1 shows them here; please report it with `penstock doctor --json`.\n"
    )
    return Exit.UNFORESEEN


def exit_code(error: PenstockError) -> int:
    """
    Return the exit code that *error* asks for.
    """
    from penstock.errors import AuthFailed, Invalid, OverBudget, Unavailable, Unreachable

    match error:
        case Invalid():
            return Exit.INVALID
        case Unreachable() | Unavailable() | AuthFailed():
            return Exit.UNREACHABLE
        case OverBudget():
            return Exit.BUDGET
        case _:
            return Exit.FINDINGS


def _logged(error: Exception) -> str:
    """
    Write the traceback to a file only its owner can read; return the file's name.
    """
    state = Path(".penstock")
    folder = state if state.is_dir() and os.access(state, os.W_OK) else Path(tempfile.gettempdir())
    handle, name = tempfile.mkstemp(prefix="penstock-error-", suffix=".log", dir=folder)
    with os.fdopen(handle, "w") as file:
        file.write(_traced(error))
    return name


def _traced(error: Exception) -> str:
    return _hidden("".join(traceback.format_exception(error)))


def _hidden(text: str) -> str:
    """
    Return *text* without any secret that was resolved in this process.
    """
    from penstock.redaction import LIVE

    return LIVE.hide(text)
