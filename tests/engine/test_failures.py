"""
The executor when something breaks that nobody foresaw: no event is lost, no lane and no loop stands still.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import orjson
import pytest

from bus.contract import Partition
from engine import executor as executor_module
from engine import patience
from engine.intake import Intake
from ledger.contract import Claim, RunQuery
from penstock.clock import SystemClock
from penstock.errors import Fenced, Unavailable
from schemas.entries import Verdict
from schemas.events import Event
from tests.engine.bench import Bench, Flaky, ScriptedRunner, event, outgoing


@pytest.fixture(autouse=True)
def _no_long_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(executor_module, "AFTER_UNFORESEEN", 0.02)
    monkeypatch.setattr(patience, "AFTER_ERROR", 0.02)
    monkeypatch.setattr(patience, "FIRST_PAUSE", 0.01)


async def test_data_nested_too_deeply_is_dead_and_stops_nobody(bench: Bench) -> None:
    """
    A message that cannot be kept as JSON ends dead under its place on the bus; its neighbours run.
    """
    runner = ScriptedRunner(bench.ledger)
    key, headers, _ = event(0, "a").to_kafka()
    deep = outgoing(event(0, "a"))
    poison = type(deep)(topic=deep.topic, key=key, value=b'{"a":' * 600 + b"1" + b"}" * 600, headers=headers)
    async with bench.running(runner) as executor:
        await bench.bus.publish([poison, outgoing(event(1, "a"))])
        await bench.until(lambda: len(runner.log) == 1 and executor.held == 0)
        dead = await bench.ledger.runs(RunQuery(verdict="dead"))

    assert [run.source for run in dead] == ["penstock:bus"]


@pytest.mark.parametrize("depth", range(250, 258))
def test_data_is_refused_or_can_be_kept(depth: int) -> None:
    """
    No depth of nesting is taken by the event and refused by its envelope.
    """
    data = orjson.loads(b'{"a":' * depth + b"1" + b"}" * depth)
    try:
        made = Event.model_validate(event(1, "a").model_dump() | {"data": data})
    except ValueError:
        return
    assert made.to_json()


async def _waits(bench: Bench, runner: ScriptedRunner, item: Event) -> None:
    soon = SystemClock().now_ms() + 300  # late enough for the lane's next events to find it taken
    await bench.ledger.admit(runner.offer(item), item.to_json(), reason="retry", due_at=soon)


@pytest.mark.parametrize("operation", ["recognise", "claim", "pick_up", "next_due", "horizon"])
async def test_an_unforeseen_error_ends_no_loop_and_keeps_the_order(bench: Bench, operation: str) -> None:
    """
    The ledger fails once in a way nobody knows: every event still runs, in order, in the same process.
    """
    flaky = Flaky(bench.ledger, **{operation: [RuntimeError("surprise"), RuntimeError("again")]})
    runner = ScriptedRunner(bench.ledger)
    await _waits(bench, runner, event(9, "b"))
    async with bench.running(runner, ledger=flaky) as executor:
        await bench.bus.publish([outgoing(event(n, "a")) for n in range(5)])
        await bench.until(lambda: len(runner.log) == 6 and executor.held == 0 and not flaky.fails[operation])

    assert [name for lane, name in runner.log if lane == "a"] == [f"e{n}" for n in range(5)]


@pytest.mark.parametrize("operation", ["recognise", "claim", "admit", "conclude", "redelivered", "pick_up"])
async def test_a_full_disk_loses_and_kills_nothing(bench: Bench, operation: str) -> None:
    """
    The ledger cannot be written for a while: events wait in memory, then each has its verdict.
    """
    flaky = Flaky(bench.ledger, **{operation: [Unavailable("disk full")] * 4})

    def unwanted(item: Event) -> tuple[Verdict, str] | None:
        return ("filtered", "no") if item.id == "e3" else None

    runner = ScriptedRunner(bench.ledger, unwanted=unwanted)
    await _waits(bench, runner, event(9, "0"))
    async with bench.running(runner, ledger=flaky) as executor:
        await bench.bus.publish([outgoing(event(n, str(n % 2))) for n in range(6)])
        await bench.until(lambda: len(runner.log) == 6)
        await bench.bus.publish([outgoing(event(0, "0"))])
        marks = executor._intakes["p"].marks
        await bench.until(lambda: sum(mark.position or 0 for mark in marks.values()) == 7)
        assert flaky.fails[operation] == []
        counts = await bench.ledger.counts()

    assert counts == {("p", "delivered"): 6, ("p", "filtered"): 1}
    assert await bench.committed() == 7


async def test_a_run_whose_end_cannot_be_kept_is_taken_up_again(bench: Bench) -> None:
    """
    Its lane is given up, not held for ever by a worker that lives; what came after it waits.
    """
    broken = ["e1"]

    async def work(_runner: ScriptedRunner, _claim: Claim, item: Event) -> None:
        if item.id in broken:
            broken.remove(item.id)
            raise RuntimeError("the end could not be kept")

    runner = ScriptedRunner(bench.ledger, work)
    async with bench.running(runner) as executor:
        await bench.bus.publish([outgoing(event(n, "a")) for n in range(4)])
        await bench.until(lambda: len(runner.log) == 4 and executor.held == 0)

    assert [name for _, name in runner.log] == ["e0", "e1", "e2", "e3"]


async def test_a_kept_event_that_cannot_be_read_any_more_is_dead(bench: Bench) -> None:
    """
    A run that waited under an older version ends with a verdict, and its lane goes on.
    """
    runner = ScriptedRunner(bench.ledger)
    await bench.ledger.admit(runner.offer(event(1, "a")), b'{"specversion": "0.3"}', reason="behind")
    await _waits(bench, runner, event(2, "a"))
    async with bench.running(runner):
        await bench.until(lambda: len(runner.log) == 1)
        runs = await bench.ledger.runs(RunQuery(pipeline="p"))

    assert sorted((run.event_id, run.verdict) for run in runs) == [("e1", "dead"), ("e2", "delivered")]


async def test_an_event_older_than_the_ledgers_memory_is_stale(bench: Bench) -> None:
    """
    What may have run and been forgotten does not run again.
    """
    flaky = Flaky(bench.ledger)
    runner = ScriptedRunner(bench.ledger)

    async def horizon() -> int:
        return 1 << 50

    flaky.horizon = horizon  # type: ignore[attr-defined]
    async with bench.running(runner, ledger=flaky) as executor:
        await bench.bus.publish([outgoing(event(1, "a"))])
        await bench.until(lambda: bool(executor._intakes["p"].marks) and executor.held == 0)
        (run,) = await bench.ledger.runs(RunQuery(pipeline="p"))

    assert (run.verdict, runner.log) == ("stale", [])


async def test_a_rebalance_callback_that_fails_is_told(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """
    The error of a listener comes out at the next fetch; it is not swallowed.
    """

    async def broken(_intake: Intake, _partitions: Sequence[Partition]) -> None:
        raise RuntimeError("no partition for me")

    monkeypatch.setattr(Intake, "assigned", broken)
    async with bench.running(ScriptedRunner(bench.ledger)):
        await bench.until(lambda: "fetching for p failed unforeseen" in caplog.text)

    assert "no partition for me" in caplog.text


async def test_positions_of_one_pipeline_that_cannot_be_stored_do_not_stop_the_others(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    Each pipeline's commit stands for itself.
    """
    first, second = ScriptedRunner(bench.ledger, name="a"), ScriptedRunner(bench.ledger, name="b")
    commit = Intake.commit

    async def fenced(intake: Intake) -> None:
        if intake.runner.plan.name == "a":
            raise Fenced
        await commit(intake)

    monkeypatch.setattr(Intake, "commit", fenced)
    async with bench.running(first, second) as executor:
        await bench.bus.publish([outgoing(event(n, str(n))) for n in range(9)])
        await bench.until(lambda: executor.held == 0 and len(first.log) == len(second.log) == 9)

    assert (await bench.committed("a"), await bench.committed("b")) == (0, 9)


