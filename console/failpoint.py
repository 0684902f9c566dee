"""
Named places where a test stops this process dead, and how long its leases last.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable

from ledger import LEASE
from penstock.errors import Invalid

POINTS = (
    "admit",
    "ai:after-answer",
    "ai:before-send",
    "aside",
    "batch:booked",
    "batch:created",
    "batch:sending",
    "begin",
    "cache:asking",
    "claim",
    "commit:after",
    "commit:before",
    "done:after",
    "done:before",
    "draft:kept",
    "finish:after",
    "finish:before",
    "join",
    "rerun",
    "reserve",
    "run:answered",
    "settle",
    "source:after-cursor",
    "source:after-publish",
    "wait",
    "write:after-send",
    "write:before-send",
)
"""
Every failpoint of the product; a test compares them with the code.
"""


def failpoint() -> Callable[[str], None]:
    """
    Return what stops this process dead at the failpoint named in `PENSTOCK_FAIL` (`name` or `name@nth`).
    """
    wanted, _, nth = os.environ.get("PENSTOCK_FAIL", "").partition("@")
    if wanted and wanted not in POINTS:
        raise Invalid(f"there is no failpoint {wanted!r}", where="PENSTOCK_FAIL", hint=f"one of {', '.join(POINTS)}")
    left = [int(nth or 1)]

    def hit(name: str) -> None:
        if name == wanted:
            left[0] -= 1
            if left[0] == 0:
                os.kill(os.getpid(), signal.SIGKILL)

    return hit


def lease() -> float:
    """
    Return the seconds a lease lasts: always the ledger's own, unless a test is shorter of time (`PENSTOCK_LEASE`).
    """
    return float(os.environ.get("PENSTOCK_LEASE") or LEASE)
