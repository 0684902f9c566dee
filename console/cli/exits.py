"""
What the exit code of a command says.
"""

from __future__ import annotations

from enum import IntEnum


class Exit(IntEnum):
    """
    Exit codes, the same for every command.
    """

    OK = 0
    """Done."""
    FINDINGS = 1
    """The command worked and found something wrong, or did not find what was asked for."""
    USAGE = 2
    """The command line itself is wrong."""
    INVALID = 3
    """The configuration, or another file a person wrote, is wrong."""
    UNREACHABLE = 4
    """A server, a file or a lock that is needed cannot be had."""
    BUDGET = 5
    """The worst case does not fit under a cap, or more was spent than was allowed."""
    PARTIAL = 6
    """Some of it worked."""
    CHANGES = 10
    """Nothing was done yet: it would be, with `--yes`."""
    UNFORESEEN = 70
    """An error nobody expected; the log says where."""
    INTERRUPTED = 130
    """Ctrl-C."""
