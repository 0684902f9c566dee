"""
The embedded bus against plain SQLite and against the disk itself: `python -m benchmarks.bus [--json]`.

Throughput: many concurrent publishers, against `executemany` of the same rows with as many rows per transaction and
the same durability, both until the file is closed. Publishers hand over pages, as polls do, or single records, as
webhooks do.
Latency: one publish, against one write and fdatasync of the same bytes.
"""

from __future__ import annotations

import asyncio
import gc
import os
import sqlite3
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

import uvloop

import bus
from benchmarks import ratio
from bus import Outgoing
from penstock.clock import SystemClock

TOPIC = "penstock.events.bench"
RECORD_BYTES = 600
RECORDS = 40_000
PAGES = (20, 100)  # publishers, records a call: a page of most systems
PAGES_AIM = 0.8  # of plain batched inserts
WEBHOOKS = (1000, 1)
BATCH = 1000  # rows per plain transaction: as many as the bus puts into one
PARTITIONS = 12
SINGLES = 400
ROUNDS = 7
DAY = 86_400.0  # seconds

_INSERT = "INSERT INTO message (place, at_ms, key, value, headers) VALUES (?, ?, ?, ?, ?)"
_TABLE = """
CREATE TABLE message (place INTEGER PRIMARY KEY, at_ms INTEGER NOT NULL, key BLOB, value BLOB NOT NULL, headers BLOB)
"""


def record(number: int) -> Outgoing:
    """
    Return a record of the size of a small event.
    """
    return Outgoing(topic=TOPIC, key=b"%d" % (number % 2000), value=os.urandom(RECORD_BYTES))


def published(folder: Path, publishers: int, page: int) -> float:
    """
    Return how many records a second go through the bus when *publishers* at once hand over *page* records a call.
    """
    return uvloop.run(_published(folder / f"{time.monotonic_ns()}.db", publishers, page))


async def _published(path: Path, publishers: int, page: int) -> float:
    records = [record(number) for number in range(RECORDS)]
    pages = [records[start : start + page] for start in range(0, RECORDS, page)]
    opened = bus.open(path, partitions=PARTITIONS, keep=DAY, clock=SystemClock())
    await opened.ensure_topic(TOPIC, PARTITIONS)

    async def publish(number: int) -> None:
        for one in pages[number::publishers]:
            await opened.publish(one)

    _settle()
    begin = time.perf_counter()
    await asyncio.gather(*(publish(number) for number in range(publishers)))
    await opened.close()
    return RECORDS / (time.perf_counter() - begin)


def inserted(folder: Path) -> float:
    """
    Return how many rows a second plain `executemany` writes, `BATCH` rows to a durable transaction.
    """
    ends = dict.fromkeys(range(PARTITIONS), 0)
    rows = []
    for one in map(record, range(RECORDS)):
        log = bus.partition_of(one.key or b"", PARTITIONS)
        rows.append(((log << 40) + ends[log], 0, one.key, one.value, None))
        ends[log] += 1
    connection = sqlite3.connect(folder / f"{time.monotonic_ns()}.db", isolation_level=None)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute(_TABLE)
    _settle()
    begin = time.perf_counter()
    for start in range(0, RECORDS, BATCH):
        connection.execute("BEGIN IMMEDIATE")
        connection.executemany(_INSERT, rows[start : start + BATCH])
        connection.execute("COMMIT")
    connection.close()
    return RECORDS / (time.perf_counter() - begin)


def commit_latency(folder: Path) -> float:
    """
    Return the median seconds of one publish when nobody else publishes.
    """
    return uvloop.run(_commit_latency(folder / f"{time.monotonic_ns()}.db"))


async def _commit_latency(path: Path) -> float:
    opened = bus.open(path, keep=DAY, clock=SystemClock())
    await opened.ensure_topic(TOPIC, 12)
    times = []
    for number in range(SINGLES):
        one = record(number)
        begin = time.perf_counter()
        await opened.publish([one])
        times.append(time.perf_counter() - begin)
    await opened.close()
    return median(times)


def sync_latency(folder: Path) -> float:
    """
    Return the median seconds of one appending write of the same bytes with fdatasync.
    """
    handle = os.open(folder / f"{time.monotonic_ns()}.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    times = []
    for number in range(SINGLES):
        value = record(number).value
        begin = time.perf_counter()
        os.write(handle, value)
        os.fdatasync(handle)
        times.append(time.perf_counter() - begin)
    os.close(handle)
    return median(times)


def main() -> int:
    """
    Compare, print, and return 1 when an aim was missed.
    """
    # In the current folder: /tmp may be memory, where a sync costs nothing.
    with tempfile.TemporaryDirectory(prefix=".bench-", dir=Path.cwd()) as name:
        folder = Path(name)
        # Single webhooks have no aim: what they cost is asyncio's price per awaiting publisher, not the log's.
        pages = _throughput(folder, *PAGES, at_least=PAGES_AIM)
        comparisons = [pages, _throughput(folder, *WEBHOOKS), _latency(folder)]
    return ratio.report(comparisons, "uvloop")


def _settle() -> None:
    """
    Take the prepared records out of the garbage collector's rounds: a hub does not hold them all at once.
    """
    gc.unfreeze()
    gc.collect()
    gc.freeze()


def _throughput(folder: Path, publishers: int, page: int, *, at_least: float | None = None) -> ratio.Comparison:
    return ratio.compare(
        f"publish, {publishers} at once x {page} / executemany of {BATCH}",
        lambda: published(folder, publishers, page),
        lambda: inserted(folder),
        ROUNDS,
        unit="records/s",
        at_least=at_least,
    )


def _latency(folder: Path) -> ratio.Comparison:
    return ratio.compare(
        "publish of one / write + fdatasync, p50",
        lambda: commit_latency(folder),
        lambda: sync_latency(folder),
        ROUNDS,
        at_most=5,
    )


if __name__ == "__main__":
    sys.exit(main())
