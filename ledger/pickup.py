"""
Picking up: which waiting heads may start now, and when there will be new ones.

One probe per shut gate comes first. Then, oldest run first, whatever has been due longest, was left by
a dead worker, or stands first behind an open gate.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ledger import claims, file, gates, holds, money, pauses
from ledger.claims import Claimant
from ledger.connection import Connection, Row
from ledger.contract import PickedUp
from ledger.queries import queries


def pick_up(connection: Connection, pipelines: Sequence[str], most: int, by: Claimant) -> list[PickedUp]:
    """
    Claim up to *most* heads of these pipelines.

    Repeated after a COMMIT of unknown fate, it gives up what it won the first time, and wins it again.
    """
    connection.execute(queries["abandon_token"], by._asdict() | {"nobody": file.NOBODY})
    gates.give_up_probes(connection, sent_before=by.now - gates.PROBE_LOST + 1)
    moving = pauses.moving(connection, pipelines, by.now)
    probing = _probes(connection, moving, by.now)[: max(0, most)]
    ready = sorted(_ready(connection, moving, most, by.now), key=lambda lane: lane["head_seq"])
    rest = ready[: most - len(probing)]
    connection.lock((), money.sums_under(connection, [*probing, *rest]))
    picked = [_probe(connection, lane, by) for lane in probing]
    return picked + [_pick(connection, lane, by) for lane in rest]


def pick_up_late(
    connection: Connection, pipeline: str, began_before: int, *, most: int, by: Claimant
) -> list[PickedUp]:
    """
    Claim up to *most* heads that were tried before that, and wait at the gate of an outage ever since.
    """
    connection.execute(queries["abandon_token"], by._asdict() | {"nobody": file.NOBODY})
    if not pauses.moving(connection, [pipeline], by.now):
        return []
    named = {"pipeline": pipeline, "before": began_before, "most": most}
    late = connection.execute(queries["late_lanes"], named).fetchall()
    connection.lock((), money.sums_under(connection, late))
    return [claims.pick(connection, lane, by, probe=False) for lane in late]


def next_due(connection: Connection, pipelines: Sequence[str], now: int) -> int | None:
    """
    Return the earliest time at which `pick_up` could find something; None when never.
    """
    paused = {pause.pipeline: pause.until for pause in pauses.present(connection, now)}
    moving = [pipeline for pipeline in pipelines if pipeline not in paused]
    times = [time for pipeline in moving for time in _times(connection, pipeline, now)]
    times += [until for pipeline, until in paused.items() if pipeline in pipelines and until is not None]
    return min(times, default=None)


def _probes(connection: Connection, pipelines: Sequence[str], now: int) -> list[Row]:
    """
    Return the oldest head at each shut gate whose probe is due.
    """
    oldest: dict[str, Row] = {}
    for pipeline in pipelines:
        for gate in _awaited(connection, pipeline):
            if gate["state"] == "shut" and gate["probe_at"] <= now:
                named = {"gate": gate["gate"], "pipeline": pipeline, "most": 1, "now": now}
                if connection.execute(queries["gate_to_probe"], named).fetchone() is None:
                    continue  # somebody else is about to
                lane = connection.execute(queries["gated_lanes"], named).fetchone()
                known = oldest.get(gate["gate"])
                if lane is not None and (known is None or lane["head_seq"] < known["head_seq"]):
                    oldest[gate["gate"]] = lane
    return list(oldest.values())


def _pick(connection: Connection, lane: Row, by: Claimant) -> PickedUp:
    picked = claims.pick(connection, lane, by, probe=False)
    if lane["gate"] is not None and picked.claim.reason == "hold":
        connection.execute(queries["let_through"], {"run": lane["head"], "gate": lane["gate"]})
    return picked


def _probe(connection: Connection, lane: Row, by: Claimant) -> PickedUp:
    connection.execute(queries["probe_gate"], {"gate": lane["gate"], "run": lane["head"], "now": by.now})
    return claims.pick(connection, lane, by, probe=True)


def _ready(connection: Connection, pipelines: Sequence[str], most: int, now: int) -> Iterator[Row]:
    yield from holds.ready(connection, pipelines, most, now)
    for pipeline in pipelines:
        named = {"pipeline": pipeline, "now": now, "most": most}
        yield from connection.execute(queries["due_lanes"], named)
        yield from connection.execute(queries["orphaned_lanes"], named)
        for gate in _awaited(connection, pipeline):
            if gate["state"] == "open":
                yield from connection.execute(queries["gated_lanes"], named | {"gate": gate["gate"]})


def _awaited(connection: Connection, pipeline: str) -> list[Row]:
    return connection.execute(queries["awaited_gates"], {"pipeline": pipeline}).fetchall()


def _times(connection: Connection, pipeline: str, now: int) -> Iterator[int]:
    named = {"pipeline": pipeline, "most": 1}
    due = connection.execute(queries["first_due"], named).fetchone()["due_at"]
    if due is not None:
        yield due
    if connection.execute(queries["orphaned_lane"], named).fetchone():
        yield now
    yield from holds.times(connection, pipeline, now)
    for gate in _awaited(connection, pipeline):
        if gate["state"] == "open":
            yield now
        elif gate["state"] == "shut":
            yield gate["probe_at"]
        else:
            yield gate["probing_at"] + gates.PROBE_LOST
