"""
What happened and what it cost: every event's run, its steps, its writes and its money.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import ModuleType

from ledger import sqlite
from ledger.base import Seen
from ledger.book import Book, never
from ledger.contract import (
    Busy,
    CallSlot,
    Cap,
    Claim,
    Known,
    Ledger,
    Loss,
    NewRun,
    PickedUp,
    RunQuery,
    Step,
    TopicEntry,
    WriteIntent,
    run_id,
)
from ledger.lease import Lease
from ledger.parcels import Parcel
from ledger.retention import DETAILS
from penstock.clock import Clock
from penstock.errors import Invalid, Unreachable

__all__ = [
    "LEASE",
    "Busy",
    "CallSlot",
    "Cap",
    "Claim",
    "Known",
    "Ledger",
    "Loss",
    "NewRun",
    "Parcel",
    "PickedUp",
    "RunQuery",
    "Seen",
    "Step",
    "TopicEntry",
    "WriteIntent",
    "look",
    "open",
    "run_id",
]

LEASE = 30.0  # seconds


async def open(  # noqa: A001 # `ledger.open(...)` reads as what it is
    place: Path | str | None,
    *,
    clock: Clock,
    worker: str | None = None,
    keep: float = DETAILS,
    lease: float = LEASE,
    read_only: bool = False,
    fail: Callable[[str], None] | None = None,
) -> Ledger:
    """
    Open the ledger at *place*: a file, the address of a PostgreSQL server, or None for one in memory.

    A file is shared by the processes of one host. Raises `Unreachable` when another host writes it, or
    when it cannot be used.

    Args:

        keep: Seconds for which the details of final runs are kept; their identities stay 400 days.

        lease: Seconds this process goes on without being able to write.

        fail: Called at points where a test may stop the process, after what they name is durable:
            `claim admit join begin reserve settle wait aside`, `done:before done:after`, `finish:before
            finish:after`, and by the writing thread `commit:before commit:after`.
    """
    fail = fail or never
    if isinstance(place, str):
        return _on_server(place, clock=clock, worker=worker, keep=keep, lease=lease, read_only=read_only, fail=fail)
    if place is None:
        if read_only:
            message = "a ledger in memory cannot be opened to read"
            raise Invalid(message, hint="give its path")
        only = Lease(lease, worker)
        return Book(sqlite.in_memory(only, now=clock.now_ms(), fail=fail), only, clock=clock, keep=keep, fail=fail)
    if read_only:
        return Book(sqlite.to_read(place), None, clock=clock, keep=keep, fail=fail)
    store, held = await sqlite.to_write(place, seconds=lease, name=worker, now=clock.now_ms(), fail=fail)
    return Book(store, held, clock=clock, keep=keep, fail=fail)


def look(dsn: str) -> Seen:
    """
    Look at the PostgreSQL server at *dsn* without changing anything. Raises `Unreachable`.
    """
    seen: Seen = _postgres().server.look(dsn)
    return seen


def _on_server(
    dsn: str,
    *,
    clock: Clock,
    worker: str | None,
    keep: float,
    lease: float,
    read_only: bool,
    fail: Callable[[str], None],
) -> Ledger:
    postgres = _postgres()
    if read_only:
        return Book(postgres.to_read(dsn, seconds=lease), None, clock=clock, keep=keep, fail=fail)
    held = postgres.ServerLease(lease, worker)
    store = postgres.to_write(dsn, held, now=clock.now_ms(), seconds=lease, fail=fail)
    return Book(store, held, clock=clock, keep=keep, fail=fail)


def _postgres() -> ModuleType:
    try:
        from ledger import postgres
    except ImportError as error:
        message = "a ledger on PostgreSQL needs psycopg: pip install 'penstock[postgres]'"
        raise Unreachable(message) from error
    return postgres
