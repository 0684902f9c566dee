"""
What an operation must have for itself while it runs, named before its transaction begins.

A batch takes the lanes of all its operations in one order, then the budget rows of all of them in one
order: two batches can wait for each other, but never in a circle. SQLite has one writer, and takes none.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from ledger.contract import Cap, Claim, NewRun

Place = tuple[str, str, str]
"""
A lane: tenant, pipeline, key.
"""
Sum = tuple[str, str]
"""
A budget row: scope, period.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Locks:
    """
    The lanes and budget rows of one operation.
    """

    places: tuple[Place, ...] = ()
    sums: tuple[Sum, ...] = ()
    runs: tuple[str, ...] = ()
    """Runs whose lanes are wanted, as far as they are known."""
    worker: bytes | None = None
    """Who may claim a lane by it, and sweep what its holder before had reserved."""
    alone: bool = False
    """Whether it needs a transaction of its own: what it locks is only known on the way."""


NONE = Locks()
ALONE = Locks(alone=True)


def lane(of: Claim | NewRun) -> Place:
    """
    Return the lane of a claim or a run.
    """
    return (of.tenant, of.pipeline, of.lane)


def of(one: Claim | NewRun, caps: Iterable[Cap] = (), *, worker: bytes | None = None) -> Locks:
    """
    Return the locks of an operation on one lane, and on the budget rows of *caps*.
    """
    return Locks(places=(lane(one),), sums=tuple((cap.scope, cap.period) for cap in caps), worker=worker)
