"""
What only a server can do: many live workers, leases that end, connections that break, outages.
"""

from __future__ import annotations

import asyncio
import os
import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from pathlib import Path

import psycopg
import pytest

import ledger
from ledger import Busy, Cap, Claim, Known, Ledger, NewRun, dialect, file
from ledger.testing import bury
from ledger.testing_server import LocalServer
from penstock.clock import ManualClock, SystemClock
from penstock.errors import Fenced, Unavailable, Unreachable
from schemas.entries import ModelCall
from tests.ledger.proxy import Proxy

RACES = 1_000
DRAFTS = 200
AT_ONCE = 50
PROCESSES = 8
EVENTS = 40  # at once in each process
CROSSED = float(os.environ.get("PENSTOCK_CROSSED") or 3)  # seconds in which they cross
LEASE = 1.0  # seconds
BODY = b'{"specversion":"1.0"}'
CHILD = Path(__file__).with_name("postgres_child.py")
Make = Callable[..., NewRun]
Cost = Callable[..., ModelCall]


class Workers:
    """
    Ledgers on one server; audited and closed at the end.
    """

    def __init__(self, dsn: str, stack: AsyncExitStack) -> None:
        self.dsn = dsn
        self._stack = stack

    async def open(self, dsn: str | None = None, **more: float) -> Ledger:
        found = await ledger.open(dsn or self.dsn, clock=SystemClock(), **more)
        self._stack.push_async_callback(found.close)
        return found


@pytest.fixture
async def workers(dsn: str, auditor: Callable) -> AsyncIterator[Workers]:
    async with AsyncExitStack() as stack:
        yield Workers(dsn, stack)
        last = await ledger.open(dsn, clock=SystemClock(), read_only=True)
        stack.push_async_callback(last.close)
        await last.store.read(auditor)


@pytest.fixture
def own(server: LocalServer, dsn: str) -> LocalServer:
    """
    The server of `dsn`, when it is ours to stop.
    """
    if str(server.port) not in dsn:
        pytest.skip("somebody else's server is not stopped")
    return server


async def claimed(of: Ledger, run: NewRun) -> Claim:
    claim = await of.claim(run)
    assert isinstance(claim, Claim)
    return claim


async def until(condition: Callable) -> None:
    async with asyncio.timeout(30):
        while not await condition():
            await asyncio.sleep(0.05)


async def lapse(of: Ledger, worker: str) -> None:
    """
    Let a worker's lease be over, as if it had been stopped.
    """
    text = "UPDATE workers SET lease_until = 0 WHERE worker = ?"
    await of.store.write(lambda connection: connection.execute(text, (bytes.fromhex(worker),)))


async def alive(of: Ledger, worker: str) -> bool:
    text = "SELECT 1 FROM workers WHERE worker = ? AND state = 'alive'"
    return bool(await of.store.read(lambda c: c.execute(text, (bytes.fromhex(worker),)).fetchall()))


# ---- one winner ---------------------------------------------------------------------------------


async def test_of_two_connections_that_claim_two_runs_of_one_lane_one_wins(workers: Workers, make: Make) -> None:
    """
    A thousand races for a lane without a row have one winner each.
    """
    books = [await workers.open(), await workers.open()]

    async def race(number: int) -> None:
        runs = [make(f"{number}-{side}", lane=f"k{number}") for side in "ab"]
        got = await asyncio.gather(*(book.claim(run) for book, run in zip(books, runs, strict=True)))
        assert sorted(type(one).__name__ for one in got) == ["Busy", "Claim"]
        winner = 0 if isinstance(got[0], Claim) else 1
        await books[winner].finish(got[winner], "delivered")

    for start in range(0, RACES, AT_ONCE):
        await asyncio.gather(*(race(number) for number in range(start, start + AT_ONCE)))


async def test_the_same_run_offered_twice_is_claimed_once(workers: Workers, make: Make) -> None:
    """
    A run that two workers fetched at once is started by one of them.
    """
    one, two = await workers.open(), await workers.open()
    for number in range(100):
        run = make(str(number), lane=str(number))
        got = await asyncio.gather(one.claim(run), two.claim(run))
        assert sorted(type(each).__name__ for each in got) == ["Busy", "Claim"]


async def test_a_claim_and_an_admission_of_a_new_lane_exclude_each_other(workers: Workers, make: Make) -> None:
    """
    Whatever comes first, the lane has one head and loses no run.
    """
    one, two = await workers.open(), await workers.open()
    for number in range(200):
        first, second = make(f"{number}-a", lane=f"k{number}"), make(f"{number}-b", lane=f"k{number}")
        got, _ = await asyncio.gather(one.claim(first), two.admit(second, BODY, reason="behind"))
        if isinstance(got, Busy):
            await one.admit(first, BODY, reason="behind")
        else:
            await one.finish(got, "delivered")
        assert len(await two.pick_up(["p"], 10)) == 1


