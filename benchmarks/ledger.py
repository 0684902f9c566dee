"""
The ledger against plain SQLite: `python -m benchmarks.ledger [--json]`.

Ours: runs are claimed and finished, 200 at once, each in its own lane. Theirs: the same rows of the same
tables inserted, updated and deleted by `executemany`, as many runs to a durable transaction, with
nothing checked and nobody waiting.
"""

from __future__ import annotations

import asyncio
import sqlite3
import sys
import tempfile
import time
from pathlib import Path

import uvloop

import ledger
from benchmarks import ratio
from ledger import Claim, NewRun, file, lanes, runs
from ledger.queries import queries
from penstock.clock import SystemClock

RUNS = 6_000
AT_ONCE = 200
ROUNDS = 5
_NOW = 1_700_000_000_000


def run(number: int) -> NewRun:
    """
    Return a run like those of a ticket.
    """
    return NewRun(
        pipeline="ticket-summary",
        lane=str(number),
        source="https://acme.zendesk.com",
        event_id=f"ticket:{number}:1",
        subject=str(number),
        body_hash="0" * 32,
        config_hash="0" * 16,
        topic="penstock.events.helpdesk",
        partition=number % 12,
        offset=number,
        bus_time=_NOW,
    )


def claimed(folder: Path) -> float:
    """
    Return how many runs a second the ledger claims and finishes.
    """
    return uvloop.run(_claimed(folder / f"{time.monotonic_ns()}.db"))


async def _claimed(path: Path) -> float:
    book = await ledger.open(path, clock=SystemClock())
    offered = [run(number) for number in range(RUNS)]

    async def work(start: int) -> None:
        for new in offered[start::AT_ONCE]:
            claim = await book.claim(new)
            assert isinstance(claim, Claim)
            await book.finish(claim, "delivered")

    begin = time.perf_counter()
    await asyncio.gather(*(work(start) for start in range(AT_ONCE)))
    seconds = time.perf_counter() - begin
    await book.close()
    return RUNS / seconds


def inserted(folder: Path) -> float:
    """
    Return how many runs a second plain SQLite takes through the same rows.
    """
    path = folder / f"{time.monotonic_ns()}.db"
    connection = file.connect(path)
    connection.execute("BEGIN")
    file.prepare(connection, path)
    connection.execute("COMMIT")
    rows = [_row(number) for number in range(RUNS)]
    begin = time.perf_counter()
    for start in range(0, RUNS, AT_ONCE):
        batch = rows[start : start + AT_ONCE]
        _together(connection, ("add_run", "add_lane"), batch)
        _together(connection, ("end_run", "drop_lane"), batch)
    seconds = time.perf_counter() - begin
    connection.close()
    return RUNS / seconds


def _row(number: int) -> dict[str, object]:
    started = {"state": "running", "worker": b"w" * 16, "token": b"t" * 16, "started_at": _NOW}
    ended = {"why": None, "finished_at": None, "verdict": None, "error": None}
    unset = {"reason": None, "due_at": None, "gate": None}
    numbers = {"seq": number, "fence": number, "now": _NOW}
    return runs.columns(run(number)) | lanes.values(run(number)) | started | ended | unset | numbers


def _together(connection: sqlite3.Connection, names: tuple[str, ...], rows: list[dict[str, object]]) -> None:
    connection.execute("BEGIN IMMEDIATE")
    for name in names:
        if name == "end_run":
            connection.executemany(queries[name], [row | {"verdict": "delivered"} for row in rows])
        else:
            connection.executemany(queries[name], rows)
    connection.execute("COMMIT")


def main() -> int:
    """
    Compare and print.
    """
    # In the current folder: /tmp may be memory, where a sync costs nothing.
    with tempfile.TemporaryDirectory(prefix=".bench-", dir=Path.cwd()) as name:
        folder = Path(name)
        comparison = ratio.compare(
            f"claim + finish, {AT_ONCE} at once / the same rows by executemany",
            lambda: claimed(folder),
            lambda: inserted(folder),
            ROUNDS,
            unit="runs/s",
        )
    return ratio.report([comparison], "uvloop")


if __name__ == "__main__":
    sys.exit(main())
