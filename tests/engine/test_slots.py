"""
Places for runs: bounded, and shared so that nobody starves.
"""

from __future__ import annotations

import asyncio
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from engine.slots import EARLY, KEPT_MOST, Seats, Slots
from ledger.contract import Claim
from schemas.events import Event
from tests.engine.bench import Bench, ScriptedRunner, event, outgoing


def test_a_single_party_may_take_every_place() -> None:
    """
    Nothing is kept for those who are not there.
    """
    slots = Slots(16, 1)
    slots.take("a", 15)

    assert slots.open_to("a") == 1


def test_the_last_places_are_for_those_with_less_than_their_share() -> None:
    """
    Who has much leaves some free; who has nothing may take them.
    """
    slots = Slots(16, 2)
    slots.take("a", 14)

    assert slots.open_to("a") == 0
    assert slots.open_to("b") == 2


@given(st.integers(1, 300), st.integers(1, 9), st.lists(st.tuples(st.integers(0, 8), st.booleans()), max_size=400))
def test_places_are_never_taken_twice(places: int, parties: int, moves: list[tuple[int, bool]]) -> None:
    """
    However parties come and go, no more places are held than there are, and a free hub refuses nobody.
    """
    slots, held = Slots(places, parties), dict.fromkeys(range(parties), 0)
    for number, taking in moves:
        party = number % parties
        if taking and slots.open_to(party):
            slots.take(party)
            held[party] += 1
        elif not taking and held[party]:
            slots.give_back(party)
            held[party] -= 1
        assert sum(held.values()) <= places
        assert any(held.values()) or slots.open_to(party)


def test_a_run_frees_its_place_once_early_or_at_its_end() -> None:
    """
    Leaving early and then ending gives one place back, and one in eight may be free like that.
    """
    slots = Slots(2 * EARLY, 1)
    seats = Seats(slots, 2 * EARLY)
    for run in range(2 * EARLY):
        seats.take(run, "a")
    assert slots.open_to("a") == 0

    assert [seats.leave_early(run) for run in (0, 0, 1, 2)] == [True, False, True, False]
    assert slots.open_to("a") == 2
    for run in range(2 * EARLY):
        seats.leave(run)
        seats.leave(run)
    assert slots.open_to("a") == 2 * EARLY
    seats.take("again", "a")
    assert seats.leave_early("again")


async def test_another_run_begins_while_the_ledger_keeps_an_end(bench: Bench) -> None:
    """
    Of eight places one is kept for runs that waited and one may be free early: eight begin although no end can be kept.
    """
    stuck = asyncio.Event()

    class Ending(ScriptedRunner):
        async def handle(self, claim: Claim, item: Event, body: bytes, **more: Any) -> None:
            more["leaving"]()
            begun.append(item.id)
            await stuck.wait()
            await super().handle(claim, item, body)

    begun: list[str] = []
    runner = Ending(bench.ledger)
    async with bench.running(runner, in_flight=8):
        await bench.bus.publish([outgoing(event(n, str(n))) for n in range(40)])
        await bench.until(lambda: len(begun) == 8)
        await asyncio.sleep(0.2)
        assert len(begun) == 8
        stuck.set()
        await bench.until(lambda: len(runner.log) == 40)


async def test_runs_that_waited_start_while_a_backlog_is_worked_off(bench: Bench) -> None:
    """
    They are older than the backlog: a free slot goes to them too, long before its end.
    """

    async def work(_runner: ScriptedRunner, _claim: Claim, _event: Event) -> None:
        await asyncio.sleep(0.02)

    runner = ScriptedRunner(bench.ledger, work)
    async with bench.running(runner, in_flight=8):
        await bench.bus.publish([outgoing(event(n, str(n))) for n in range(400)])
        await bench.until(lambda: len(runner.log) > 20)
        waiting = event(1000, "waiting")
        await bench.ledger.admit(runner.offer(waiting), waiting.to_json(), reason="behind")
        await bench.until(lambda: len(runner.log) == 401)

    assert [name for _, name in runner.log].index("e1000") < 300


