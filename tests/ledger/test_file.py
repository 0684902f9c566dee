"""
The file: who may open it and what it survives.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import sqlite3
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

import ledger
from ledger import Cap, Claim, WriteIntent, writer
from ledger.queries import queries
from ledger.testing import bury
from penstock.clock import ManualClock
from penstock.errors import Fenced, Invalid, Unavailable, UnknownOutcome, Unreachable

BODY = b'{"specversion":"1.0"}'
DAY = 86_400
CAP = Cap(scope="hub", period="-", limit=99)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A place for a ledger, in a folder that does not exist yet."""
    return tmp_path / "state" / "ledger.db"


@pytest.fixture
def clock() -> ManualClock:
    """A clock that tests move."""
    return ManualClock()


async def test_readers_work_beside_the_writer(path, clock, make):
    """A reader sees what was committed, and cannot write."""
    book = await ledger.open(path, clock=clock)
    reader = await ledger.open(path, clock=clock, read_only=True)
    await book.conclude(make(), "filtered", None)
    assert await reader.counts() == {("p", "filtered"): 1}
    assert (reader.worker, reader.secret) == ("", book.secret)
    with pytest.raises(Invalid, match="opened to read"):
        await reader.conclude(make("2"), "filtered", None)
    await book.close()
    assert await reader.counts() == {("p", "filtered"): 1}
    await reader.close()


async def test_reading_needs_a_ledger(path, clock):
    """Without a ledger there is nothing to read, and none is made."""
    with pytest.raises(Unreachable, match="there is no ledger"):
        await ledger.open(path, clock=clock, read_only=True)

    assert not path.exists()


@pytest.mark.parametrize("read_only", [True, False])
async def test_another_file_is_not_a_ledger(path, clock, read_only):
    """A file of somebody else is refused, unchanged, and not locked for ever."""
    path.parent.mkdir()
    path.write_bytes(b"dear diary" * 1000)
    for _ in range(2):
        with pytest.raises(Unreachable, match="cannot be opened"):
            await ledger.open(path, clock=clock, read_only=read_only)

    assert path.read_bytes() == b"dear diary" * 1000


@pytest.mark.parametrize("read_only", [True, False])
async def test_a_newer_ledger_is_refused(path, clock, read_only):
    """A ledger of a schema we do not know is not touched."""
    await (await ledger.open(path, clock=clock)).close()
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE meta SET value = 99 WHERE name IN ('schema', 'oldest')")
    connection.close()

    with pytest.raises(Unreachable, match="has schema 99"):
        await ledger.open(path, clock=clock, read_only=read_only)


async def test_the_secret_stays(path, clock):
    """The ledger's secret is made once, with the file."""
    secrets = []
    for _ in range(2):
        book = await ledger.open(path, clock=clock)
        secrets.append(book.secret)
        await book.close()

    assert secrets[0] == secrets[1]
    assert len(secrets[0]) == 32


async def test_numbers_never_fall_back(path, clock, make):
    """Fences grow over lanes that come and go and over restarts."""
    fences = []
    for n in range(4):
        book = await ledger.open(path, clock=clock)
        claim = await book.claim(make(str(n)))
        fences.append(claim.fence)
        await book.finish(claim, "delivered")
        await book.close()

    assert fences == sorted(set(fences))


async def test_a_new_process_takes_over_at_once(path, clock, make):
    """The lock proves every earlier worker dead: no lease is waited for, gates do not stay probing."""
    book = await ledger.open(path, clock=clock)
    claim = await book.claim(make("0", lane="a"))
    await book.wait(claim, "outage", BODY, why="503", gate="connection:desk")
    await book.shut("connection:desk", "503", probe_at=clock.now_ms())
    (probe,) = await book.pick_up(["p"], 10)
    await book.claim(make("1", lane="b"))
    await book.close()
    successor = await ledger.open(path, clock=clock)

    assert [gate.state for gate in await successor.gates()] == ["shut"]
    assert [one.claim.run for one in await successor.pick_up(["p"], 10)] == [probe.claim.run]
    assert isinstance(await successor.claim(make("1", lane="b")), Claim)
    await successor.close()


