"""
A pause is a shut gate that nobody probes: `pipeline:<name>`, with the time at which it ends by itself.
"""

from __future__ import annotations

from collections.abc import Sequence

from ledger import gates
from ledger.connection import Connection
from ledger.pausing import GATE, Pause, gate_of
from ledger.queries import queries

NEVER = 253_402_300_800_000  # UTC ms, the year 10000: a pause without an end


def begin(connection: Connection, pipeline: str, reason: str, *, until: int | None, now: int) -> None:
    """
    Pause *pipeline*, or change how long.
    """
    gates.shut(connection, gate_of(pipeline), reason, probe_at=NEVER if until is None else until, now=now)


def end(connection: Connection, pipeline: str, now: int) -> bool:
    """
    Let *pipeline* go on; False when it was not paused.
    """
    paused = any(pause.pipeline == pipeline for pause in present(connection, now))
    gates.reopen(connection, gate_of(pipeline), now)
    return paused


def present(connection: Connection, now: int) -> list[Pause]:
    """
    Return the pauses that hold now, the longest first.
    """
    return [
        Pause(
            pipeline=row["gate"].removeprefix(GATE),
            reason=row["reason"],
            since=row["since"],
            until=None if row["probe_at"] == NEVER else row["probe_at"],
        )
        for row in connection.execute(queries["pauses"], {"now": now})
    ]


def moving(connection: Connection, pipelines: Sequence[str], now: int) -> list[str]:
    """
    Return those of *pipelines* that are not paused; pauses whose time is over end here.
    """
    connection.execute(queries["end_pauses"], {"now": now})
    paused = {pause.pipeline for pause in present(connection, now)}
    return [name for name in pipelines if name not in paused]