async def test_runs_that_waited_do_not_stop_new_events(bench: Bench) -> None:
    """
    A thousand that wait leave a place for what comes in.
    """

    async def work(_runner: ScriptedRunner, _claim: Claim, _event: Event) -> None:
        await asyncio.sleep(0.02)

    runner = ScriptedRunner(bench.ledger, work)
    for number in range(300):
        item = event(number, str(number))
        await bench.ledger.admit(runner.offer(item), item.to_json(), reason="behind")
    async with bench.running(runner, in_flight=8):
        await bench.until(lambda: len(runner.log) > 20)
        await bench.bus.publish([outgoing(event(1000, "new"))])
        await bench.until(lambda: len(runner.log) == 301)

    assert [name for _, name in runner.log].index("e1000") < 200


async def test_in_flight_is_bounded_when_runs_are_picked_up(bench: Bench) -> None:
    """
    What waited and what is new share one pool.
    """

    async def work(_runner: ScriptedRunner, _claim: Claim, _event: Event) -> None:
        await asyncio.sleep(0.005)

    runner = ScriptedRunner(bench.ledger, work)
    for number in range(50):
        item = event(number, str(number))
        await bench.ledger.admit(runner.offer(item), item.to_json(), reason="behind")
    async with bench.running(runner, in_flight=6):
        await bench.bus.publish([outgoing(event(n, str(n))) for n in range(100, 150)])
        await bench.until(lambda: len(runner.log) == 100)

    assert runner.most <= 6


async def test_a_pipeline_that_hangs_leaves_places_for_the_others(bench: Bench) -> None:
    """
    One model answers nobody; the other pipeline's events go on.
    """
    stuck = asyncio.Event()

    async def hang(_runner: ScriptedRunner, _claim: Claim, _event: Event) -> None:
        await stuck.wait()

    slow = ScriptedRunner(bench.ledger, hang, name="slow")
    fast = ScriptedRunner(bench.ledger, name="fast")
    async with bench.running(slow, fast, in_flight=16):
        await bench.bus.publish([outgoing(event(n, str(n))) for n in range(200)])
        await bench.until(lambda: len(fast.log) == 200)
        assert slow.log == []
        stuck.set()
        await bench.until(lambda: len(slow.log) == 200)


async def test_the_oldest_ready_head_runs_first(bench: Bench) -> None:
    """
    The second event of an early record does not queue behind every record that came after it.
    """
    gate = asyncio.Event()

    async def work(_runner: ScriptedRunner, _claim: Claim, _event: Event) -> None:
        await gate.wait()

    runner = ScriptedRunner(bench.ledger, work)
    async with bench.running(runner, in_flight=1) as executor:
        await bench.bus.publish([outgoing(event(0, "first"))])
        await bench.until(lambda: executor.running == 1)
        items = [event(n, name) for n, name in enumerate(["a", "a", "b", "c", "a", "d"], 1)]
        for number, item in enumerate(items, 1):
            await bench.bus.publish([outgoing(item)])
            await bench.until(lambda number=number: executor.held == number + 1)  # type: ignore[misc]
        gate.set()
        await bench.until(lambda: len(runner.log) == 7)

    assert [name for _, name in runner.log] == [f"e{n}" for n in range(7)]


async def test_lanes_that_are_done_leave_nothing_in_memory(bench: Bench) -> None:
    """
    A million records must not become a million empty lanes.
    """
    runner = ScriptedRunner(bench.ledger)
    async with bench.running(runner) as executor:
        await bench.bus.publish([outgoing(event(n, str(n % 300))) for n in range(600)])
        await bench.until(lambda: len(runner.log) == 600 and executor.held == 0 and executor.running == 0)

        assert executor._intakes["p"].lanes == {}
        assert not any(executor._ready.values())
        assert executor._intakes["p"].inbox == []


def test_of_many_places_only_a_few_are_kept() -> None:
    """
    An eighth of a thousand would stay empty for ever where one pipeline works off a backlog.
    """
    slots = Slots(1000, 2)
    slots.take("a", 1000 - KEPT_MOST)

    assert slots.open_to("a") == 0
    assert slots.open_to("b") == KEPT_MOST