@pytest.mark.parametrize("how", ["decided", "expired"])
async def test_a_draft_has_its_end_while_its_run_goes_aside(workers: Workers, make: Make, how: str) -> None:
    """
    Whichever comes first, the run comes back: it never stands aside for what was said already.
    """
    one, two = await workers.open(), await workers.open()

    async def race(number: int) -> None:
        claim = await claimed(one, make(str(number), lane=str(number)))
        expires = one.clock.now_ms() + (-1 if how == "expired" else 3_600_000)
        key = f"{number:064}"
        await one.put_draft(claim, "chat.approval", key, record="35", args={"text": "So."}, expires_at=expires)
        end = two.expire_drafts() if how == "expired" else two.decide_draft(key, "approve", person="U1")
        await asyncio.gather(one.aside(claim, "approval", BODY, why="waits"), end)

    for start in range(0, DRAFTS, AT_ONCE):
        await asyncio.gather(*(race(number) for number in range(start, start + AT_ONCE)))

    while await two.expire_drafts():
        pass
    ends = [(run.state, run.reason) for run in await one.runs(ledger.RunQuery(limit=1000))]
    assert [("waiting", "decided")] * DRAFTS == ends


async def test_workers_that_pick_up_at_once_get_different_lanes(workers: Workers, make: Make) -> None:
    """
    Every due lane is picked up by one worker.
    """
    one, two = await workers.open(), await workers.open()
    await asyncio.gather(*(one.admit(make(str(n), lane=str(n)), BODY, reason="retry", due_at=1) for n in range(200)))
    taken: list[str] = []
    while found := await asyncio.gather(*(book.pick_up(["p"], 15) for book in (one, two, one, two))):
        if not any(found):
            break
        taken += [each.claim.run for part in found for each in part]
    assert len(taken) == len(set(taken)) == 200


async def test_one_probe_is_sent_by_all_workers_together(workers: Workers, make: Make) -> None:
    """
    Workers that look at a shut gate at once send one run through it.
    """
    one, two = await workers.open(), await workers.open()
    for number in range(30):
        gate = f"model:{number}"
        await one.shut(gate, "down", probe_at=0)
        for lane in "abc":
            await one.admit(make(f"{number}{lane}", lane=f"{number}{lane}"), BODY, reason="outage", gate=gate)
        found = await asyncio.gather(one.pick_up(["p"], 5), two.pick_up(["p"], 5))
        assert [each.gate for part in found for each in part if each.probe] == [gate]


# ---- money --------------------------------------------------------------------------------------


async def test_processes_with_crossed_scopes_never_deadlock(workers: Workers, dsn: str) -> None:
    """
    P20: several processes reserve and settle under scopes in crossing orders: no deadlock, no cap exceeded.
    """
    book = await workers.open()
    before = _deadlocks(dsn)
    ended = await asyncio.gather(*(asyncio.to_thread(_spend, dsn, str(number)) for number in range(PROCESSES)))
    assert [child.returncode for child in ended] == [0] * PROCESSES
    assert sum(int(child.stdout) for child in ended) >= 50
    assert _deadlocks(dsn) == before
    sums = "SELECT scope, spent, reserved FROM budgets"
    found = [tuple(row) for row in await book.store.read(lambda c: c.execute(sums).fetchall())]
    assert {scope for scope, _, _ in found} == {f"team:{letter}" for letter in "abcdef"}
    assert all(0 < spent <= 40_000 and reserved == 0 for _, spent, reserved in found)


def _spend(dsn: str, name: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(CHILD), dsn, name, str(EVENTS), str(CROSSED)]
    environment = os.environ | {"PYTHONPATH": str(CHILD.parents[2])}
    return subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False, env=environment)


def _deadlocks(dsn: str) -> int:
    with psycopg.connect(dsn, autocommit=True) as connection:
        row = connection.execute("SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()").fetchone()
    return row[0]


async def test_what_a_slow_worker_settles_after_the_sweep_is_booked_once(
    workers: Workers, make: Make, cost: Cost
) -> None:
    """
    A worker whose lease ended is swept by another and settles later: what it cost is spent, nothing is reserved.
    """
    slow, other = await workers.open(), await workers.open(lease=LEASE)
    caps = [Cap(scope="hub", period="-", limit=1000)]
    run = make("1")
    claim = await claimed(slow, run)
    with pytest.raises(Fenced):
        async with slow.step(claim, "ask", kind="ask", action_class="ai", timeout=1) as step:
            async with step.call(amount=600, caps=caps) as call:
                await lapse(slow, slow.worker)
                await until(lambda: _taken(other, run))
                assert await other.spent("hub", "-") == (600, 0)
                await call.settle(cost(call.call, 250))
            assert await other.spent("hub", "-") == (250, 0)
            await step.done({})


