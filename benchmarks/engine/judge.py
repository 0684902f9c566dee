"""
The judge: it reads the doubles' log, and nothing a contender says about itself.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from benchmarks.engine.workload import Kind, Workload


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """
    One call a double answered.
    """

    kind: Kind
    number: int
    start: float
    end: float
    """0 when its caller hung up."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """
    What a contender did.
    """

    drain: float
    """Seconds from the first call to the end of the last."""
    lost: int
    """Events without a finished note."""
    asked_again: int
    """Finished model calls beyond one per event."""
    written_again: int
    """Finished notes beyond one per event."""
    cut_off: int
    """Calls whose caller hung up."""
    disordered: int
    """Events whose work overlaps or comes before an earlier event's of the same key."""
    most_in_flight: int
    """Calls at once, at most."""
    busy: float
    """Calls at once on average, from the first call until the last event began; as long as they had to take."""


def read_calls(path: Path) -> list[Call]:
    """
    Return what the doubles wrote down.
    """
    return [_call(line.split()) for line in path.read_text("ascii").splitlines()]


def _call(words: list[str]) -> Call:
    kind: Kind = "model" if words[0] == "model" else "desk"
    return Call(kind=kind, number=int(words[1]), start=float(words[2]), end=float(words[3]))


def judge(workload: Workload, calls: Iterable[Call]) -> Judgement:
    """
    Compare what was done with what was asked for.
    """
    every = list(calls)
    done = [call for call in every if call.end]
    asked, written = (Counter(call.number for call in done if call.kind == kind) for kind in ("model", "desk"))
    return Judgement(
        drain=max((call.end for call in done), default=0.0) - min((call.start for call in every), default=0.0),
        lost=sum(number not in written for number in range(workload.events)),
        asked_again=asked.total() - len(asked),
        written_again=written.total() - len(written),
        cut_off=len(every) - len(done),
        disordered=_disordered(workload, done),
        most_in_flight=_most_at_once(every),
        busy=_busy(workload, every),
    )


def _disordered(workload: Workload, done: list[Call]) -> int:
    """
    Count the events that began before the one before them, in their key's order, had its last call answered.
    """
    spans: dict[int, tuple[float, float]] = {}
    for call in done:
        start, end = spans.get(call.number, (call.start, call.end))
        spans[call.number] = (min(start, call.start), max(end, call.end))
    found, last = 0, dict[str, float]()
    for number in sorted(spans):
        key = workload.key(number)
        start, end = spans[number]
        found += start < last.get(key, 0.0)
        last[key] = max(end, last.get(key, 0.0))
    return found


def _most_at_once(calls: list[Call]) -> int:
    moments = sorted([(call.start, 1) for call in calls] + [(call.end, -1) for call in calls if call.end])
    most = now = 0
    for _, change in moments:
        now += change
        most = max(most, now)
    return most


def _busy(workload: Workload, calls: list[Call]) -> float:
    begin = min((call.start for call in calls), default=0.0)
    last = max((call.start for call in calls if call.kind == "model"), default=0.0)
    if last <= begin:
        return 0.0
    spans = ((call.start, call.start + workload.seconds(call.kind, call.number)) for call in calls)
    return sum(max(0.0, min(end, last) - start) for start, end in spans) / (last - begin)


def overheads(workload: Workload, due: Mapping[int, float], calls: Iterable[Call]) -> list[float]:
    """
    Return, sorted, by how much each event took longer than its model and its desk: from when it was due.
    """
    ends = {call.number: call.end for call in calls if call.kind == "desk" and call.end}
    return sorted(end - due[number] - workload.service(number) for number, end in ends.items())


def read_schedule(path: Path) -> dict[int, float]:
    """
    Return when each event was due.
    """
    pairs = (line.split() for line in path.read_text("ascii").splitlines())
    return {int(number): float(at) for number, at in pairs}
