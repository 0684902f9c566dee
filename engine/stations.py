"""
Stations: the parts of a run, and at which of them an error came up.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

TRIGGER = "trigger"
CONTEXT = "context"
ASK = "ask"

_MARK = "penstock_station"


@contextlib.contextmanager
def station(name: str) -> Iterator[None]:
    """
    Note on every error that leaves the block where it came up: here, unless further in.
    """
    try:
        yield
    except Exception as error:
        vars(error).setdefault(_MARK, name)
        raise


def station_of(error: BaseException) -> str | None:
    """
    Return where *error* came up.
    """
    found: str | None = vars(error).get(_MARK)
    return found