@pytest.mark.parametrize("error", [ZeroDivisionError, Unavailable])
async def test_one_bad_operation_fails_alone(path, clock, make, error):
    """Operations that share a transaction with one that breaks are done all the same."""
    book = await ledger.open(path, clock=clock)

    def broken(connection):
        connection.execute("INSERT INTO meta (name, value) VALUES ('trace', 1)")
        raise error

    jobs = [book.claim(make(str(n), lane=str(n))) for n in range(20)]
    outcomes = await asyncio.gather(*jobs[:10], book.store.write(broken), *jobs[10:], return_exceptions=True)
    found = await book.store.read(lambda c: c.execute("SELECT 1 FROM meta WHERE name = 'trace'").fetchall())
    await book.close()

    assert [type(one) for one in outcomes] == [Claim] * 10 + [error] + [Claim] * 10
    assert found == []


async def test_a_commit_of_unknown_fate_may_be_repeated(path, clock, make, cost, auditor):
    """P21: a connection that breaks after its COMMIT took effect changes nothing, wherever it happens."""

    def breaks(point):
        if point == "commit:after":
            breaks.often += 1
            if breaks.often % 2:  # the repetition goes through
                raise sqlite3.OperationalError

    breaks.often = 0
    book = await ledger.open(path, clock=clock, fail=breaks)
    claim = await book.claim(make("0"))
    how = {"timeout": 1.0, "write": WriteIntent(connection="desk", record="7", fields={}, value_hash="v")}
    async with book.step(claim, "ask", kind="ask", action_class="ai", timeout=1.0) as step:
        assert (step.found, step.attempts) == ("fresh", 1)
        async with step.call(amount=9, caps=[CAP]) as slot:
            await slot.settle(cost(slot.call, 5))
        async with step.call(amount=9, caps=[CAP]) as slot:
            await slot.release(cost(slot.call, 0))
        await step.done({"a": 1})
    with pytest.raises(UnknownOutcome):
        async with book.step(claim, "note", kind="write", action_class="keyed", **how):
            raise UnknownOutcome
    await book.admit(make("1"), BODY, reason="behind")
    await book.wait(claim, "retry", BODY, why="503", attempt=True)
    (picked,) = await book.pick_up(["p"], 9)
    async with book.step(picked.claim, "note", kind="write", action_class="keyed", **how) as step:
        assert (step.found, step.attempts) == ("unknown", 2)
        await step.done({"id": 1})
    await book.finish(picked.claim, "delivered")
    (picked,) = await book.pick_up(["p"], 9)
    await book.aside(picked.claim, "parked", BODY, why="x")
    await book.store.read(auditor)
    found = await book.detail(claim.run)

    assert (found.run.attempts, found.run.cost, found.run.verdict) == (1, 5, "delivered")
    assert [(step.state, step.attempts) for step in found.steps] == [("done", 1), ("done", 2)]
    assert await book.spent(CAP.scope, CAP.period) == (5, 0)
    assert await book.counts() == {("p", "delivered"): 1, ("p", "aside"): 1}
    await book.close()


async def test_an_end_that_cannot_be_stored_is_not_a_failure(path, clock, make):
    """A step whose effect happened but whose end could not be written is unknown, never failed."""
    full = []

    def fails(point):
        if point == "commit:before" and full:
            raise full.pop()

    book = await ledger.open(path, clock=clock, fail=fails)
    claim = await book.claim(make())
    with pytest.raises(Unavailable):
        async with book.step(claim, "note", kind="write", action_class="keyed", timeout=1.0) as step:
            full.extend([Unavailable(), Unavailable()])  # together, then alone
            await step.done({"id": 1})
    (step,) = (await book.detail(claim.run)).steps
    await book.close()

    assert step.state == "unknown"


async def test_a_lease_is_renewed_while_its_process_lives(path, clock):
    """The worker's row moves on by itself, with no event loop needed for it."""
    book = await ledger.open(path, clock=clock, lease=0.03)

    async def until() -> int:
        rows = await book.store.read(lambda c: c.execute("SELECT lease_until FROM workers WHERE name <> ''").fetchall())
        return rows[0]["lease_until"]

    first = await until()
    for _ in range(1000):
        if await until() > first:
            break
        await asyncio.sleep(0.01)
    last = await until()
    await book.close()

    assert last > first