async def _taken(by: Ledger, run: NewRun) -> bool:
    return isinstance(await by.claim(run), Claim)


async def test_a_reservation_is_counted_once_when_the_connection_breaks_at_commit(
    workers: Workers, dsn: str, own: LocalServer, make: Make, cost: Cost
) -> None:
    """
    Cut before or after the server has committed, every operation takes effect once.
    """
    proxy = Proxy(own.port)
    book = await ledger.open(dsn.replace(str(own.port), str(proxy.port)), clock=SystemClock())
    caps = [Cap(scope="hub", period="-", limit=10**6)]
    try:
        for number in range(8):
            proxy.cuts += ["after", None, "before", "after", "after", None]
            claim = await claimed(book, make(str(number), lane=str(number)))
            async with book.step(claim, "ask", kind="ask", action_class="ai", timeout=5) as step:
                async with step.call(amount=100, caps=caps) as call:
                    assert await book.spent("hub", "-") == (number * 40, 100)
                    await call.settle(cost(call.call, 40))
                await step.done({"answer": number})
            await book.finish(claim, "delivered")
        assert await book.spent("hub", "-") == (8 * 40, 0)
        assert {"before", "after"} <= set(proxy.done)
    finally:
        proxy.cuts.clear()
        await book.close()
        proxy.close()


# ---- leases -------------------------------------------------------------------------------------


async def test_a_dead_worker_is_buried_by_another_and_its_runs_go_on(workers: Workers, make: Make) -> None:
    """
    When a lease has ended, another worker takes the waiting event over.
    """
    dead, other = await workers.open(), await workers.open(lease=LEASE)
    run = make("1")
    await claimed(dead, run)
    await dead.admit(run, BODY, reason="behind")
    assert await other.pick_up(["p"], 5) == []
    await lapse(dead, dead.worker)
    picked = []

    async def found() -> bool:
        picked.extend(await other.pick_up(["p"], 5))
        return bool(picked)

    await until(found)
    assert [one.claim.run for one in picked] == [run.run]


async def test_a_worker_that_was_called_dead_goes_on_under_another_lease(workers: Workers, make: Make) -> None:
    """
    What it won before may send nothing more; what it wins now may.
    """
    book = await workers.open(lease=LEASE)
    claim = await claimed(book, make("1"))
    was = book.worker
    async with book.step(claim, "note", kind="write", action_class="keyed", timeout=1) as step:
        step.local_fence()
        await bury(book)
        with pytest.raises(Fenced):
            await claimed(book, make("2", lane="other"))

        async def again() -> bool:
            return book.worker != was and await alive(book, book.worker)

        await until(again)
        with pytest.raises(Fenced):
            step.local_fence()
    fresh = await claimed(book, make("2", lane="other"))
    async with book.step(fresh, "note", kind="write", action_class="keyed", timeout=1) as step:
        step.local_fence()


async def test_nobody_is_called_dead_for_one_lease_after_an_outage(
    workers: Workers, own: LocalServer, make: Make
) -> None:
    """
    The server is away for two leases: every worker comes back to its lanes, and ends what it had begun.
    """
    books = [await workers.open(lease=LEASE), await workers.open(lease=LEASE)]
    names = [book.worker for book in books]
    held = [
        [await claimed(book, make(f"{side}{number}", lane=f"{side}{number}")) for number in range(20)]
        for side, book in enumerate(books)
    ]
    await asyncio.sleep(LEASE * 1.2)  # long enough that each may call others dead
    own.stop()
    await asyncio.sleep(LEASE * 2)
    own.start()
    for book, claims in zip(books, held, strict=True):
        await until(lambda book=book: _answers(book))
        await asyncio.gather(*(book.finish(claim, "delivered") for claim in claims))
    assert [book.worker for book in books] == names


async def _answers(book: Ledger) -> bool:
    try:
        await book.redelivered([])
    except Unavailable:
        return False
    return True


async def test_ends_wait_for_a_server_that_comes_back(workers: Workers, own: LocalServer, make: Make) -> None:
    """
    An operation under way when the server goes is done when it is there again.
    """
    book = await workers.open()
    claim = await claimed(book, make("1"))
    own.stop()
    ending = asyncio.ensure_future(book.finish(claim, "delivered"))
    await asyncio.sleep(0.2)
    assert not ending.done()
    own.start()
    await ending
    assert await book.recognise([claim.run]) == {
        claim.run: Known(state="final", verdict="delivered", body_hash="hash-1")
    }


