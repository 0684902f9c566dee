"""
Many events at once: order, bounds, positions.
"""

from __future__ import annotations

import asyncio

import pytest

import bus as bus_room
from bus.contract import Outgoing, Partition
from engine import executor as executor_module
from engine import intake as intake_module
from engine import relief as relief_module
from ledger import returning_book
from ledger.contract import Claim, RunQuery, run_id
from ledger.returning import Return
from penstock.clock import SystemClock
from penstock.errors import Fenced
from schemas.events import Event
from tests.engine.bench import Bench, ScriptedRunner, event, outgoing


async def test_many_lanes_run_at_once_and_each_keeps_its_order(bench: Bench) -> None:
    """
    Five hundred events of fifty records: every one runs, never two of a record at once, in order.
    """

    async def work(_runner: ScriptedRunner, _claim: Claim, item: Event) -> None:
        await asyncio.sleep(0.001 * (int(item.id[1:]) % 7))

    runner = ScriptedRunner(bench.ledger, work)
    events = [event(n, str(n % 50)) for n in range(500)]
    async with bench.running(runner) as executor:
        await bench.bus.publish([outgoing(item) for item in events])
        await bench.until(lambda: len(runner.log) == 500 and executor.held == 0)

    assert runner.overlaps == 0
    assert runner.most > 10
    for subject in {item.subject for item in events}:
        expected = [item.id for item in events if item.subject == subject]
        assert [name for lane, name in runner.log if lane == subject] == expected
    assert await bench.committed() == 500


async def test_in_flight_is_bounded(bench: Bench) -> None:
    """
    Never more runs at once than there are slots.
    """

    async def work(_runner: ScriptedRunner, _claim: Claim, _event: Event) -> None:
        await asyncio.sleep(0.002)

    runner = ScriptedRunner(bench.ledger, work)
    async with bench.running(runner, in_flight=7):
        await bench.bus.publish([outgoing(event(n, str(n))) for n in range(60)])
        await bench.until(lambda: len(runner.log) == 60)

    assert runner.most == 7


async def test_a_position_never_passes_a_run_that_is_not_final(bench: Bench) -> None:
    """
    While one run is stuck, what came after it finishes and the position stays before it.
    """
    stuck = asyncio.Event()

    async def work(_runner: ScriptedRunner, _claim: Claim, item: Event) -> None:
        if item.id == "e0":
            await stuck.wait()

    runner = ScriptedRunner(bench.ledger, work)
    async with bench.running(runner) as executor:
        await bench.bus.publish([outgoing(event(n, str(n))) for n in range(40)])
        await bench.until(lambda: len(runner.log) == 39)
        await asyncio.sleep(0.7)
        intake = executor._intakes["p"]
        blocked = [mark for mark in intake.marks.values() if mark.outstanding]

        assert len(blocked) == 1
        assert blocked[0].outstanding == 1
        stuck.set()
        await bench.until(lambda: executor.held == 0)
    assert await bench.committed() == 40


async def test_a_clean_stop_reruns_nothing(bench: Bench) -> None:
    """
    Stop in the middle of a backlog, start again: each event ran once.
    """

    async def work(_runner: ScriptedRunner, _claim: Claim, _event: Event) -> None:
        await asyncio.sleep(0.003)

    first = ScriptedRunner(bench.ledger, work)
    async with bench.running(first, in_flight=5):
        await bench.bus.publish([outgoing(event(n, str(n % 9))) for n in range(200)])
        await bench.until(lambda: len(first.log) > 60)
    second = ScriptedRunner(bench.ledger, work)
    async with bench.running(second, in_flight=5):
        await bench.until(lambda: len(first.log) + len(second.log) == 200)

    ran = [name for _, name in first.log + second.log]
    assert sorted(ran) == sorted({f"e{n}" for n in range(200)})


async def test_a_redelivered_event_runs_once_and_is_counted(bench: Bench) -> None:
    """
    The same event twice, in one batch and again later: one run, two redeliveries.
    """
    runner = ScriptedRunner(bench.ledger)
    async with bench.running(runner) as executor:
        await bench.bus.publish([outgoing(event(1, "a")), outgoing(event(1, "a"))])
        await bench.until(lambda: executor.held == 0 and len(runner.log) == 1)
        await bench.bus.publish([outgoing(event(1, "a"))])
        await bench.until(lambda: executor.held == 0)
        await asyncio.sleep(0.05)
        detail = await bench.ledger.detail(run_id("", "p", "https://desk.example", "e1"))

    assert detail is not None
    assert (detail.run.verdict, detail.run.redelivered, len(runner.log)) == ("delivered", 2, 1)


