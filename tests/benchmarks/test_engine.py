"""
The harness judges by what the doubles saw, and sees through those who cheat.
"""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from benchmarks.engine import __main__ as bench
from benchmarks.engine import judge
from benchmarks.engine.arena import CONTENDERS, Arena, Outcome
from benchmarks.engine.doubles import Connection, Doubles
from benchmarks.engine.generator import LATE, due_times, refused
from benchmarks.engine.judge import Call
from benchmarks.engine.usage import Usage, usage
from benchmarks.engine.workload import Kind, Workload, ideal, reference

WORK = Workload(seed=7, events=4, keys=0)
ONE_KEY = Workload(seed=7, events=4, keys=1)


def _calls(spans: dict[int, tuple[float, float]], *, skip: tuple[tuple[str, int], ...] = ()) -> Iterator[Call]:
    """
    Give the calls of events whose model is asked in the first half of their span and whose desk in the second.
    """
    for number, (start, end) in spans.items():
        middle = (start + end) / 2
        halves: list[tuple[Kind, float, float]] = [("model", start, middle), ("desk", middle, end)]
        for kind, begin, until in halves:
            if (kind, number) not in skip:
                yield Call(kind=kind, number=number, start=begin, end=until)


IN_TURN = {number: (10.0 + 2 * number, 12.0 + 2 * number) for number in range(4)}


def test_an_honest_contender_is_blamed_for_nothing() -> None:
    """
    One event after the other, each asked and written once.
    """
    found = judge.judge(ONE_KEY, _calls(IN_TURN))

    assert (0, 0, 0, 0, 0) == (
        found.lost,
        found.asked_again,
        found.written_again,
        found.cut_off,
        found.disordered,
    )
    assert found.drain == 8.0
    assert found.most_in_flight == 1


def test_a_contender_that_skips_the_write_has_lost_the_event() -> None:
    """
    A model that was asked is not a note that was written.
    """
    assert judge.judge(WORK, _calls(IN_TURN, skip=(("desk", 2),))).lost == 1


def test_a_contender_that_does_things_twice_is_seen() -> None:
    """
    Twice asked and twice written are counted apart; a call whose caller hung up is neither.
    """
    again = [
        Call(kind="model", number=1, start=30.0, end=31.0),
        Call(kind="desk", number=2, start=30.0, end=31.0),
        Call(kind="desk", number=3, start=30.0, end=0.0),
    ]
    found = judge.judge(WORK, [*_calls(IN_TURN), *again])

    assert (1, 1, 1) == (found.asked_again, found.written_again, found.cut_off)


def test_a_contender_that_lets_a_key_overtake_itself_is_seen() -> None:
    """
    An event that begins before the one before it ended is out of order, with one key and not with many.
    """
    overlapping = IN_TURN | {2: (13.0, 16.0)}

    assert judge.judge(ONE_KEY, _calls(overlapping)).disordered == 1
    assert judge.judge(WORK, _calls(overlapping)).disordered == 0


def test_overhead_counts_from_the_time_an_event_was_due() -> None:
    """
    A generator or a hub that falls behind shows up in every event that waited.
    """
    due = dict.fromkeys(range(4), 10.0)
    found = judge.overheads(WORK, due, _calls(IN_TURN))

    expected = sorted(IN_TURN[number][1] - 10.0 - WORK.service(number) for number in range(4))
    assert expected == found


def test_a_late_generator_refuses_the_run() -> None:
    """
    One in a hundred may be late, not more.
    """
    assert not refused([0.0] * 99 + [LATE * 2])
    assert refused([0.0] * 98 + [LATE * 2] * 2)


def test_arrivals_are_fixed_in_advance() -> None:
    """
    The same seed gives the same times, at the wanted rate.
    """
    times = due_times(1, 2000, 100.0)

    assert times == due_times(1, 2000, 100.0)
    assert 15.0 < times[-1] < 25.0


def test_the_bound_keeps_order_and_places() -> None:
    """
    Two places: two keys go side by side, one key does not; one place takes the sum.
    """
    assert ideal(["a", "b"], [2.0, 3.0], 2) == 3.0
    assert ideal(["a", "a"], [2.0, 3.0], 2) == 5.0
    assert ideal(["a", "b"], [2.0, 3.0], 1) == 5.0
    assert ideal(["a", "a", "b"], [2.0, 1.0, 3.0], 2) == 3.0


def test_service_times_have_the_promised_shape() -> None:
    """
    The median is a second, one in a hundred takes eight, and nobody draws again.
    """
    drawn = sorted(WORK.seconds("model", number) for number in range(20_000))

    assert drawn[10_000] == pytest.approx(1.0, rel=0.05)
    assert drawn[19_800] == pytest.approx(8.0, rel=0.1)
    assert WORK.seconds("model", 3) == Workload(seed=7, events=9, keys=2).seconds("model", 3)


class _Instant(Doubles):
    def seconds(self, kind: Kind, number: int) -> float:
        super().seconds(kind, number)
        return 0.0