async def test_a_message_of_a_partition_that_is_gone_is_not_kept(bench: Bench) -> None:
    """
    It belongs to another member now: its position is not ours to store, or no position could be stored.
    """
    runner = ScriptedRunner(bench.ledger)
    async with bench.running(runner) as executor:
        await bench.bus.publish([outgoing(event(1, "a"))])
        await bench.until(lambda: len(runner.log) == 1 and executor.held == 0)
        intake = executor._intakes["p"]
        (partition,) = intake.marks
        message = await bench.bus.read(partition.topic, partition.number, 0)
        assert message is not None
        await intake.revoked([partition])

        assert not intake.receive(message)
        assert (intake.held, intake.marks) == (0, {})


async def test_a_partition_withdrawn_while_its_lane_moves_to_the_ledger(bench: Bench) -> None:
    """
    What was withdrawn is neither counted twice nor mistaken for another, and relief goes on.
    """
    stuck = asyncio.Event()

    async def work(_runner: ScriptedRunner, _claim: Claim, item: Event) -> None:
        await stuck.wait()

    runner = ScriptedRunner(bench.ledger, work)
    async with bench.running(runner) as executor:
        await bench.bus.publish([outgoing(event(n, "hot")) for n in range(100)])
        await bench.until(lambda: executor.held == 100 and executor.running == 1)
        intake = executor._intakes["p"]
        (partition,) = intake.marks
        looking = asyncio.create_task(executor._relief.look())
        await asyncio.sleep(0)
        await intake.revoked([partition])
        await looking

        assert intake.held == 1
        assert all(not lane.queue and not lane.spilling for lane in intake.lanes.values())
        stuck.set()
        await bench.until(lambda: executor.held == 0)
