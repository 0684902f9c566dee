"""
Settling: a run waits for the pause after a burst, and takes the place of the members before it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from functools import reduce
from typing import Any

import orjson

from ledger import claims, lanes, runs
from ledger.bursts import Burst
from ledger.connection import Connection, Row
from ledger.contract import NewRun
from ledger.queries import queries
from ledger.runs import Until


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """
    How one event joins a burst.
    """

    due_at: int
    """UTC ms at which it runs when nothing follows."""
    until: int
    """UTC ms at which the burst ends at the latest, when this is its first event."""
    changed: tuple[str, ...] = ()


def join(connection: Connection, new: NewRun, body: bytes, member: Member, now: int) -> None:
    """
    Let *new* stand for the burst of its lane; of a run that exists, only the event is kept.
    """
    if runs.known(connection, new.run) is not None:  # delivered again: neither its time nor its burst changes
        claims.admit(connection, new, body, Until(reason="settle"), now)
        return
    named = lanes.values(new)
    why = f"run {new.run[:12]} stands for it: a newer event of the same burst"
    older = connection.execute(queries["supersede"], named | {"now": now, "why": why}).fetchall()
    until = min([member.until, *(row["burst_until"] for row in older)])
    due_at = min(member.due_at, until)
    claims.admit(connection, new, body, Until(reason="settle", due_at=due_at), now)
    burst = {
        "first_due": min([due_at, *(row["first_due"] for row in older)]),
        "until": until,
        "burst": orjson.dumps(asdict(_together(older, member))).decode(),
    }
    connection.execute(queries["stand_for_burst"], named | burst)
    _show_head(connection, new, older, now)


def hurry(connection: Connection, named: dict[str, Any]) -> None:
    """
    Let the bursts of a pipeline end at `due_at` at the latest.
    """
    connection.execute(queries["hurry_lanes"], named)  # lanes before runs, as everybody does
    connection.execute(queries["hurry_runs"], named)


def _together(older: Iterable[Row], member: Member) -> Burst:
    before = [lanes.burst_of(row) or Burst() for row in sorted(older, key=lambda row: row["seq"])]
    return reduce(Burst.followed_by, [*before, Burst(changed=member.changed)])


def _show_head(connection: Connection, new: NewRun, gone: Iterable[Row], now: int) -> None:
    """
    Give the lane its new head when the one it shows was superseded.
    """
    lane = connection.execute(queries["lane"], lanes.values(new)).fetchone()
    if any(row["run"] == lane["head"] for row in gone):
        named = lanes.values(new) | {"fence": lane["fence"], "run": lane["head"]}
        lanes.pass_on(connection, named, lanes.following(connection, named), now)