async def test_the_doubles_write_down_what_they_were_asked(tmp_path: Path) -> None:
    """
    A call of the model and one of the desk, each under its event's number; the desk shows what it was given.
    """
    with (tmp_path / "calls").open("w") as log:
        doubles = _Instant(1, log)
        server = await asyncio.get_running_loop().create_server(lambda: Connection(doubles), "127.0.0.1", 0)
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        async with httpx.AsyncClient(trust_env=False) as client:
            answer = await client.post(f"{url}/v1/chat/completions", json={"about": reference(5)})
            note = {"ticket": {"comment": {"body": reference(5), "public": False}}}
            await client.put(f"{url}/api/v2/tickets/9.json", json=note)
            comments = await client.get(f"{url}/api/v2/tickets/9/comments.json")
            counts = (await client.get(f"{url}/_counts")).json()
        server.close()

    assert reference(5) in answer.json()["choices"][0]["message"]["content"]
    assert [reference(5)] == [comment["body"] for comment in comments.json()["comments"]]
    assert {"begun": 2, "model": 1, "desk": 1} == counts
    assert [("model", 5), ("desk", 5)] == [(call.kind, call.number) for call in judge.read_calls(tmp_path / "calls")]


def test_what_a_process_uses_is_what_all_below_it_use() -> None:
    """
    Processor and memory of a process and of the one it forked are added up; of one that is gone nothing is left.
    """
    size, busy = 64_000_000, 0.3
    script = f"import os, time; pid = os.fork(); held = b'x' * {size}\nwhile time.process_time() < {busy}: pass\n"
    script += "print('busy', flush=True); time.sleep(60)"
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, start_new_session=True) as process:
        assert process.stdout is not None
        assert [b"busy\n"] * 2 == [process.stdout.readline() for _ in range(2)]
        found = usage(process.pid)
        os.killpg(process.pid, signal.SIGKILL)

    assert 2 * size < found.peak < 4 * size
    assert 2 * busy - 0.1 < found.cpu < 4 * busy
    assert Usage(cpu=0.0, peak=0) == usage(process.pid)


def outcome(contender: str, workload: Workload, seconds: float, **judged: int) -> Outcome:
    """
    A run that took so long, and of which that is to be said.
    """
    nothing = dict.fromkeys(("lost", "asked_again", "written_again", "cut_off", "disordered", "most_in_flight"), 0)
    return Outcome(
        contender=contender,
        events=workload.events,
        in_flight=bench.IN_FLIGHT,
        bound=12.0,
        even_bound=12.0,
        judgement=judge.Judgement(drain=seconds, busy=900.0, **(nothing | judged)),
        cpu=1.0,
        peak=1,
    )


class Scripted:
    """
    An arena whose contenders take the seconds a test gives them; others take 20.
    """

    def __init__(self, seconds: dict[tuple[str, int], float], **judged: int) -> None:
        self.seconds = seconds
        self.judged = judged
        self.runs: Counter[str] = Counter()

    def drain(self, contender: str, workload: Workload, _in_flight: int) -> Outcome:
        self.runs[contender] += 1
        seconds = self.seconds.get((contender, workload.keys), 20.0)
        return outcome(contender, workload, seconds, **(self.judged if contender == bench.HUB else {}))

    def overhead(self, contender: str, workload: Workload, _in_flight: int, _rate: float) -> Outcome:
        self.runs[f"live: {contender}"] += 1
        return outcome(contender, workload, 20.0)


def test_the_aims_are_those_of_two_processes() -> None:
    """
    The bound counts where keys are shared, the rate by hand where each event has its own; both ratios are told.
    """
    shared = bench.DRAIN.keys
    seconds = {(bench.TWO, shared): 16.0, (bench.TWO, 0): 10.0, (bench.HAND, shared): 12.0, (bench.HAND, 0): 8.0}
    arena = Scripted(seconds)
    found = bench.measured(arena, 2)  # type: ignore[arg-type]

    assert {"drain efficiency, bound / measured": (0.75, 0.85), "events/s of aiokafka + aiohttp": (0.8, 0.85)} == (
        bench.aims(found)
    )
    assert 0.75 == bench._numbers(found)["aiokafka + aiohttp, events/s of the hub over its where keys are shared"]
    assert {"one": 1, "two": 2, "hand": 2, "faststream": 1} == {
        name: len(found.drains[contender])
        for name, contender in (
            ("one", bench.HUB),
            ("two", bench.TWO),
            ("hand", bench.HAND),
            ("faststream", bench.WORKERS),
        )
    }
    assert 1 == arena.runs[f"live: {bench.TWO}"]
    assert "own keys" in bench.table(found)


def test_every_run_of_a_hub_is_judged() -> None:
    """
    What is lost in a run that measures memory is lost as well.
    """
    arena = Scripted({}, lost=1)
    found = bench.measured(arena, 1)  # type: ignore[arg-type]

    assert [f"lost: {arena.runs[bench.HUB]}"] == bench.broken(found)
    assert 4 == arena.runs[bench.HUB]


@pytest.mark.slow
@pytest.mark.parametrize("contender", sorted(CONTENDERS))
def test_every_contender_does_the_work(contender: str, kafka: str, tmp_path: Path) -> None:
    """
    A tiny run over a real broker: all is asked, all is written, and the hub keeps the order too.
    """
    workload = Workload(seed=3, events=12, keys=6 if contender.startswith("penstock") else 0)
    ended = Arena(broker=kafka, folder=tmp_path).drain(contender, workload, 12)

    found = ended.judgement
    assert (0, 0, 0, 0) == (found.lost, found.asked_again, found.written_again, found.disordered)
    assert ended.cpu > 0
    assert ended.peak > 10_000_000
