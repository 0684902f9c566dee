"""
Ratios instead of times: ours and theirs run in turns on the same machine, and the medians are compared.

A time says how fast the machine was; a ratio says how good the code is.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
import sqlite3
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from statistics import median

Measure = Callable[[], float]
"""Does its work once and returns one number: seconds, or something per second."""

_MICROSECONDS_BELOW = 1e-3  # seconds


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """
    Ours against theirs.
    """

    name: str
    unit: str
    ours: float
    """The median over all rounds."""
    theirs: float
    ratio: float
    """The median of ours / theirs within each round, so that a slow moment of the machine hits both."""
    spread: tuple[float, float]
    """The smallest and the largest ratio of a round."""
    rounds: int
    at_least: float | None
    """The aim, when more is better."""
    at_most: float | None
    """The aim, when less is better."""

    @property
    def met(self) -> bool:
        """
        Whether the ratio keeps its aim.
        """
        low = -float("inf") if self.at_least is None else self.at_least
        high = float("inf") if self.at_most is None else self.at_most
        return low <= self.ratio <= high

    @property
    def aim(self) -> str:
        """
        The aim in words.
        """
        if self.at_least is not None:
            return f">= {self.at_least:g}"
        return "-" if self.at_most is None else f"<= {self.at_most:g}"


def compare(
    name: str,
    ours: Measure,
    theirs: Measure,
    rounds: int,
    *,
    unit: str = "s",
    at_least: float | None = None,
    at_most: float | None = None,
) -> Comparison:
    """
    Measure *ours* and *theirs* in turns; who begins changes every round. One round before them warms up.
    """
    ours()
    theirs()
    pairs = [_pair(ours, theirs, ours_first=number % 2 == 0) for number in range(rounds)]
    return compared(name, pairs, unit=unit, at_least=at_least, at_most=at_most)


def compared(
    name: str,
    pairs: Sequence[tuple[float, float]],
    *,
    unit: str = "s",
    at_least: float | None = None,
    at_most: float | None = None,
) -> Comparison:
    """
    Compare what was measured already: ours and theirs of each round.
    """
    ratios = [mine / other for mine, other in pairs]
    return Comparison(
        name=name,
        unit=unit,
        ours=median(mine for mine, _ in pairs),
        theirs=median(other for _, other in pairs),
        ratio=median(ratios),
        spread=(min(ratios), max(ratios)),
        rounds=len(pairs),
        at_least=at_least,
        at_most=at_most,
    )


def machine(*distributions: str) -> dict[str, str]:
    """
    Return what the numbers depend on: the machine, Python, SQLite and the named *distributions*.
    """
    return {
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "cpus": str(os.cpu_count()),
        "python": platform.python_version(),
        "sqlite": sqlite3.sqlite_version,
        **{name: importlib.metadata.version(name) for name in distributions},
    }


def table(comparisons: Sequence[Comparison]) -> str:
    """
    Return *comparisons* as text in columns.
    """
    head = ("what", "ours", "theirs", "ratio", "smallest..largest", "aim", "met")
    rows = [head, *(_row(one) for one in comparisons)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(head))]
    return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows)


def report(comparisons: Sequence[Comparison], *distributions: str) -> int:
    """
    Print machine and ratios, as JSON when the command line says `--json`; return 1 when an aim was missed.
    """
    facts = machine(*distributions)
    if "--json" in sys.argv:
        results = [{**asdict(one), "met": one.met} for one in comparisons]
        print(json.dumps({"machine": facts, "results": results}, indent=2))
    else:
        print(", ".join(f"{name} {value}" for name, value in facts.items()))
        print(table(comparisons))
    return 0 if all(one.met for one in comparisons) else 1


def _pair(ours: Measure, theirs: Measure, *, ours_first: bool) -> tuple[float, float]:
    if ours_first:
        mine = ours()
        return mine, theirs()
    other = theirs()
    return ours(), other


def _row(one: Comparison) -> tuple[str, ...]:
    low, high = one.spread
    met = "yes" if one.met else "NO"
    ratios = (f"{one.ratio:.2f}", f"{low:.2f}..{high:.2f} of {one.rounds}", one.aim, met)
    return one.name, _amount(one.ours, one.unit), _amount(one.theirs, one.unit), *ratios


def _amount(value: float, unit: str) -> str:
    if unit == "s":
        return f"{value * 1e6:.0f} us" if value < _MICROSECONDS_BELOW else f"{value * 1e3:.2f} ms"
    return f"{value:,.0f} {unit}"
