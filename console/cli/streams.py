"""
Data goes to stdout, talk goes to stderr; both are plain when they are not a terminal.
"""

from __future__ import annotations

import os
import sys
from functools import cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console

JSON_VERSION = 1  # of every `--json` shape; a changed shape raises it
PLAIN_WIDTH = 160  # columns of tables that go into a pipe


@cache
def out() -> Console:
    """
    Return the console of stdout: what a command was asked for.
    """
    return _console(stderr=False)


@cache
def talk() -> Console:
    """
    Return the console of stderr: progress, advice, errors.
    """
    return _console(stderr=True)


def _console(*, stderr: bool) -> Console:
    from rich.console import Console

    stream = sys.stderr if stderr else sys.stdout
    width = None if stream.isatty() or "COLUMNS" in os.environ else PLAIN_WIDTH
    return Console(stderr=stderr, highlight=False, soft_wrap=False, width=width)


def emit(kind: str, **payload: Any) -> None:
    """
    Print one JSON document on stdout: `{"version": 1, "kind": …, …}`.
    """
    import orjson

    document = {"version": JSON_VERSION, "kind": kind, **payload}
    sys.stdout.write(orjson.dumps(document, option=orjson.OPT_INDENT_2).decode() + "\n")


def write(text: str) -> None:
    """
    Print *text* on stdout as it is: no markup, no wrapping.
    """
    sys.stdout.write(text if text.endswith("\n") else text + "\n")


def say(text: str) -> None:
    """
    Print a plain sentence on stderr.
    """
    talk().print(text, markup=False, soft_wrap=True)


def interactive(*, no_input: bool = False) -> bool:
    """
    Return whether a question may be asked.
    """
    forbidden = no_input or bool(os.environ.get("PENSTOCK_NO_INPUT")) or bool(os.environ.get("CI"))
    return not forbidden and sys.stdin.isatty() and sys.stderr.isatty()
