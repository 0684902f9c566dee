"""
Members that come, go and die all the time, on a real broker: judged from what they wrote down.

`PENSTOCK_CHURN` is how many seconds; `make churn` takes two minutes.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import random
import signal
import sys
import time
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

import ledger
from bus import Outgoing
from bus.cluster import Cluster
from bus.kafka import KafkaBus
from penstock.clock import SystemClock
from tests.engine.bench import event

SECONDS = float(os.environ.get("PENSTOCK_CHURN") or 20)
EVERY = 1.5  # seconds between two comings or goings
SILENCE = 8.0  # seconds a dead member stays away: longer than the session timeout of `churn_child`
RATE = 60  # events a second
LANES = 40
DONE_WITHIN = 120.0  # seconds after the last event
LIMIT = SECONDS + DONE_WITHIN + 240  # seconds; workers start slowly on a busy machine
DAY = 86_400.0  # seconds
ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Attempt:
    """
    One time a run was worked on.
    """

    lane: str
    number: int
    worker: int
    begun: float
    ended: float
    """When its effect was there, or its worker died; infinite while neither is known."""
    effect: bool


@dataclass
class Crowd:
    """
    The workers of a test.
    """

    kafka: str
    prefix: str
    dsn: str
    diary: Path
    alive: dict[str, asyncio.subprocess.Process] = field(default_factory=dict)
    deaths: dict[int, float] = field(default_factory=dict)
    """By process, when it was surely gone."""
    joined: int = 0

    async def join(self, name: str, *, member: str = "-") -> None:
        words = [self.kafka, self.prefix, self.dsn, str(self.diary), member]
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "tests.engine.churn_child", *words, cwd=ROOT, stdout=asyncio.subprocess.PIPE
        )
        self.alive[name] = process
        assert process.stdout is not None
        async with asyncio.timeout(60):
            assert b"ready\n" == await process.stdout.readline()
        self.joined += 1

    async def leave(self, name: str, number: signal.Signals = signal.SIGTERM) -> int:
        process = self.alive.pop(name)
        process.send_signal(number)
        async with asyncio.timeout(60):
            code = await process.wait()
        self.deaths[process.pid] = time.monotonic()
        return code

    async def disperse(self) -> list[int]:
        return [await self.leave(name) for name in list(self.alive)]

    def attempts(self) -> list[Attempt]:
        """
        Return every attempt, in the order they began.
        """
        found: dict[tuple[int, str, str, str], tuple[float, float | None]] = {}
        for line in self.diary.read_text().splitlines():
            what, at, worker, lane, name, fence = line.split()
            key = (int(worker), lane, name, fence)
            if what == "begin":
                assert key not in found, "one claim, worked on twice"
                found[key] = (float(at), None)
            else:
                found[key] = (found[key][0], float(at))
        made = [
            Attempt(
                lane,
                int(name.removeprefix("e")),
                worker,
                begun,
                self.deaths.get(worker, float("inf")) if ended is None else ended,
                ended is not None,
            )
            for (worker, lane, name, _), (begun, ended) in found.items()
        ]
        return sorted(made, key=lambda one: one.begun)


@dataclass(frozen=True)
class Judgement:
    """
    What came of it.
    """

    lost: int
    overlaps: int
    order: int
    again: int
    """Effects beyond one per event."""


def judged(attempts: list[Attempt], published: int) -> Judgement:
    effects = Counter(one.number for one in attempts if one.effect)
    lanes: dict[str, list[Attempt]] = {}
    for one in attempts:
        lanes.setdefault(one.lane, []).append(one)
    pairs = [(former, later) for lane in lanes.values() for former, later in itertools.pairwise(lane)]
    return Judgement(
        lost=published - len(effects),
        overlaps=sum(later.begun < former.ended for former, later in pairs),
        order=sum(later.number < former.number for former, later in pairs),
        again=sum(effects.values()) - len(effects),
    )


@pytest.fixture
async def crowd(kafka: str, dsn: str, tmp_path: Path) -> AsyncIterator[Crowd]:
    made = Crowd(kafka, f"t{uuid.uuid4().hex[:12]}", dsn, tmp_path / "diary")
    made.diary.touch()
    yield made
    for process in made.alive.values():
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()


@pytest.fixture
async def topic(crowd: Crowd) -> AsyncIterator[KafkaBus]:
    opened = await KafkaBus.connect(Cluster(servers=(crowd.kafka,), prefix=crowd.prefix), partitions=8, keep=DAY)
    await opened.ensure_topic(f"{crowd.prefix}.desk", 8)
    yield opened
    await opened.close()


async def publish(bus: KafkaBus, crowd: Crowd, seconds: float) -> int:
    """
    Publish events as they would come in, each lane's in the order of their numbers; return how many.
    """
    chance, number, until = random.Random(1), 0, time.monotonic() + seconds
    while time.monotonic() < until:
        batch = []
        for _ in range(RATE // 10):
            key, headers, value = event(number, f"lane-{chance.randrange(LANES)}").to_kafka()
            batch.append(Outgoing(topic=f"{crowd.prefix}.desk", key=key, value=value, headers=headers))
            number += 1
        await bus.publish(batch)
        await asyncio.sleep(0.1)
    return number


async def settled(crowd: Crowd, published: int) -> int:
    """
    Wait until the ledger has a verdict for every event; return how many it has.
    """
    reader = await ledger.open(crowd.dsn, clock=SystemClock(), read_only=True)
    until = time.monotonic() + DONE_WITHIN
    try:
        while True:
            counts = await reader.counts(["p"])
            delivered = counts.get(("p", "delivered"), 0)
            if delivered >= published or time.monotonic() > until:
                return delivered
            await asyncio.sleep(0.3)
    finally:
        await reader.close()


def names() -> Iterator[str]:
    number = 0
    while True:
        number += 1
        yield f"w{number}"


@pytest.mark.timeout(LIMIT)
async def test_members_that_come_and_go_lose_overtake_and_repeat_nothing(crowd: Crowd, topic: KafkaBus) -> None:
    """Without names of their own, one joins or leaves every few seconds: no run is lost, doubled, early or repeated."""
    fresh, chance = names(), random.Random(2)
    await crowd.join(next(fresh))
    publishing = asyncio.create_task(publish(topic, crowd, SECONDS))
    codes = []
    while not publishing.done():
        await asyncio.sleep(EVERY)
        if len(crowd.alive) < 2 or (len(crowd.alive) < 4 and chance.random() < 0.5):
            await crowd.join(next(fresh))
        else:
            codes.append(await crowd.leave(chance.choice(list(crowd.alive))))
    published = await publishing
    delivered = await settled(crowd, published)
    codes += await crowd.disperse()
    _report("come and go", crowd, published)

    assert Judgement(lost=0, overlaps=0, order=0, again=0) == judged(crowd.attempts(), published)
    assert published == delivered
    assert {0} == set(codes)
    assert len(codes) >= 3


@pytest.mark.timeout(LIMIT)
async def test_named_members_that_die_lose_and_overtake_nothing(crowd: Crowd, topic: KafkaBus) -> None:
    """With names, killed and away for longer than the session timeout: others take over, and the dead come back."""
    members, chance = ["one", "two", "three"], random.Random(3)
    for name in members:
        await crowd.join(name, member=name)
    publishing = asyncio.create_task(publish(topic, crowd, SECONDS))
    killed = 0
    while not publishing.done():
        await asyncio.sleep(EVERY)
        victim = chance.choice(members)
        assert -signal.SIGKILL == await crowd.leave(victim, signal.SIGKILL)
        killed += 1
        await asyncio.sleep(SILENCE)
        await crowd.join(victim, member=victim)
    published = await publishing
    delivered = await settled(crowd, published)
    await crowd.disperse()
    _report(f"{killed} killed", crowd, published)
    judgement = judged(crowd.attempts(), published)

    assert (0, 0, 0) == (judgement.lost, judgement.overlaps, judgement.order)
    assert published == delivered
    assert killed >= 2


def _report(what: str, crowd: Crowd, published: int) -> None:
    """
    Print what was judged; pytest shows it with `-s`, `make churn` always.
    """
    workers = f"{crowd.joined} workers, {len(crowd.deaths)} went"
    print(f"\n{what}: {published} events, {workers}: {judged(crowd.attempts(), published)}")  # noqa: T201


def test_the_judge_sees_what_is_wrong() -> None:
    """An event without an effect, two workers in one lane, a later one first, and one twice."""
    good = [Attempt("k", 1, 7, 0.0, 1.0, True), Attempt("k", 2, 8, 1.0, 2.0, True)]

    assert Judgement(lost=0, overlaps=0, order=0, again=0) == judged(good, 2)
    assert 1 == judged(good, 3).lost
    assert 1 == judged([good[0], Attempt("k", 2, 8, 0.5, 2.0, True)], 2).overlaps
    assert 1 == judged([Attempt("k", 2, 8, 0.0, 1.0, True), Attempt("k", 1, 7, 1.0, 2.0, True)], 2).order
    assert 1 == judged([*good, Attempt("k", 2, 9, 3.0, 4.0, True)], 2).again
    assert 1 == judged([Attempt("k", 1, 7, 0.0, float("inf"), False), good[1]], 2).overlaps
