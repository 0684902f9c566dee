"""
The ledger against plain SQLite: `python -m benchmarks.ledger [--json]`.

Ours: runs are claimed and finished, 200 at once, each in its own lane. Theirs: the same rows of the same
tables inserted, updated and deleted by `executemany`, as many runs to a durable transaction, with
nothing checked and nobody waiting. Then ours on PostgreSQL beside ours on SQLite.
"""

from __future__ import annotations

import asyncio
import os
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
from ledger.testing_server import ELSEWHERE, LocalServer
from penstock.clock import SystemClock
from penstock.errors import Unreachable

RUNS = 6_000
AT_ONCE = 200
ROUNDS = 5
SERVER_ROUNDS = 3
_ON_DISK = Path("/var/tmp")  # where the user of a server can go, and a sync costs what it costs
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


def claimed_on_server(dsn: str) -> float:
    """
    Return the same on PostgreSQL, in a schema of its own.
    """
    import psycopg

    name = f"bench_{time.monotonic_ns()}"
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute(f"CREATE SCHEMA {name}")
        try:
            return uvloop.run(_claimed(f"{dsn}{'&' if '?' in dsn else '?'}options=-csearch_path%3D{name}"))
        finally:
            connection.execute(f"DROP SCHEMA {name} CASCADE")


async def _claimed(place: Path | str) -> float:
    book = await ledger.open(place, clock=SystemClock())
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
        comparisons = [comparison, *_on_server(folder)]
    return ratio.report(comparisons, "uvloop")


def _on_server(folder: Path) -> list[ratio.Comparison]:
    """
    Compare PostgreSQL with SQLite, when there is a server or can be one.
    """
    named = os.environ.get(ELSEWHERE)
    try:
        ours = None if named else LocalServer(durable=True, below=_ON_DISK if _ON_DISK.is_dir() else None)
    except Unreachable as error:
        print(f"PostgreSQL is left out: {error}", file=sys.stderr)
        return []
    try:
        if ours is not None:
            ours.start()
        dsn = named or (ours.dsn if ours else "")
        label = f"PostgreSQL / SQLite: claim + finish, {AT_ONCE} at once"
        return [
            ratio.compare(label, lambda: claimed_on_server(dsn), lambda: claimed(folder), SERVER_ROUNDS, unit="runs/s")
        ]
    finally:
        if ours is not None:
            ours.remove()


if __name__ == "__main__":
    sys.exit(main())
