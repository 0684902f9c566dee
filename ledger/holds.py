"""
Budget gates: runs wait there in order, and whoever looks finds how many fit now.

Nothing is opened or shut. The room at a gate is what the cap leaves, less what the runs may need that were
let through and have not reserved yet: so money that comes back, a new period and a raised limit all show
at the next look, and no run is woken in vain.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ledger import alerts, lanes, runs
from ledger.connection import Connection, Row
from ledger.contract import Cap, Claim
from ledger.limits import CapReached, Hold, gate_of
from ledger.queries import queries
from ledger.runs import Until

FEW = 32  # runs let through at one look


def put(connection: Connection, claim: Claim, body: bytes, cap: Cap, *, need: int | None, why: str, now: int) -> None:
    """
    Let *claim*'s run wait at the gate of *cap*.
    """
    gate = gate_of(cap.scope)
    runs.wait(connection, claim, body, Until(reason="hold", why=why, gate=gate), now)
    connection.execute(queries["join_hold" if need is None else "keep_hold"], _values(cap, need or 0) | {"now": now})
    row = connection.execute(queries["budget"], {"scope": cap.scope, "period": cap.period}).fetchone()
    if row is not None and need is not None and row["spent"] + need > cap.limit:
        alerts.reached(connection, cap, row, now)


def queue(connection: Connection, claim: Claim, cap: Cap, amount: int, money: tuple[int, int]) -> None:
    """
    Raise `CapReached` when others wait for the money of *cap*, and *claim* was neither let through nor paid before.
    """
    if connection.execute(queries["held_before"], {"gate": gate_of(cap.scope)}).fetchone() is None:
        return
    if connection.execute(queries["may_overtake"], lanes.values(claim)).fetchone() is None:
        spent, reserved = money
        raise CapReached(cap, amount=amount, spent=spent, reserved=reserved, waiting=True)


def passed(connection: Connection, claim: Claim, caps: Sequence[Cap], amount: int) -> None:
    """
    Note that a run that waited has reserved: the next one may need as much.
    """
    if claim.reason == "hold":
        connection.execute(queries["got_through"], lanes.values(claim))
        for cap in caps:
            connection.execute(queries["follow_hold"], _values(cap, amount))


def ready(connection: Connection, pipelines: Sequence[str], most: int, now: int) -> Iterator[Row]:
    """
    Yield the lanes whose heads may pass their gate now: of each gate the oldest, as many as fit.
    """
    found: dict[str, Row] = {}
    for pipeline in pipelines:
        for hold in _ready(connection, pipeline, most, now):
            found[hold["gate"]] = hold
    for hold in found.values():
        room = min(_room(hold, now), most)
        named = ({"gate": hold["gate"], "pipeline": pipeline, "most": room} for pipeline in pipelines if room)
        waiting = [lane for one in named for lane in connection.execute(queries["gated_lanes"], one).fetchall()]
        yield from sorted(waiting, key=lambda lane: lane["head_seq"])[:room]


def times(connection: Connection, pipeline: str, now: int) -> Iterator[int]:
    """
    Yield when a gate at which runs of *pipeline* wait lets something through: now, or with its next period.
    """
    until = connection.execute(queries["next_hold"], {"pipeline": pipeline}).fetchone()["until"]
    if until is None:
        return
    yield max(until, now + 1)
    if any(_room(hold, now) for hold in _ready(connection, pipeline, FEW, now)):
        yield now


def limit(connection: Connection, limits: Mapping[str, int | None]) -> None:
    """
    Give gates other limits, or none.
    """
    for gate, cap in sorted(limits.items()):
        connection.execute(queries["lift_hold" if cap is None else "limit_hold"], {"gate": gate, "cap": cap})


def waited_at(connection: Connection, pipelines: Sequence[str] | None) -> list[Hold]:
    """
    Return the gates at which runs wait, of these pipelines or of all.
    """
    if pipelines is None:
        found = connection.execute(queries["list_holds"]).fetchall()
    else:
        named = ({"pipeline": pipeline} for pipeline in pipelines)
        found = [row for one in named for row in connection.execute(queries["holds_of"], one).fetchall()]
    return [
        Hold(
            gate=row["gate"],
            scope=row["scope"],
            period=row["period"],
            limit=row["cap"],
            need=row["need"],
            until=row["until"],
            since=row["since"],
        )
        for row in found
    ]


def _ready(connection: Connection, pipeline: str, most: int, now: int) -> list[Row]:
    named = {"pipeline": pipeline, "now": now, "most": max(0, most)}
    return connection.execute(queries["ready_holds"], named).fetchall()


def _room(hold: Row, now: int) -> int:
    """
    Return how many more runs may pass a gate now.
    """
    over = hold["until"] <= now  # the old period's money says nothing about the new one
    spent, reserved = (0, 0) if over else (hold["spent"], hold["reserved"])
    left = int(hold["cap"]) - spent
    if hold["cap"] < hold["need"] or (hold["at_limit"] == "drop" and left < hold["need"]):
        return FEW  # waiting cannot help: they come to their end
    need = max(1, int(hold["need"]))
    return max(0, min(FEW, (left - reserved) // need - int(hold["passing"])))


def _values(cap: Cap, need: int) -> dict[str, Any]:
    return {
        "gate": gate_of(cap.scope),
        "scope": cap.scope,
        "period": cap.period,
        "cap": cap.limit,
        "need": need,
        "at_limit": cap.at_limit,
        "until": cap.ends_at,
    }
