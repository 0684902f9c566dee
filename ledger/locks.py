"""
What an operation must have for itself while it runs, named before its transaction begins.

A batch takes the lanes of all its operations in one order, then the budget rows of all of them in one
order: two batches can wait for each other, but never in a circle. SQLite has one writer, and takes none.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from ledger.contract import Cap, Claim, NewRun

Place = tuple[str, str, str]
"""
A lane: tenant, pipeline, key.
"""
Sum = tuple[str, str]
"""
A budget row: scope, period.
"""
Ask = tuple[str, Mapping[str, Any]]
"""
The name of a statement, and what it is asked with.
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
    asks: Callable[[], tuple[Ask, ...]] = tuple
    """What it will ask beside the state of its lanes and budget rows; PostgreSQL is asked for the whole batch at once."""


NONE = Locks()
ALONE = Locks(alone=True)


def lane(of: Claim | NewRun) -> Place:
    """
    Return the lane of a claim or a run.
    """
    return (of.tenant, of.pipeline, of.lane)


def of(
    one: Claim | NewRun,
    caps: Iterable[Cap] = (),
    *,
    worker: bytes | None = None,
    asks: Callable[[], tuple[Ask, ...]] = tuple,
) -> Locks:
    """
    Return the locks of an operation on one lane, and on the budget rows of *caps*.
    """
    sums = tuple((cap.scope, cap.period) for cap in caps)
    return Locks(places=(lane(one),), sums=sums, worker=worker, asks=asks)
