"""
One bad event, system, record or call holds up its own lane and nothing else.
"""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from engine import executor as executor_module
from engine import intake as intake_module
from engine.executor import LOOK_AGAIN
from engine.relief import HEAD_MOST, LANE_MOST
from ledger.contract import Claim, RunQuery
from penstock.errors import Unavailable
from schemas.events import Event
from tests.engine.bench import ScriptedRunner, event
from tests.engine.hall import Hall


class Down:
    """
    Trouble that does not end.
    """

    def pop(self, _index: int) -> Exception:
        return Unavailable("down")


async def passed(hall: Hall, pipeline: str = "p") -> int:
    """
    Return how many messages the positions of a pipeline have passed.
    """
    return sum((await hall.ledger.positions(pipeline, "t.desk")).values())


@pytest.mark.parametrize("poison", ["judge", "handle"])
async def test_a_poison_event_stops_nobody(memory_hall: Hall, ticket: Any, poison: str) -> None:
    """
    An event that breaks our own code, when judged or when run, is dead in the end; all others run and are passed.
    """
    (memory_hall.world.root / "templates/note.j2").write_text("{{ event.id }}")
    runner = memory_hall.runner(on_error={"retry": 2})

    def broken(found: Event) -> str | None:
        if found.id == "0":
            raise RuntimeError("poison")
        return None

    async def breaking(found: Event) -> str | None:
        return broken(found)

    if poison == "judge":
        memory_hall.world.desk.own = broken
    else:
        runner._judging.echo = breaking  # type: ignore[method-assign]
    async with memory_hall.working(runner) as executor:
        await memory_hall.give(*(ticket(str(n), subject=f"t{n % 10}") for n in range(50)))
        await memory_hall.ended(moving=5, _0="dead", **{f"_{n}": "delivered" for n in range(1, 50)})
        await executor._commit()

    assert await passed(memory_hall) == 50


async def test_a_dead_sink_stops_only_who_writes_to_it(memory_hall: Hall, ticket: Any) -> None:
    """
    P26: the gate is shut for hours: its events go into the ledger, none is left on the bus for its retention to
    delete, little is asked of the desk, and the other pipeline goes on.
    """
    memory_hall.world.desk.trouble["write"] = Down()  # type: ignore[assignment]
    shut = memory_hall.runner(on_error={"give_up_after": "7d"})
    other = ScriptedRunner(memory_hall.ledger, name="q")
    async with memory_hall.working(shut, other) as executor:
        for hour in range(4):
            await memory_hall.give(*(ticket(f"{hour}{n:02}", subject=f"t{n}") for n in range(50)))
            await memory_hall.passes(3600, step=60)
            await memory_hall.idle()
            assert len(other.log) == 50 * (hour + 1)
        await executor._commit()
        async with asyncio.timeout(30):  # one of them may be under way to find out whether the desk is back
            while (counts := await memory_hall.ledger.counts(["p"])) != {("p", "waiting"): 200}:
                assert sum(counts.values()) == 200
                await memory_hall.turn()
        calls = memory_hall.world.desk.calls.count("write")

    assert (await passed(memory_hall), await passed(memory_hall, "q")) == (200, 200)
    assert calls < 50 + 4 * 61


async def test_a_hot_lane_with_half_of_all_traffic_holds_up_only_itself(memory_hall: Hall) -> None:
    """
    P10: while its first run hangs, a thousand others of its lane go into the ledger, and everybody else runs.
    """
    stuck = asyncio.Event()

    async def work(_runner: ScriptedRunner, claim: Claim, _event: Event) -> None:
        if claim.lane == "hot":
            await stuck.wait()

    runner = ScriptedRunner(memory_hall.ledger, work)
    other = ScriptedRunner(memory_hall.ledger, name="q")
    events = [event(n, "hot" if n % 2 else f"cold-{n % 100}") for n in range(1000)]
    async with memory_hall.working(runner, other) as executor:
        await memory_hall.give(*events)
        await memory_hall.until(lambda: len(runner.log) == 500 and len(other.log) == 1000)
        lane = executor._intakes["p"].lanes["hot"]
        await memory_hall.until(lambda: executor.held == 0, moving=1.0)
        await executor._commit()
        assert (len(lane.queue), executor.held, await passed(memory_hall)) == (0, 0, 1000)
        stuck.set()
        await memory_hall.until(lambda: len(runner.log) == 1000)

    hot = [name for key, name in runner.log if key == "hot"]
    assert hot == [item.id for item in events if item.subject == "hot"]
    assert runner.overlaps == 0


