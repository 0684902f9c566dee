"""
R19: sixteen processes against one cap, some of them killed at any moment.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import ledger
from ledger import Claim, Ledger
from penstock.clock import SystemClock
from tests.ledger.budget_child import CAP, LEASE
from tests.ledger.postgres_child import offered

PROCESSES = 16
KILLED = 8
DIFFERENT = 20  # sums that the reader must have seen before the processes are told to stop
WITHIN = 120.0  # seconds a busy machine may take
CHILD = Path(__file__).with_name("budget_child.py")
RUNNING = "SELECT event_id FROM runs WHERE state = 'running'"


@pytest.mark.parametrize("kind", ["file", "postgres"])
async def test_spent_and_reserved_never_exceed_the_cap(
    kind: str, tmp_path: Path, request: pytest.FixtureRequest, auditor: Callable
) -> None:
    """
    A reader that looks all the time never sees more than the cap; in the end nothing is reserved.
    """
    place = request.getfixturevalue("dsn") if kind == "postgres" else tmp_path / "ledger.db"
    judge = await ledger.open(place, clock=SystemClock(), lease=LEASE)
    stop = tmp_path / "stop"
    environment = os.environ | {"PYTHONPATH": str(CHILD.parents[2])}
    launcher = await asyncio.create_subprocess_exec(
        sys.executable,
        str(CHILD),
        str(place),
        str(PROCESSES),
        str(stop),
        stdout=asyncio.subprocess.PIPE,
        env=environment,
    )
    assert launcher.stdout is not None
    async with asyncio.timeout(WITHIN):
        pids = [int(await launcher.stdout.readline()) for _ in range(PROCESSES)]
        killing = asyncio.create_task(_kill(judge, pids))
        seen = await _watch(judge, launcher, killing, stop)
        await killing
        ends = (await launcher.stdout.read()).split()
        await _sweep(judge)

    assert max(seen) <= CAP.limit
    assert len(set(seen)) >= DIFFERENT
    assert ends.count(b"-9") == KILLED
    assert ends.count(b"0") == PROCESSES - KILLED
    spent, reserved = await judge.spent(CAP.scope, CAP.period)
    assert reserved == 0
    assert 0 < spent <= CAP.limit
    assert {verdict for _, verdict in await judge.counts()} == {"delivered", "over-budget"}
    await judge.store.read(auditor)
    await judge.close()


async def _kill(judge: Ledger, pids: list[int]) -> None:
    """
    Kill some of the processes one after another, once they are at work.
    """
    chance = random.Random(19)
    while not any(await judge.spent(CAP.scope, CAP.period)):
        await asyncio.sleep(0.01)
    for pid in chance.sample(pids, KILLED):
        await asyncio.sleep(chance.random() / 4)
        os.kill(pid, signal.SIGKILL)


async def _watch(
    judge: Ledger, launcher: asyncio.subprocess.Process, killing: asyncio.Task[None], stop: Path
) -> list[int]:
    """
    Return what was spent and reserved together at each look, until the last process has ended.

    They go on until enough was seen, however slow the machine is.
    """
    seen = []
    ended = asyncio.create_task(launcher.wait())
    while not ended.done():
        seen.append(sum(await judge.spent(CAP.scope, CAP.period)))
        if killing.done() and len(set(seen)) >= DIFFERENT:
            stop.touch()  # noqa: ASYNC240 # it takes microseconds
        await asyncio.sleep(0)
    return seen


async def _sweep(judge: Ledger) -> None:
    """
    End what the killed left open, as the bus would offer it again.
    """
    while left := await judge.store.read(lambda c: [row["event_id"] for row in c.execute(RUNNING).fetchall()]):
        await asyncio.gather(*(_end(judge, event) for event in left))
        await asyncio.sleep(0.1)


async def _end(judge: Ledger, event: str) -> None:
    claim = await judge.claim(offered(event, event))
    if isinstance(claim, Claim):
        await judge.finish(claim, "delivered")
