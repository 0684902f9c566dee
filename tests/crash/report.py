"""
What a run of the harness says at its end: a result as JSON, and lines for people.
"""

from __future__ import annotations

import os
import platform
import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from bus.broker import VERSION as KAFKA
from tests.crash.faults import MET
from tests.crash.judge import Judgement
from tests.crash.money import Money

SHOWN = 5  # of each kind of what is wrong


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """
    One run over one combination.
    """

    combination: str
    seed: str
    workers: int
    seconds: float
    faults: Mapping[str, int]
    points: Mapping[str, int]
    """How often a worker died at each failpoint."""
    deliveries_again: int
    judgement: Judgement
    money: Money
    surprises: Sequence[str]
    verdicts: Mapping[str, int]
    folder: str

    @property
    def wrong(self) -> list[str]:
        """
        Return what may not be.
        """
        found = [f"{name}: {len(them)} {list(them[:SHOWN])}" for name, them in self.judgement.faults.items() if them]
        found += [f"money, {name}: {more} micro-USD" for name, more in self.money.differences.items() if more]
        return found + list(self.surprises)

    def as_json(self) -> dict[str, Any]:
        """
        Return everything, with the machine and the versions.
        """
        return {**asdict(self), "wrong": self.wrong, "machine": machine()}

    def lines(self) -> list[str]:
        """
        Return what people read.
        """
        judged, money = self.judgement, self.money
        struck = ", ".join(f"{kind} {count}" for kind, count in sorted(self.faults.items()))
        missed = [point for point in MET if point not in self.points]
        return [
            f"{self.combination}: seed {self.seed}, {self.workers} workers, {self.seconds:.0f} s",
            f"  faults {sum(self.faults.values())}: {struck}",
            f"  failpoints {len(self.points)} of {len(MET)}" + (f"; not {', '.join(missed)}" if missed else ""),
            f"  events {judged.events}, redelivered {self.deliveries_again}, runs {sum(self.verdicts.values())}: "
            + ", ".join(f"{verdict} {count}" for verdict, count in sorted(self.verdicts.items())),
            f"  lost {len(judged.lost)}; duplicated: "
            + ", ".join(f"{kind} {len(them)}" for kind, them in judged.duplicated.items())
            + f"; blind left to a person {judged.parked}",
            (
                f"  model answers kept at most {judged.slowest:.1f} s after they were sent; "
                f"calls repeated: finished {len(judged.finished_again)}, in flight {judged.in_flight_again}; "
                f"repeated after a clean stop {len(judged.stopped_again)}"
            ),
            f"  order violations {len(judged.disordered)}",
            (
                f"  money in micro-USD: metered {money.metered}, spent {money.spent} (of it unanswered "
                f"{money.unanswered}), differences {sum(map(abs, money.differences.values()))}"
            ),
            *(f"  WRONG {line}" for line in self.wrong),
            f"  again: make crash COMBINATION={self.combination} FAULTS={sum(self.faults.values())} SEED={self.seed}",
        ]


HEAD = (
    "| combination | faults | events | lost | keyed twice | read-back twice | blind twice (left to a person) "
    "| finished calls again | calls in flight again | order violations | money differences |"
)


def table(reports: Sequence[Report]) -> list[str]:
    """
    Return the table of several runs, in Markdown.
    """
    rows = [
        f"| {one.combination} | {sum(one.faults.values())} | {one.judgement.events:,} | {len(one.judgement.lost)} "
        f"| {len(one.judgement.duplicated['keyed'])} | {len(one.judgement.duplicated['read-back'])} "
        f"| {len(one.judgement.duplicated['blind'])} ({one.judgement.parked}) "
        f"| {len(one.judgement.finished_again)} | {one.judgement.in_flight_again} "
        f"| {len(one.judgement.disordered)} | {sum(map(abs, one.money.differences.values()))} |"
        for one in reports
    ]
    return [HEAD, "|---" * (HEAD.count("|") - 1) + "|", *rows, "", " · ".join(f"{k} {v}" for k, v in machine().items())]


def machine() -> dict[str, str]:
    """
    Return what was measured on.
    """
    return {
        "cores": str(os.cpu_count()),
        "system": platform.platform(),
        "Python": platform.python_version(),
        "SQLite": sqlite3.sqlite_version,
        "Kafka": KAFKA,
    }