async def test_a_redelivery_while_the_run_is_under_way_is_counted_too(bench: Bench) -> None:
    """
    The second copy comes while the first runs: its event is kept safe, and the delivery counted.
    """
    stuck = asyncio.Event()

    async def work(_runner: ScriptedRunner, _claim: Claim, _event: Event) -> None:
        await stuck.wait()

    runner = ScriptedRunner(bench.ledger, work)
    async with bench.running(runner) as executor:
        await bench.bus.publish([outgoing(event(1, "a"))])
        await bench.until(lambda: executor.running == 1 and executor.held == 1)
        await asyncio.sleep(0.05)
        await bench.bus.publish([outgoing(event(1, "a"))])
        await asyncio.sleep(0.2)
        stuck.set()
        await bench.until(lambda: executor.held == 0 and len(runner.log) == 1)
        await asyncio.sleep(0.05)
        detail = await bench.ledger.detail(run_id("", "p", "https://desk.example", "e1"))

    assert detail is not None
    assert (detail.run.verdict, detail.run.redelivered, len(runner.log)) == ("delivered", 1, 1)


async def test_an_unwanted_event_has_a_verdict_without_a_run(bench: Bench) -> None:
    """
    What `judge` refuses is final at once, with its reason, and its offset is passed.
    """
    runner = ScriptedRunner(bench.ledger, unwanted=lambda _event: ("filtered", "no"))
    async with bench.running(runner) as executor:
        await bench.bus.publish([outgoing(event(n, "a")) for n in range(5)])
        await bench.until(lambda: executor.held == 0 and bool(executor._intakes["p"].marks))
        runs = await bench.ledger.runs(RunQuery(pipeline="p"))

    assert [(run.verdict, run.error) for run in runs] == [("filtered", "no")] * 5
    assert runner.log == []


async def test_a_message_that_is_no_event_is_dead_once_and_blocks_nobody(bench: Bench) -> None:
    """
    Rubbish on the topic ends dead under its place on the bus; its neighbours run.
    """
    runner = ScriptedRunner(bench.ledger)
    rubbish = Outgoing(topic="t.desk", key=b"a", value=b"\xff\x00", headers=[])
    async with bench.running(runner) as executor:
        await bench.bus.publish([rubbish, outgoing(event(1, "a"))])
        await bench.until(lambda: executor.held == 0 and len(runner.log) == 1)
        dead = await bench.ledger.runs(RunQuery(verdict="dead"))

    assert [run.source for run in dead] == ["penstock:bus"]
    assert "not a CloudEvent" in (dead[0].error or "")


