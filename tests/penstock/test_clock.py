"""
The two clocks: the machine's, and the one that tests move.
"""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.clock import Clock, ManualClock, SystemClock, utc

START_MS = 1_767_603_600_000  # 2026-01-05 09:00 UTC


async def test_a_manual_clock_stands_still() -> None:
    """
    Nothing moves until somebody moves it.
    """
    clock = ManualClock()
    before = clock.now_ms(), clock.monotonic()
    await asyncio.sleep(0)

    assert (START_MS, 0.0) == before == (clock.now_ms(), clock.monotonic())


async def test_both_times_move_together() -> None:
    """
    Wall time and monotonic time of a manual clock go on by the same.
    """
    clock = ManualClock(datetime(2026, 1, 5, 9, 0, tzinfo=UTC))
    await clock.advance(1.5)
    await clock.advance(0.25)

    assert (START_MS + 1750, 1.75) == (clock.now_ms(), clock.monotonic())


async def test_sleepers_wake_in_order_and_at_their_time() -> None:
    """
    Each sleeper sees the time it asked for, whoever went to sleep first.
    """
    clock = ManualClock()
    woken: list[tuple[str, float]] = []

    async def sleeper(name: str, seconds: float) -> None:
        await clock.sleep(seconds)
        woken.append((name, clock.monotonic()))

    tasks = [
        asyncio.create_task(sleeper(*one)) for one in [("late", 3.0), ("soon", 1.0), ("also", 1.0), ("never", 9.0)]
    ]
    await asyncio.sleep(0)
    await clock.advance(5)

    assert [("soon", 1.0), ("also", 1.0), ("late", 3.0)] == woken
    assert 5.0 == clock.monotonic()
    tasks[-1].cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def test_who_sleeps_again_on_the_way_is_woken_again() -> None:
    """
    A loop that sleeps ticks as often as fits into what passes.
    """
    clock = ManualClock()
    ticks: list[float] = []

    async def loop() -> None:
        while True:
            await clock.sleep(1)
            ticks.append(clock.monotonic())

    task = asyncio.create_task(loop())
    await asyncio.sleep(0)
    await clock.advance(3.5)

    assert [1.0, 2.0, 3.0] == ticks
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_a_cancelled_sleeper_is_forgotten() -> None:
    """
    A sleeper that was cancelled disturbs nobody when its time comes.
    """
    clock = ManualClock()
    task = asyncio.create_task(clock.sleep(1))
    await asyncio.sleep(0)
    task.cancel()
    await clock.advance(2)

    assert task.cancelled()
    assert 2.0 == clock.monotonic()


@pytest.mark.parametrize("seconds", [0, -1, -0.0])
@pytest.mark.parametrize("clock", [ManualClock(), SystemClock()], ids=["manual", "system"])
async def test_no_time_is_no_wait(clock: Clock, seconds: float) -> None:
    """
    Sleeping for nothing, or less, lets others run and comes back.
    """
    ran: list[str] = []
    asyncio.get_running_loop().call_soon(ran.append, "other")
    await clock.sleep(seconds)

    assert ["other"] == ran


async def test_the_system_clock_is_the_machines() -> None:
    """
    Its wall time is that of the machine, and its monotonic time never goes back.
    """
    clock = SystemClock()
    before, first = time.time_ns() // 1_000_000, clock.monotonic()
    now = clock.now_ms()
    await clock.sleep(0.001)

    assert before <= now <= time.time_ns() // 1_000_000
    assert first < clock.monotonic()


@given(st.integers(0, 4_102_444_800_000))
def test_milliseconds_become_utc(ms: int) -> None:
    """
    A time is shown in UTC, to the millisecond.
    """
    shown = utc(ms)

    assert UTC is shown.tzinfo
    assert ms == round(shown.timestamp() * 1000)