async def test_a_lane_longer_than_memory_allows_moves_to_the_ledger_in_order(memory_hall: Hall) -> None:
    """
    More than 64 behind a head that is not even old: they wait in the ledger, and the rest runs.
    """
    stuck = asyncio.Event()

    async def work(_runner: ScriptedRunner, claim: Claim, _event: Event) -> None:
        if claim.lane == "long":
            await stuck.wait()

    runner = ScriptedRunner(memory_hall.ledger, work)
    async with memory_hall.working(runner) as executor:
        await memory_hall.give(*(event(n, "long") for n in range(LANE_MOST + 40)))
        await memory_hall.until(lambda: "long" in executor._intakes["p"].lanes)
        await memory_hall.passes(5)
        await memory_hall.until(lambda: executor.held == 1)
        await memory_hall.give(*(event(1000 + n, f"t{n}") for n in range(20)))
        await memory_hall.until(lambda: len(runner.log) == 20)
        stuck.set()
        await memory_hall.until(lambda: len(runner.log) == LANE_MOST + 60)

    assert [name for key, name in runner.log if key == "long"] == [f"e{n}" for n in range(LANE_MOST + 40)]


async def test_a_call_of_ten_minutes_holds_up_only_its_lane(memory_hall: Hall) -> None:
    """
    Its offset is passed after a minute, for its event is in the ledger; the others run and are passed at once.
    """
    stuck = asyncio.Event()

    async def work(_runner: ScriptedRunner, _claim: Claim, item: Event) -> None:
        if item.id == "e0":
            await stuck.wait()

    runner = ScriptedRunner(memory_hall.ledger, work)
    async with memory_hall.working(runner) as executor:
        await memory_hall.give(*(event(n, f"t{n}") for n in range(100)))
        await memory_hall.until(lambda: len(runner.log) == 99)
        await memory_hall.until(lambda: executor.held == 1)
        await memory_hall.until(lambda: executor.held == 0, moving=1.0)
        await executor._commit()
        assert (executor.running, await passed(memory_hall)) == (1, 100)
        await memory_hall.passes(540 - HEAD_MOST, step=10)
        stuck.set()
        await memory_hall.until(lambda: len(runner.log) == 100 and executor.running == 0)
        ends = await memory_hall.ledger.runs(RunQuery(pipeline="p", limit=200))

    assert {run.verdict for run in ends} == {"delivered"}
    assert len(runner.log) == len(set(runner.log))


async def test_slow_calls_of_one_pipeline_leave_places_for_the_others(memory_hall: Hall) -> None:
    """
    One pipeline hangs in every place it can get: the other one still runs.
    """
    stuck = asyncio.Event()

    async def work(_runner: ScriptedRunner, _claim: Claim, _event: Event) -> None:
        await stuck.wait()

    slow = ScriptedRunner(memory_hall.ledger, work, name="slow")
    other = ScriptedRunner(memory_hall.ledger)
    async with memory_hall.working(slow, other, in_flight=16):
        await memory_hall.give(*(event(n, f"t{n}") for n in range(200)))
        await memory_hall.until(lambda: len(other.log) == 200)
        stuck.set()
        await memory_hall.until(lambda: len(slow.log) == 200)


async def test_memory_stays_bounded_behind_what_hangs(memory_hall: Hall, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    Every run of a pipeline hangs: it holds a window of messages and no more, and the other pipeline goes on.
    """
    monkeypatch.setattr(intake_module, "WINDOW", 100)
    monkeypatch.setattr(executor_module, "FETCH", 20)
    stuck = asyncio.Event()

    async def work(_runner: ScriptedRunner, _claim: Claim, _event: Event) -> None:
        await stuck.wait()

    slow = ScriptedRunner(memory_hall.ledger, work, name="slow")
    other = ScriptedRunner(memory_hall.ledger)
    held: list[int] = []
    async with memory_hall.working(slow, other, in_flight=32) as executor:

        def watched() -> bool:
            held.append(executor._intakes["slow"].held)
            return len(other.log) == 400

        await memory_hall.give(*(event(n, f"t{n % 40}") for n in range(400)))
        await memory_hall.until(watched, moving=LOOK_AGAIN)
        stuck.set()
        await memory_hall.until(lambda: len(slow.log) == 400, moving=LOOK_AGAIN)

    assert 100 <= max(held) < 120
    assert slow.overlaps == 0
