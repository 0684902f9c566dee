"""
How every connector behaves inside a process that runs for months.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import threading
import time
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from connectors.bench import Bench, read_on
from connectors.testing_bench import OnBench
from connectors.testing_points import missing, point
from penstock.errors import EdgeError

LONGEST_TURN = 0.05  # seconds the event loop may be held
SLOW = 0.4  # seconds the system takes, where a client that blocks is seen
LOOKS = 5  # measurements, of which the best counts: the machine may be busy
TICK = 0.005  # seconds
CLOSE_WITHIN = 5.0  # seconds
GONE_WITHIN = 5.0  # seconds until what was closed is gone
LARGE = 200_000  # characters of a text


class UpkeepContract(OnBench):
    """
    It never holds the event loop, leaves nothing behind, and renews what ends.
    """

    @point(14)
    async def test_the_event_loop_is_never_held(self, bench: Bench) -> None:
        """While it works, slow answers and long texts included, everything else goes on."""
        await self._everything(bench, slow=False)  # what happens once only, happens before
        held = []
        for _ in range(LOOKS):
            held.append(await _held(self._everything(bench, slow=True)))
            if held[-1] < LONGEST_TURN:
                return

        pytest.fail(f"the event loop was held for {min(held):.3f} seconds")

    @point(14)
    async def test_closing_leaves_nothing_behind(self) -> None:
        """In the middle of its work it closes quickly, and no task and no thread is left."""
        threads, tasks = set(threading.enumerate()), asyncio.all_tasks()
        async with self.benched() as bench:
            await bench.connector.health(bench.call())
            await bench.fault(kind="hang", seconds=1.0, times=2)
            working: list[asyncio.Task[Any]] = [asyncio.create_task(bench.connector.health(bench.call()))]
            working += [asyncio.create_task(self._reading(bench, name)) for name in bench.connector.sources]
            await asyncio.sleep(0.1)
            for task in working:
                task.cancel()
            async with asyncio.timeout(CLOSE_WITHIN):
                await asyncio.gather(*working, return_exceptions=True)
                await bench.connector.close()
        until = time.monotonic() + GONE_WITHIN
        while left := self._left(threads, tasks):
            assert time.monotonic() < until, left
            await asyncio.sleep(0.02)

    @point(15, "subscriptions")
    async def test_what_expires_is_renewed(self, bench: Bench) -> None:
        """A subscription outlives its time, and what changes after that reaches us."""
        assert await self.beyond_expiry(bench)

    @point(16)
    def test_ran_against_a_system_not_ours(self, record_property: Callable[[str, object], None]) -> None:
        """All of this ran against systems that we did not write."""
        for name in self.ours:
            record_property("ours", name)
        for name, version in self.foreign().items():
            record_property("foreign", f"{name} {version}")
        if not self.foreign():
            missing("only our double was there")

    async def _everything(self, bench: Bench, *, slow: bool) -> None:
        """
        Do what a connector can do.
        """
        record = self.record(bench.double, "x" * LARGE) if "lookup" not in self.lacks else ""
        if slow:
            await bench.fault(kind="slow", seconds=SLOW)
        await bench.connector.health(bench.call())
        if "lookup" not in self.lacks:
            await bench.connector.lookups[self.lookup].fetch(record, bench.call(), 1)
        if "text" not in self.lacks:
            await self.write(bench, record, "hello")
        for source in bench.connector.sources.values():
            await read_on(source, None, bench)
        for sample in bench.connector.samples if "deliveries" not in self.lacks else ():
            bench.connector.receive(self.sampled(bench.connector, sample))

    async def _reading(self, bench: Bench, name: str) -> None:
        source = bench.connector.sources[name]
        with contextlib.suppress(EdgeError):
            _, cursor = await read_on(source, None, bench)
            await read_on(source, cursor, bench)

    def _left(self, threads: set[threading.Thread], tasks: set[asyncio.Task[Any]]) -> list[str]:
        alive = [thread.name for thread in threading.enumerate() if thread not in threads]
        left = [name for name in alive if not re.search(self.keeps_threads, name)]
        return left + [repr(task) for task in asyncio.all_tasks() - tasks if not task.done()]


async def _held(work: Coroutine[Any, Any, None]) -> float:
    """
    Return for how many seconds *work* held the event loop at most, less what the machine held a thread.
    """
    told = threading.Event()
    theirs = [0.0]

    def beside() -> None:
        last = time.monotonic()
        while not told.wait(TICK):
            now = time.monotonic()
            theirs[0], last = max(theirs[0], now - last), now

    thread = threading.Thread(target=beside)
    thread.start()
    ours, last = 0.0, time.monotonic()
    task = asyncio.create_task(work)
    try:
        while not task.done():
            await asyncio.sleep(TICK)
            now = time.monotonic()
            ours, last = max(ours, now - last), now
        await task
    finally:
        told.set()
        thread.join()
    return ours - theirs[0]
