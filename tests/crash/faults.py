"""
Which faults come, in which order: drawn from a seed.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from random import Random

from console.failpoint import POINTS
from tests.crash.ground import Combination

OFTEN = {"admit": 12, "aside": 1, "join": 12, "settle": 3, "wait": 2}
"""Of the seldom reached failpoints, at most which time it strikes; the others have `MOST`."""
MOST = 40
PAUSES = (0.2, 1.6)  # seconds between two faults
WEIGHTS = {"kill": 10, "stop": 3, "zombie": 3, "model-drops": 1, "model-garbles": 2, "desk-drops": 2}
"""How often a kind comes up after each has come once."""

MET = tuple(point for point in POINTS if not point.startswith(("batch:", "draft:", "rerun", "source:")))
"""Failpoints that a scene can meet: nothing of it is asked in batches, approved or watched for changes, and its desk delivers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """
    One fault to come.
    """

    kind: str
    pause: float
    """Seconds before it."""
    point: str | None = None
    """Where the replacement of what it ends will die."""


def kinds(combination: Combination, *, disk: bool) -> list[str]:
    """
    Return every kind of fault that *combination* can meet.
    """
    found = ["kill", "stop", "zombie", "model-out", "model-drops", "model-garbles", "desk-out", "desk-drops"]
    if combination.bus == "kafka":
        found += ["broker-stop", "broker-kill"]
    if combination.ledger == "postgres":
        found += ["ledger-cut", "commit-cut-before", "commit-cut-after", "ledger-away", "ledger-stop"]
    if disk:
        found.append("disk-full")
    return found


def faults(combination: Combination, seed: str, *, disk: bool, first: int = 0) -> Iterator[Fault]:
    """
    Yield faults without end: each kind once, and kills between them, then by weight; failpoints take turns from *first* on.
    """
    random = Random(f"faults {seed}")
    able = kinds(combination, disk=disk)
    points = list(MET[first % len(MET) :]) + list(MET[: first % len(MET)])
    turn = 0
    order = _once(able, random)
    while True:
        kind = order.pop() if order else _drawn(able, random)
        point = None
        if kind in ("kill", "stop"):
            name = points[turn % len(points)]
            point = f"{name}@{random.randint(1, OFTEN.get(name, MOST))}"
            turn += 1
        yield Fault(kind=kind, pause=random.uniform(*PAUSES), point=point)


def _once(able: list[str], random: Random) -> list[str]:
    others = [kind for kind in able if kind != "kill"]
    random.shuffle(others)
    return [kind for place, other in enumerate(others) for kind in ((other, "kill") if place % 2 else (other,))]


def _drawn(able: list[str], random: Random) -> str:
    return random.choices(able, [WEIGHTS.get(kind, 1) for kind in able])[0]