async def test_a_worker_learns_that_it_was_given_up(path, clock, make):
    """A worker that others called dead sends nothing new once it has tried to renew its lease."""
    book = await ledger.open(path, clock=clock, lease=0.3)
    claim = await book.claim(make())
    await bury(book)
    async with book.step(claim, "note", kind="write", action_class="blind", timeout=1.0) as step:
        with pytest.raises(Fenced):
            async with asyncio.timeout(10):
                while True:
                    step.local_fence()
                    await asyncio.sleep(0.01)
    await book.close()


async def test_a_folder_that_was_taken_away_holds_up_no_stop(path, clock, caplog, monkeypatch):
    """The thread that writes outlives its locks: it says so, and ends when it is asked to."""
    monkeypatch.setattr(writer, "LOOK_EVERY", 0.02)
    book = await ledger.open(path, clock=clock)
    shutil.rmtree(path.parent)
    async with asyncio.timeout(30):
        while "has lost its locks" not in caplog.text:
            await asyncio.sleep(0.02)
        await book.close()

    assert not path.exists()


async def test_the_log_is_copied_into_the_file_as_it_grows(path, clock, make):
    """The write-ahead log does not grow for ever in a process that never stops."""
    book = await ledger.open(path, clock=clock)
    log = path.with_name(path.name + "-wal")
    sizes = []
    for part in range(6):
        runs = [make(f"{part}/{n}") for n in range(600)]
        await asyncio.gather(*(book.conclude(run, "filtered", None, body=BODY * 400) for run in runs))
        sizes.append(log.stat().st_size)
    kept = path.stat().st_size
    await book.close()

    assert kept > 10_000_000
    assert sizes[-1] < 3 * sizes[1]


async def test_a_closed_ledger_says_so(path, clock, make):
    """After close, operations are refused, not forgotten."""
    book = await ledger.open(path, clock=clock)
    pending = asyncio.create_task(book.claim(make()))
    await asyncio.sleep(0)
    await book.close()
    assert isinstance(await pending, Claim)

    with pytest.raises(Unavailable, match="closed"):
        await book.claim(make("2"))


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 2 MiB."""
    place = tmp_path / "disk"
    place.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", place], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip(f"no small file system can be mounted here: {mounted.stderr.decode().strip()}")
    yield place
    subprocess.run(["umount", place], check=True)


async def test_a_full_disk_stops_work_and_loses_nothing(small_disk, clock, make, auditor):
    """Writing fails with `Unavailable` while the disk is full, and goes on when there is room."""
    ballast = small_disk / "ballast"
    ballast.write_bytes(bytes(1024 * 1024))
    book = await ledger.open(small_disk / "ledger.db", clock=clock)
    claim = await book.claim(make("held", lane="held"))
    done = 0
    with pytest.raises(Unavailable, match="check the disk"):
        for done in range(1000):
            await book.conclude(make(str(done)), "filtered", None, body=os.urandom(20_000))
    with pytest.raises(Unavailable):
        await book.finish(claim, "delivered", body=os.urandom(200_000))
    assert await book.counts() == {("p", "filtered"): done, ("p", "running"): 1}
    await book.store.read(auditor)
    ballast.unlink()
    await book.finish(claim, "delivered")
    await book.conclude(make(str(done)), "filtered", None)
    await book.store.read(auditor)

    assert await book.counts() == {("p", "filtered"): done + 1, ("p", "delivered"): 1}
    await book.close()


def test_every_statement_is_used():
    """No statement is left behind, and none is missing."""
    folder = Path(ledger.__file__).parent
    code = "".join(module.read_text() for module in folder.glob("*.py"))
    built = {"forget_" + table for table in ledger.retention._TABLES}
    built |= {"adopt_" + table for table in ledger.estates._TABLES}
    built |= {"adopt_gate_of_" + table for table in ("runs", "lanes")}
    unused = {name for name in queries if f'"{name}"' not in code and name not in built}

    assert unused == set()
