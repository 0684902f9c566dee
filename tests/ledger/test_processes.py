"""
Several processes of one host on one file: claims, deaths, stops, and hosts that do not belong here.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest

import ledger
from ledger import Busy, Claim, Ledger, NewRun
from ledger.testing import bury
from penstock.clock import SystemClock
from penstock.errors import Fenced, Unreachable
from penstock.lock import Turn
from penstock.presence import Presence
from tests.ledger.postgres_child import offered

RACES = 200
CHILD = Path(__file__).with_name("file_child.py")
Make = Callable[..., NewRun]
WORKERS = "SELECT worker, name, state FROM workers WHERE name <> ''"


class Workers:
    """
    Ledgers on one file; audited and closed at the end.
    """

    def __init__(self, path: Path, stack: AsyncExitStack) -> None:
        self.path = path
        self._stack = stack

    async def open(self, **more: float) -> Ledger:
        found = await ledger.open(self.path, clock=SystemClock(), **more)
        self._stack.push_async_callback(found.close)
        return found


@pytest.fixture
async def workers(tmp_path: Path, auditor: Callable) -> AsyncIterator[Workers]:
    async with AsyncExitStack() as stack:
        yield Workers(tmp_path / "ledger.db", stack)
        last = await ledger.open(tmp_path / "ledger.db", clock=SystemClock(), read_only=True)
        stack.push_async_callback(last.close)
        await last.store.read(auditor)


@asynccontextmanager
async def child(path: Path) -> AsyncIterator[asyncio.subprocess.Process]:
    """
    Start a process that has claimed and asked, and then stopped itself.
    """
    environment = os.environ | {"PYTHONPATH": str(CHILD.parents[2])}
    process = await asyncio.create_subprocess_exec(
        sys.executable, str(CHILD), str(path), stdout=asyncio.subprocess.PIPE, env=environment
    )
    assert process.stdout is not None
    try:
        async with asyncio.timeout(60):
            assert await process.stdout.readline() == b"asked\n"
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def until_claimed(by: Ledger, run: NewRun) -> Claim:
    async with asyncio.timeout(60):
        while not isinstance(claim := await by.claim(run), Claim):
            await asyncio.sleep(0.02)
    return claim


async def test_of_two_workers_that_claim_one_lane_one_wins(workers: Workers, make: Make) -> None:
    """
    Two workers race for two runs of a lane, again and again: one winner each.
    """
    books = [await workers.open(), await workers.open()]

    async def race(number: int) -> None:
        runs = [make(f"{number}-{side}", lane=f"k{number}") for side in "ab"]
        got = await asyncio.gather(*(book.claim(run) for book, run in zip(books, runs, strict=True)))
        assert sorted(type(one).__name__ for one in got) == ["Busy", "Claim"]
        winner = 0 if isinstance(got[0], Claim) else 1
        await books[winner].finish(got[winner], "delivered")

    await asyncio.gather(*(race(number) for number in range(RACES)))


async def test_a_worker_that_was_killed_is_known_dead_long_before_its_lease_ends(workers: Workers) -> None:
    """
    Its lock is free: others take its run over though its lease would last for an hour.
    """
    survivor = await workers.open(lease=3600)
    async with child(workers.path) as process:
        await survivor.store.write(lambda c: c.execute("UPDATE workers SET lease_until = lease_until + 3600000"))
        assert isinstance(await survivor.claim(offered("held", "held")), Busy)
        process.kill()
        await until_claimed(survivor, offered("held", "held"))

    assert await survivor.spent("hub", "-") == (600, 0)
    assert [entry.name for entry in (workers.path.parent / "ledger.db.locks/alive").iterdir()] == [survivor.worker]


async def test_a_worker_that_was_stopped_for_longer_than_its_lease_is_fenced_off(workers: Workers) -> None:
    """
    Another takes its run over; woken, it hears of it, its paid answer is kept, and it goes on as a new worker.
    """
    other = await workers.open(lease=1.0)
    async with child(workers.path) as process:
        claim = await until_claimed(other, offered("held", "held"))
        assert await other.spent("hub", "-") == (600, 0)
        process.send_signal(signal.SIGCONT)
        assert process.stdout is not None
        async with asyncio.timeout(60):
            assert await process.stdout.readline() == b"fenced\n"
            assert await process.stdout.readline() == b"went on\n"
            assert await process.wait() == 0

    assert await other.spent("hub", "-") == (250, 0)
    assert await other.answer(claim.run, "ask", 0) is not None
    async with other.step(claim, "ask", kind="ask", action_class="ai", timeout=0.0, input_hash="h") as step:
        assert (step.found, step.result) == ("done", {"answer": "late"})
    await other.finish(claim, "delivered")


async def test_a_worker_called_dead_claims_nothing_until_it_has_begun_anew(workers: Workers, make: Make) -> None:
    """
    Its claims are refused, and what it holds is fenced, before it has noticed itself.
    """
    book = await workers.open(lease=3600)
    await bury(book)
    with pytest.raises(Fenced, match="called dead"):
        await book.claim(make())


async def test_a_worker_that_starts_leaves_those_at_work_alone(workers: Workers, make: Make) -> None:
    """
    A second worker neither takes over the first one's run nor gives up its probe.
    """
    first = await workers.open()
    await first.shut("model:small", "down", probe_at=0)
    await first.admit(make("1"), b"{}", reason="outage", gate="model:small")
    (probe,) = await first.pick_up(["p"], 1)
    second = await workers.open()
    assert [gate.state for gate in await second.gates()] == ["probing"]
    assert await second.pick_up(["p"], 1) == []
    await first.finish(probe.claim, "delivered")


async def _strange(book: Ledger) -> None:
    """
    Put a live worker of another host and another start into the ledger.
    """
    text = "INSERT INTO workers VALUES (?, 'far:1', 'far', 'another-boot', 0, 5, 'alive')"
    await book.store.write(lambda connection: connection.execute(text, (bytes(15) + b"f",)))


async def test_another_host_is_refused_while_it_works(workers: Workers) -> None:
    """
    A worker of another host whose lease moves on keeps us out, with what to do about it.
    """
    first = await workers.open()
    await _strange(first)

    async def renew() -> None:
        while True:
            await first.store.write(
                lambda connection: connection.execute(
                    "UPDATE workers SET lease_until = lease_until + 1 WHERE host = 'far'"
                )
            )
            await asyncio.sleep(0.01)

    renewing = asyncio.create_task(renew())
    with pytest.raises(Unreachable, match=r"host 'far' writes the ledger .* serves one host"):
        await workers.open(lease=0.3)
    renewing.cancel()


async def test_another_host_that_is_gone_keeps_nobody_out(workers: Workers, make: Make) -> None:
    """
    A file that was moved here after its host died opens once it has been watched for a lease.
    """
    first = await workers.open()
    await _strange(first)
    second = await workers.open(lease=0.1)

    names = await second.store.read(lambda c: [row["name"] for row in c.execute(WORKERS)])
    assert "far:1" not in names
    assert isinstance(await second.claim(make()), Claim)


async def test_workers_of_an_earlier_start_of_the_host_are_dead(workers: Workers) -> None:
    """
    After a reboot nobody waits for leases of before, whatever their clock said.
    """
    first = await workers.open()
    text = "INSERT INTO workers VALUES (?, 'old:1', ?, 'another-boot', 0, 9000000000000000, 'alive')"
    await first.store.write(lambda connection: connection.execute(text, (bytes(15) + b"o", socket.gethostname())))
    second = await workers.open()

    assert "old:1" not in await second.store.read(lambda c: [row["name"] for row in c.execute(WORKERS)])


def test_a_turn_is_had_by_one(tmp_path: Path) -> None:
    """
    Whoever wants a turn that another keeps is told so in the end, and has it once it is given back.
    """
    one, two = (Turn(tmp_path, what="it") for _ in range(2))
    assert one.take(1.0)
    assert not two.take(0.01)
    one.give_back()
    assert two.take(1.0)
    one.close()
    two.close()


def test_a_name_whose_process_lives_is_not_gone(tmp_path: Path) -> None:
    """
    A presence lasts until it ends; one that nobody ended is gone with its holder.
    """
    one, two = Presence(tmp_path), Presence(tmp_path)
    one.begin("one")
    assert two.gone() == set()
    (tmp_path / "dead").touch()
    assert two.gone() == {"dead"}
    two.forget("dead")
    one.end()
    assert two.gone() == set()
    assert list(tmp_path.iterdir()) == []
