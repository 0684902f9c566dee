"""
One contender on one workload: doubles, topic, contender and generator in processes of their own.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.engine.doubles import COUNTS
from benchmarks.engine.generator import REFUSED, make_topic
from benchmarks.engine.judge import Judgement, judge, overheads, read_calls, read_schedule
from benchmarks.engine.usage import Usage, usage
from benchmarks.engine.workload import PARTITIONS, Workload
from penstock import HOUSE

CONTENDERS: Mapping[str, tuple[str, ...]] = {
    "penstock": ("hub",),
    "penstock, 2 processes": ("hub", "--processes", "2"),
    "aiokafka + aiohttp": ("hand_aiohttp",),
    "aiokafka + httpx": ("hand_httpx",),
    "faststream, max_workers": ("faststream_workers",),
}
"""
Each one's module, and what only it is told.
"""
BEGUN_WITHIN = 120.0  # seconds from a contender's start to its first call; a machine may be busy
STALLED = 40.0  # seconds without a call that begins or ends, after which a contender is taken for stuck
_CONTENDERS = "benchmarks.engine.contenders"
_LOOK = 0.05  # seconds
_STOP = 30.0  # seconds
_AFTER = 1.0  # seconds in which a second copy of the last call would come


class Refused(Exception):
    """
    The generator was late: what was measured is the generator.
    """


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """
    What one run showed.
    """

    contender: str
    events: int
    in_flight: int
    bound: float
    """Seconds of an executor that costs nothing."""
    even_bound: float
    """Seconds of the work spread evenly."""
    judgement: Judgement
    cpu: float
    """Seconds of processor from the first call to the last."""
    peak: int
    """Bytes resident at most."""
    overheads: tuple[float, ...] = field(default=(), repr=False)

    @property
    def rate(self) -> float:
        """
        Events a second.
        """
        return self.events / self.judgement.drain

    @property
    def efficiency(self) -> float:
        """
        The bound over what it took.
        """
        return self.bound / self.judgement.drain


@dataclass(frozen=True, slots=True, kw_only=True)
class Arena:
    """
    A broker, and a folder for what comes out.
    """

    broker: str
    folder: Path

    def drain(self, contender: str, workload: Workload, in_flight: int) -> Outcome:
        """
        Let *contender* work off a topic that is full when it starts.
        """
        with self._stage(workload) as (name, doubles):
            self._generate(name, workload)
            with self._contender(contender, name, doubles, in_flight) as process:
                cpu, peak = self._watched(process, doubles, workload.events)
        return self._outcome(name, contender, workload, in_flight, cpu, peak)

    def overhead(self, contender: str, workload: Workload, in_flight: int, rate: float) -> Outcome:
        """
        Let *contender* take *rate* events a second as they come; raises `Refused`.
        """
        with self._stage(workload) as (name, doubles), self._contender(contender, name, doubles, in_flight) as process:
            time.sleep(_WARM)
            self._generate(name, workload, rate=rate)
            cpu, peak = self._watched(process, doubles, workload.events)
        return self._outcome(name, contender, workload, in_flight, cpu, peak)

    # ---- parts ------------------------------------------------------------------------------

    @contextlib.contextmanager
    def _stage(self, workload: Workload) -> Iterator[tuple[str, str]]:
        """
        Make a topic and start the doubles; give the run's name and their URL.
        """
        name = f"bench{time.monotonic_ns()}"
        asyncio.run(make_topic(self.broker, f"{name}.events.helpdesk", PARTITIONS))
        words = ["--seed", str(workload.seed), "--calls", str(self._calls(name))]
        with _running("benchmarks.engine.doubles", words, stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            yield name, f"http://127.0.0.1:{int(process.stdout.readline())}"

    @contextlib.contextmanager
    def _contender(self, contender: str, name: str, doubles: str, in_flight: int) -> Iterator[subprocess.Popen[bytes]]:
        folder = self.folder / name
        folder.mkdir()
        module, *own = CONTENDERS[contender]
        words = ["--broker", self.broker, "--prefix", name, "--doubles", doubles, "--folder", str(folder)]
        words += ["--in-flight", str(in_flight), *own]
        with (folder / "log").open("wb") as log, _running(f"{_CONTENDERS}.{module}", words, log, log) as process:
            yield process

    def _generate(self, name: str, workload: Workload, rate: float = 0.0) -> None:
        words = ["--broker", self.broker, "--topic", f"{name}.events.helpdesk", "--seed", str(workload.seed)]
        words += ["--events", str(workload.events), "--keys", str(workload.keys)]
        if rate:
            words += ["--rate", str(rate), "--schedule", str(self._schedule(name))]
        command = [sys.executable, "-m", "benchmarks.engine.generator", *words]
        done = subprocess.run(command, cwd=HOUSE, check=False)
        if done.returncode == REFUSED:
            raise Refused("the generator was late in more than 1 % of its sends; the machine is too busy to measure")
        done.check_returncode()

    def _watched(self, process: subprocess.Popen[bytes], doubles: str, events: int) -> tuple[float, int]:
        """
        Wait until every event has its note, or nothing moves; return processor seconds and peak memory.
        """
        before: Usage | None = None
        seen, moved = dict[str, int](), time.monotonic()
        while process.poll() is None:
            counts = _counts(doubles)
            if before is None and counts["begun"]:
                before = usage(process.pid)
            if counts != seen:
                seen, moved = counts, time.monotonic()
            patience = BEGUN_WITHIN if before is None else STALLED
            if counts["desk"] >= events or time.monotonic() - moved > patience:
                break
            time.sleep(_LOOK)
        if process.poll() is not None or before is None:
            raise RuntimeError(f"the contender ended or did nothing; see {self.folder}/*/log")
        after = usage(process.pid)
        time.sleep(_AFTER)
        _counts(doubles)  # writes the log out
        return after.cpu - before.cpu, after.peak

    def _outcome(self, name: str, contender: str, workload: Workload, in_flight: int, cpu: float, peak: int) -> Outcome:
        calls = read_calls(self._calls(name))
        driven = self._schedule(name).exists()
        return Outcome(
            contender=contender,
            events=workload.events,
            in_flight=in_flight,
            bound=workload.bound(in_flight),
            even_bound=workload.even_bound(in_flight),
            judgement=judge(workload, calls),
            cpu=cpu,
            peak=peak,
            overheads=tuple(overheads(workload, read_schedule(self._schedule(name)), calls)) if driven else (),
        )

    def _calls(self, name: str) -> Path:
        return self.folder / f"{name}.calls"

    def _schedule(self, name: str) -> Path:
        return self.folder / f"{name}.schedule"


_WARM = 6.0  # seconds a contender has to start and join before the first event is due


@contextlib.contextmanager
def _running(
    module: str, words: list[str], stdout: object = None, stderr: object = None
) -> Iterator[subprocess.Popen[bytes]]:
    command = [sys.executable, "-m", module, *words]
    process = subprocess.Popen(command, cwd=HOUSE, stdout=stdout, stderr=stderr)  # type: ignore[call-overload]
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(_STOP)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        if process.stdout is not None:
            process.stdout.close()


def _counts(doubles: str) -> dict[str, int]:
    with urllib.request.urlopen(doubles + COUNTS, timeout=30) as answer:
        counts: dict[str, int] = json.loads(answer.read())
    return counts
