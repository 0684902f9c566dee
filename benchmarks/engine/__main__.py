"""
The engine against what a person would write: `python -m benchmarks.engine [--json] [--results FILE] [--rounds N]`.

    drain      a topic that is full when they start, 1,000 in flight, a model whose median is a second
    own keys   the same, with a key for each event: there is no order to keep, and who keeps none loses nothing
    burst      400 events at once, because httpx does not get through more
    overhead   half of what the hub could take, as it comes: how much later than model and desk
    memory     the peak with 1,000 in flight, less the peak with 20

Drains and overhead are those of a hub in two processes; one process drains too, to compare, and has the
rest. Those the aims do not need drain in the first round only.

All contenders get the same events and the same service times, in turns, on the same broker. What is
said of them comes from the doubles' log (`benchmarks.engine.judge`), processor and memory from the kernel.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median

from benchmarks import ratio
from benchmarks.engine.arena import Arena, Outcome, Refused
from benchmarks.engine.workload import Workload
from bus.broker import VERSION, Broker
from penstock.errors import Unreachable

HUB, TWO = "penstock", "penstock, 2 processes"
HAND, HTTPX, WORKERS = "aiokafka + aiohttp", "aiokafka + httpx", "faststream, max_workers"
ROUNDS = 2  # with the other benchmarks, within ten minutes
IN_FLIGHT = 1000
EFFICIENCY_AIM = 0.85  # of an executor that costs nothing
RATE_AIM = 0.85  # of aiokafka + aiohttp, where neither has an order to keep
SEED = 2026
DRAIN = Workload(seed=SEED, events=8_000, keys=4_000)
OWN_KEYS = Workload(seed=SEED, events=8_000, keys=0)
BURST = Workload(seed=SEED + 1, events=400, keys=0)
LIVE = Workload(seed=SEED + 2, events=7_000, keys=0)
HALF = 330.0  # events a second: half of 1,000 places over a mean of 1.5 s
FULL, FEW = Workload(seed=SEED + 3, events=1000, keys=0), Workload(seed=SEED + 3, events=20, keys=0)
_MB = 1e6
_BELOW = Path("/var/tmp")  # on a disk: a sync in memory costs nothing


@dataclass(frozen=True, slots=True, kw_only=True)
class Findings:
    """
    Everything that was measured.
    """

    drains: Mapping[str, Sequence[Outcome]]
    own_keys: Mapping[str, Sequence[Outcome]]
    """Drains of events that have a key each."""
    bursts: Mapping[str, Outcome]
    live: Outcome | None
    """None when the generator was late."""
    memory: Mapping[str, float]
    """Bytes per event in flight."""
    hubs: Sequence[Outcome]
    """Every run of a hub."""
    load: str
    """Processes that wanted to run, over the last minute, before and after."""


class Bench:
    """
    An arena that remembers what it saw.
    """

    def __init__(self, arena: Arena) -> None:
        self._arena = arena
        self.seen: list[Outcome] = []

    def drain(self, contender: str, workload: Workload, in_flight: int = IN_FLIGHT) -> Outcome:
        """
        Let *contender* work off a full topic.
        """
        return self._told(self._arena.drain(contender, workload, in_flight))

    def live(self) -> Outcome | None:
        """
        Give a hub half of what it could take; None when the generator was late.
        """
        try:
            return self._told(self._arena.overhead(TWO, LIVE, IN_FLIGHT, HALF))
        except Refused as error:
            print(error, file=sys.stderr)
            return None

    def memory(self, contender: str) -> float:
        """
        Return the bytes an event in flight takes.
        """
        full, few = self.drain(contender, FULL, FULL.events), self.drain(contender, FEW, FULL.events)
        return (full.peak - few.peak) / (FULL.events - FEW.events)

    def _told(self, outcome: Outcome) -> Outcome:
        self.seen.append(outcome)
        print(f"{outcome.contender}: {outcome.events} events in {outcome.judgement.drain:.1f} s", file=sys.stderr)
        return outcome


def measured(arena: Arena, rounds: int) -> Findings:
    """
    Run everything.
    """
    before, bench = os.getloadavg()[0], Bench(arena)
    drains: dict[str, list[Outcome]] = {HUB: [], TWO: [], HAND: [], WORKERS: []}
    own_keys: dict[str, list[Outcome]] = {TWO: [], HAND: []}
    for number in range(rounds):
        turns = [(drains, DRAIN, contender) for contender in (own_keys if number else drains)]
        turns += [(own_keys, OWN_KEYS, contender) for contender in own_keys]
        for ours, workload, contender in turns if number % 2 == 0 else reversed(turns):
            ours[contender].append(bench.drain(contender, workload))
    bursts = {contender: bench.drain(contender, BURST) for contender in (HUB, HTTPX)}
    memory = {contender: bench.memory(contender) for contender in (HUB, HAND)}
    live = bench.live()
    return Findings(
        drains=drains,
        own_keys=own_keys,
        bursts=bursts,
        live=live,
        memory=memory,
        hubs=[one for one in bench.seen if one.contender in (HUB, TWO)],
        load=f"{before:.1f}..{os.getloadavg()[0]:.1f}",
    )


def aims(findings: Findings) -> dict[str, tuple[float, float]]:
    """
    Return what was aimed at: the value and its least, by name.
    """
    return {
        "drain efficiency, bound / measured": (median(one.efficiency for one in findings.drains[TWO]), EFFICIENCY_AIM),
        "events/s of aiokafka + aiohttp": (_of_hand(findings.own_keys), RATE_AIM),
    }


def _of_hand(drains: Mapping[str, Sequence[Outcome]]) -> float:
    """
    Return the hub's events a second as a share of those by hand, run against run.
    """
    return median(one.rate / other.rate for one, other in zip(drains[TWO], drains[HAND], strict=True))


def broken(findings: Findings) -> list[str]:
    """
    Return which promises the hub did not keep; speed bought with them counts for nothing.
    """
    names = ("lost", "asked_again", "written_again", "disordered")
    counted = {name: sum(int(getattr(one.judgement, name)) for one in findings.hubs) for name in names}
    return [f"{name.replace('_', ' ')}: {count}" for name, count in counted.items() if count]


def table(findings: Findings) -> str:
    """
    Return the drains as text in columns: medians over the rounds, the worst of what must not happen.
    """
    head = ("contender", "events/s", "bound/took", "places busy", "CPU us/event", "peak MB")
    rows = [(*head, "lost", "twice", "out of order"), *(_row(ours) for ours in findings.drains.values())]
    rows += [_row(ours, ", own keys") for ours in findings.own_keys.values()]
    rows += [_row([one]) for one in findings.bursts.values()]
    widths = [max(len(row[column]) for row in rows) for column in range(len(head) + 3)]
    return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows)


def _row(outcomes: Sequence[Outcome], how: str = "") -> tuple[str, ...]:
    one, judged = outcomes[0], [each.judgement for each in outcomes]
    return (
        f"{one.contender}, {one.events} events{how}",
        f"{median(each.rate for each in outcomes):.0f}",
        f"{median(each.efficiency for each in outcomes):.2f}",
        f"{median(each.busy for each in judged):.0f}",
        f"{median(each.cpu / each.events for each in outcomes) * 1e6:.0f}",
        f"{max(each.peak for each in outcomes) / _MB:.0f}",
        str(max(each.lost for each in judged)),
        str(max(each.asked_again + each.written_again for each in judged)),
        str(max(each.disordered for each in judged)),
    )


def report(findings: Findings, *, as_json: bool, results: Path | None) -> int:
    """
    Print, keep, and return 1 when an aim was missed or a promise broken.
    """
    facts = ratio.machine("aiohttp", "aiokafka", "faststream", "httpx", "uvloop") | {
        "kafka": VERSION,
        "load": findings.load,
    }
    reached = {
        name: {"value": round(value, 3), "at_least": least, "met": value >= least}
        for name, (value, least) in aims(findings).items()
    }
    found = {"machine": facts, "aims": reached, "broken": broken(findings), **_numbers(findings)}
    text = json.dumps(found, indent=2, default=str)
    if results is not None:
        results.write_text(text + "\n", "utf-8")
    print(text if as_json else _page(findings, facts, found))
    return 0 if all(one["met"] for one in reached.values()) and not found["broken"] else 1


def _numbers(findings: Findings) -> dict[str, object]:
    late = findings.live.overheads if findings.live else ()
    hub, slow = findings.bursts[HUB], findings.bursts[HTTPX]
    return {
        "aiokafka + aiohttp, events/s of the hub over its where keys are shared": round(_of_hand(findings.drains), 2),
        "aiokafka + httpx, events/s of the hub over its": round(hub.rate / slow.rate, 2),
        "aiokafka + httpx, CPU per event over the hub's": round(slow.cpu / hub.cpu, 2),
        "overhead_ms": {name: round(late[int(len(late) * share)] * 1000, 1) for name, share in _SHARES if late},
        "memory_kb_per_event_in_flight": {name: round(value / 1000, 1) for name, value in findings.memory.items()},
        "drains": {name: [_plain(one) for one in ones] for name, ones in findings.drains.items()},
        "own_keys": {name: [_plain(one) for one in ones] for name, ones in findings.own_keys.items()},
        "bursts": {name: _plain(one) for name, one in findings.bursts.items()},
    }


_LONG = ("machine", "drains", "own_keys", "bursts")
_SHARES = (("p50", 0.5), ("p99", 0.99))


def _plain(outcome: Outcome) -> dict[str, object]:
    return {name: value for name, value in asdict(outcome).items() if name != "overheads"}


def _page(findings: Findings, facts: Mapping[str, str], found: Mapping[str, object]) -> str:
    lines = [", ".join(f"{name} {value}" for name, value in facts.items()), table(findings)]
    lines += [f"{name}: {value}" for name, value in found.items() if name not in _LONG]
    return "\n".join(lines)


def main() -> int:
    """
    Measure and report; a machine that can have no broker is left out.
    """
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--results", type=Path)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    given = parser.parse_args()
    below = _BELOW if _BELOW.is_dir() else None
    with tempfile.TemporaryDirectory(prefix="penstock-bench-", dir=below) as name:
        folder = Path(name)
        broker = Broker(folder / "kafka")
        try:
            broker.start()
        except Unreachable as error:
            print(f"The engine is left out: {error}", file=sys.stderr)
            return 0
        try:
            findings = measured(Arena(broker=broker.address, folder=folder), given.rounds)
        finally:
            broker.stop()
    return report(findings, as_json=given.json, results=given.results)


if __name__ == "__main__":
    sys.exit(main())
