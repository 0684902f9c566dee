"""
The lane (tenant, pipeline, key): who works on it, and what is its head.
"""

from __future__ import annotations

from typing import Any

import orjson

from ledger.bursts import Burst
from ledger.connection import Connection, Row
from ledger.contract import Claim, NewRun
from ledger.queries import queries
from penstock.errors import Fenced


def tick(connection: Connection) -> int:
    """
    Return a number larger than every one before: a fence, or a place in a lane.
    """
    return int(connection.execute(queries["tick"]).fetchone()[0])


def values(of: Claim | NewRun) -> dict[str, Any]:
    """
    Return what names a run and its lane in statements; the fence too when it is claimed.
    """
    named: dict[str, Any] = {
        "run": bytes.fromhex(of.run),
        "tenant": of.tenant,
        "pipeline": of.pipeline,
        "lane": of.lane,
    }
    if isinstance(of, Claim):
        named["fence"] = of.fence
    return named


def holds(connection: Connection, claim: Claim) -> bool:
    """
    Say whether *claim* still holds its lane.
    """
    named = values(claim)
    lane = connection.execute(queries["lane"], named).fetchone()
    if lane is None or lane["worker"] is None:
        return False
    return bool(lane["fence"] == claim.fence and lane["head"] == named["run"])


def hold(connection: Connection, claim: Claim) -> None:
    """
    Raise `Fenced` unless *claim* still holds its lane.
    """
    if not holds(connection, claim):
        raise fenced(claim)


def fenced(claim: Claim) -> Fenced:
    """
    Return the error of a claim that holds its lane no longer.
    """
    return Fenced(f"run {claim.run} no longer holds lane {claim.lane!r} of {claim.pipeline!r} (fence {claim.fence})")


def following(connection: Connection, named: dict[str, Any]) -> Row | None:
    """
    Return the oldest run that holds the lane of *named*, beside the run of it.
    """
    row: Row | None = connection.execute(queries["next_of_lane"], named).fetchone()
    return row


def pass_on(connection: Connection, named: dict[str, Any], following: Row | None, now: int) -> None:
    """
    Show *following* as the head of the lane, or delete the lane when there is none.
    """
    if following is None:
        connection.execute(queries["drop_lane"], named)
        return
    due_at, gate = mirror(following["due_at"], following["gate"], now)
    named |= {"head": following["run"], "seq": following["seq"], "due_at": due_at, "gate": gate}
    connection.execute(queries["pass_lane"], named)


def mirror(due_at: int | None, gate: str | None, now: int) -> tuple[int | None, str | None]:
    """
    Return what a lane shows of its head: a gate, else a due time, which is now for one that was behind.
    """
    if gate is not None:
        return None, gate
    return (now if due_at is None else due_at), None


def burst_of(run: Row) -> Burst | None:
    """
    Return what a run's row stands for; None when it never settled.
    """
    if run["burst"] is None:
        return None
    kept = orjson.loads(run["burst"])
    return Burst(count=kept["count"], changed=tuple(kept["changed"]))