async def test_a_long_lane_moves_to_the_ledger_and_keeps_its_order(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    A hot record's followers are admitted, their offsets released, and run in order afterwards.
    """
    monkeypatch.setattr(relief_module, "LANE_MOST", 4)
    monkeypatch.setattr(executor_module, "RELIEVE_EVERY", 0.02)
    stuck = asyncio.Event()

    async def work(_runner: ScriptedRunner, _claim: Claim, item: Event) -> None:
        if item.id == "e0":
            await stuck.wait()

    runner = ScriptedRunner(bench.ledger, work)
    async with bench.running(runner) as executor:
        await bench.bus.publish([outgoing(event(n, "hot")) for n in range(30)])
        await bench.until(lambda: executor.held == 1)
        stuck.set()
        await bench.until(lambda: len(runner.log) == 30)

    assert [name for _, name in runner.log] == [f"e{n}" for n in range(30)]
    assert runner.overlaps == 0


async def test_a_full_window_pauses_and_loses_nothing(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    With a window of twenty, two hundred events all run and memory never holds many more than it.
    """
    monkeypatch.setattr(intake_module, "WINDOW", 20)
    monkeypatch.setattr(executor_module, "FETCH", 10)
    most = 0

    async def work(_runner: ScriptedRunner, _claim: Claim, _event: Event) -> None:
        nonlocal most
        most = max(most, executor.held)
        await asyncio.sleep(0)

    runner = ScriptedRunner(bench.ledger, work)
    async with bench.running(runner, in_flight=3) as executor:
        await bench.bus.publish([outgoing(event(n, str(n))) for n in range(200)])
        await bench.until(lambda: len(runner.log) == 200)

    assert most <= 30


async def test_a_window_full_of_memory_pauses_too(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    Few large events fill it as many small ones do: what is counted is what holding them takes.
    """
    monkeypatch.setattr(intake_module, "WINDOW_BYTES", 20 * intake_module.ITEM)
    monkeypatch.setattr(executor_module, "FETCH", 5)
    most = 0

    async def work(_runner: ScriptedRunner, _claim: Claim, _event: Event) -> None:
        nonlocal most
        most = max(most, executor.held)
        await asyncio.sleep(0)

    runner = ScriptedRunner(bench.ledger, work)
    async with bench.running(runner, in_flight=3) as executor:
        await bench.bus.publish([outgoing(event(n, str(n))) for n in range(100)])
        await bench.until(lambda: len(runner.log) == 100)

    assert most < 25


async def test_withdrawn_messages_stay_below_the_position(bench: Bench) -> None:
    """
    A partition taken away mid-way is committed only up to its first unfinished message.
    """
    stuck = asyncio.Event()

    async def work(_runner: ScriptedRunner, _claim: Claim, _event: Event) -> None:
        await stuck.wait()

    runner = ScriptedRunner(bench.ledger, work)
    async with bench.running(runner, in_flight=1) as executor:
        await bench.bus.publish([outgoing(event(n, "a")) for n in range(10)])
        intake = executor._intakes["p"]
        await bench.until(lambda: executor.held == 10 and executor.running == 1)
        partition: Partition = next(iter(intake.marks))
        await intake.revoked([partition])

        assert intake.subscription is not None
        assert (await intake.subscription.committed()).get(partition, 0) == 0
        stuck.set()


async def test_a_bus_that_forgot_a_group_is_told_where_it_was(bench: Bench) -> None:
    """
    Positions are kept in the ledger too: a group the bus has no position of goes on where it was, not at the end.
    """
    runner = ScriptedRunner(bench.ledger)
    async with bench.running(runner) as executor:
        await bench.bus.publish([outgoing(event(n, "a")) for n in range(5)])
        await bench.until(lambda: executor.held == 0 and len(runner.log) == 5)
    forgetful = bus_room.open(None, partitions=4, keep=3600.0, clock=SystemClock())
    await forgetful.ensure_topic("t.desk", 4)
    await forgetful.publish([outgoing(event(n, "a")) for n in range(9)])  # the same log, its groups lost
    other = Bench(forgetful, bench.ledger)
    async with other.running(runner) as executor:
        await bench.until(lambda: len(runner.log) == 9)
    await forgetful.close()

    assert [name for _, name in runner.log] == [f"e{n}" for n in range(9)]


async def test_a_thousand_dead_letters_replayed_twice_run_once(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    R8: a running executor takes them up by itself, in the order of their lanes; new events run meanwhile.
    """
    monkeypatch.setattr(returning_book, "APART", 1)
    broken, dead, done = True, [], []

    async def work(runner: ScriptedRunner, claim: Claim, what: Event) -> None:
        if broken:
            dead.append(claim.run)
            await runner.ledger.finish(claim, "dead", why="no", body=what.to_json())
            raise Fenced
        done.append((claim.lane, what.id))

    runner = ScriptedRunner(bench.ledger, work)
    events = [event(number, f"k{number % 100}") for number in range(1000)]
    async with bench.running(runner):
        await bench.bus.publish([outgoing(one) for one in events])
        await bench.until(lambda: len(dead) == 1000)
        broken = False
        seen = await bench.ledger.runs(RunQuery(verdict="dead", oldest_first=True, limit=1000))
        wanted = [Return(run=run.run, seq=run.seq) for run in seen]
        back = [len(await bench.ledger.replay(wanted, person="ana")) for _ in range(2)]
        await bench.bus.publish([outgoing(event(number, f"n{number}")) for number in range(1000, 1010)])
        await bench.until(lambda: len(done) == 1010)

    assert [1000, 0] == back
    assert sorted(done) == sorted(
        [(f"k{n % 100}", f"e{n}") for n in range(1000)] + [(f"n{n}", f"e{n}") for n in range(1000, 1010)]
    )
    for lane in range(100):
        mine = [name for key, name in done if key == f"k{lane}"]
        assert [f"e{number}" for number in range(lane, 1000, 100)] == mine
    assert {("p", "delivered"): 1010} == await bench.ledger.counts()