async def test_a_server_that_stays_away_is_unavailable(workers: Workers, own: LocalServer, make: Make) -> None:
    """
    After a lease, operations fail with `Unavailable` and nothing new is sent; later everything works again.
    """
    book = await workers.open(lease=LEASE)
    claim = await claimed(book, make("1"))
    async with book.step(claim, "ask", kind="ask", action_class="ai", timeout=1) as step:
        own.stop()
        try:
            with pytest.raises(Unavailable, match="is the server there"):
                await book.claim(make("2", lane="other"))
            with pytest.raises(Unavailable):
                await book.recognise([claim.run])
            with pytest.raises(Unavailable, match="nothing new is sent"):
                step.local_fence()
        finally:
            own.start()
        await until(lambda: _answers(book))
        await step.done({})
    await book.finish(claim, "delivered")


async def test_a_ledger_closes_while_its_server_is_away(dsn: str, own: LocalServer) -> None:
    """
    The lease is not given back; it ends by itself.
    """
    book = await ledger.open(dsn, clock=SystemClock(), lease=LEASE)
    own.stop()
    try:
        await book.close()
    finally:
        own.start()


# ---- sessions and tables ------------------------------------------------------------------------


async def test_a_session_is_durable_whatever_the_server_defaults_to(workers: Workers, make: Make) -> None:
    """
    synchronous_commit is on, and the session's time zone changes no time.
    """
    book = await workers.open(workers.dsn + "%20-csynchronous_commit%3Doff%20-ctimezone%3DAsia/Tokyo")
    rows = await book.store.write(lambda c: c.execute("SHOW synchronous_commit").fetchall())
    assert [list(row) for row in rows] == [["on"]]
    await book.admit(make("1"), BODY, reason="retry", due_at=1_900_000_000_000)
    assert await (await workers.open()).next_due(["p"]) == 1_900_000_000_000
    assert await alive(book, book.worker)


async def test_both_databases_have_the_same_tables(workers: Workers, dsn: str) -> None:
    """
    Tables and columns are those of SQLite; only the secret has a column of its own type.
    """
    await workers.open()
    lite = sqlite3.connect(":memory:")
    lite.executescript((Path(file.__file__).with_name("schema.sql")).read_text())
    names = [row[0] for row in lite.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
    expected = {name: [row[1] for row in lite.execute(f"PRAGMA table_info({name})")] for name in names}
    lite.close()
    with psycopg.connect(dsn) as connection:
        text = """SELECT table_name, column_name FROM information_schema.columns
                  WHERE table_schema = current_schema() AND table_name <> 'counter' ORDER BY ordinal_position"""
        found: dict[str, list[str]] = {}
        for table, column in connection.execute(text):
            found.setdefault(table, []).append(column)
    expected["meta"].append("bytes")
    assert found == expected


async def test_workers_that_open_a_new_ledger_at_once_make_it_once(dsn: str) -> None:
    """
    Both get the same secret.
    """

    def opened() -> Ledger:
        return asyncio.run(ledger.open(dsn, clock=ManualClock()))

    books = await asyncio.gather(*(asyncio.to_thread(opened) for _ in range(4)))
    assert len({book.secret for book in books}) == 1
    for book in books:
        await book.close()


async def test_text_with_a_null_character_is_kept(workers: Workers, make: Make) -> None:
    """
    PostgreSQL refuses NUL in text; an event that has one is not lost for it.
    """
    book = await workers.open()
    claim = await claimed(book, make("1", lane="a\x00b", subject="\x00"))
    await book.finish(claim, "dead", why="odd \x00 event", body=BODY)
    (run,) = await book.runs(ledger.RunQuery())
    assert (run.lane, run.error) == ("a\u2400b", "odd \u2400 event")


async def test_an_unknown_server_is_unreachable_and_its_password_stays_secret() -> None:
    """
    The message names the server, not the password.
    """
    with pytest.raises(Unreachable, match=r"127\.0\.0\.1:1/") as failed:
        await ledger.open("postgresql://me:cnry_secret@127.0.0.1:1/hub", clock=ManualClock())
    assert "cnry_secret" not in repr(failed.value) + str(failed.value.__cause__)


async def test_a_ledger_is_read_beside_its_workers(workers: Workers, make: Make) -> None:
    """
    Opened to read, it shows everything and writes nothing; one that is not there yet is said so.
    """
    with pytest.raises(Unreachable, match="no ledger"):
        await ledger.open(workers.dsn, clock=ManualClock(), read_only=True)
    await (await workers.open()).conclude(make("1"), "filtered", None)
    reader = await ledger.open(workers.dsn, clock=ManualClock(), read_only=True)
    assert [run.verdict for run in await reader.runs(ledger.RunQuery())] == ["filtered"]
    await reader.close()


def test_every_difference_replaces_a_shared_statement_or_is_named_as_ours() -> None:
    """
    A statement renamed in SQLite's file cannot leave its other form behind.
    """
    ours = {"lock_names", "lock_lanes", "lanes_of", "sums_of", "bury_workers", "ticks"}
    assert set(dialect._DIFFERENT) - set(dialect.queries) == ours
