"""
What happened and what it cost: every event's run, its steps, its writes and its money.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from ledger.contract import (
    Busy,
    CallSlot,
    Cap,
    Claim,
    Known,
    Ledger,
    NewRun,
    PickedUp,
    RunQuery,
    Step,
    WriteIntent,
    run_id,
)
from ledger.lease import Lease
from ledger.retention import DETAILS
from ledger.sqlite import SqliteLedger, never
from ledger.store import Store
from penstock.clock import Clock
from penstock.errors import Invalid

__all__ = [
    "Busy",
    "CallSlot",
    "Cap",
    "Claim",
    "Known",
    "Ledger",
    "NewRun",
    "PickedUp",
    "RunQuery",
    "Step",
    "WriteIntent",
    "open",
    "run_id",
]

_LEASE = 30.0  # seconds


async def open(  # noqa: A001 # `ledger.open(...)` reads as what it is
    path: Path | None,
    *,
    clock: Clock,
    worker: str | None = None,
    keep: float = DETAILS,
    lease: float = _LEASE,
    read_only: bool = False,
    fail: Callable[[str], None] | None = None,
) -> Ledger:
    """
    Open the ledger at *path*, or one in memory.

    Raises `Unreachable` when another process writes it, or when it cannot be used.

    Args:

        keep: Seconds for which the details of final runs are kept; their identities stay 400 days.

        lease: Seconds this process goes on without being able to write.

        fail: Called at points where a test may stop the process, after what they name is durable:
            `claim admit begin reserve settle wait aside`, `done:before done:after`, `finish:before
            finish:after`, and by the writing thread `commit:before commit:after`.
    """
    if not read_only:
        held = Lease(lease, worker)
        store = Store.to_write(path, held, now=clock.now_ms(), fail=fail or never)
        return SqliteLedger(store, held, clock=clock, keep=keep, fail=fail or never)
    if path is None:
        message = "a ledger in memory cannot be opened to read"
        raise Invalid(message, hint="give its path")
    return SqliteLedger(Store.to_read(path), None, clock=clock, keep=keep, fail=fail or never)
