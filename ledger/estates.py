"""
Handing over or ending what a pipeline left.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ledger import claims, money, returns, runs
from ledger.claims import Claimant
from ledger.connection import Connection, Row
from ledger.pausing import gate_of
from ledger.queries import queries
from ledger.returning import Return
from ledger.returns import Word
from ledger.runs import End
from penstock.errors import Invalid

MOST = 100  # lanes, or runs that stand aside, in one transaction
_TABLES = ("lanes", "writes", "reservations", "positions", "cache", "pairs", "lineage", "fuses", "runs")


def adopt(connection: Connection, old: str, new: str) -> int:
    """
    Give everything of *old* to *new*; return how many runs.
    """
    named = {"old": old, "new": new, "old_gate": gate_of(old), "new_gate": gate_of(new)}
    shared = connection.execute(queries["shared_lane"], named).fetchone()
    if shared is not None:
        message = f"pipelines {old!r} and {new!r} both have runs in lane {shared['lane']!r}"
        hint = f"stop the hubs that still run {old}, and let {new} work its runs off first"
        raise Invalid(message, hint=hint)
    _rename_gate(connection, named)
    moved = [connection.execute(queries["adopt_" + table], named).rowcount for table in _TABLES]
    return moved[-1]


def _rename_gate(connection: Connection, named: Mapping[str, Any]) -> None:
    if connection.execute(queries["adopt_gate"], named).rowcount == 0:
        return
    for table in ("runs", "lanes"):
        connection.execute(queries[f"adopt_gate_of_{table}"], named)


def discard_lanes(connection: Connection, pipeline: str, by: Claimant, why: str) -> int:
    """
    End the heads of some lanes that no live worker holds; return how many.
    """
    found = connection.execute(queries["left_lanes"], {"pipeline": pipeline, "most": MOST}).fetchall()
    connection.lock((), money.sums_under(connection, found))
    for lane in found:
        _discard(connection, lane, by, why)
    return len(found)


def discard_aside(connection: Connection, pipeline: str, word: Word) -> int:
    """
    End some runs that stand aside; return how many.
    """
    found: Sequence[Row] = connection.execute(queries["left_aside"], {"pipeline": pipeline, "most": MOST}).fetchall()
    for row in found:
        returns.decide(connection, Return(run=row["run"].hex(), seq=row["seq"]), "discarded", word)
    return len(found)


def _discard(connection: Connection, lane: Row, by: Claimant, why: str) -> None:
    claim = claims.take(connection, claims.head_of(connection, lane, by.now), by)
    end = End(verdict="discarded", why=why, body=None, failed=None, superseded_by=None, now=by.now)
    runs.finish(connection, claim, end)
