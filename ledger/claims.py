"""
Claims: how a run gets its lane, and what happens to the traces of whoever held it before.

All conditions are on the lane's row, so no two claims can both see the lane free.
"""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

from ledger import file, lanes, money, runs, steps
from ledger.connection import Connection, Row
from ledger.contract import Busy, Claim, Known, NewRun, PickedUp
from ledger.queries import queries
from ledger.runs import Until


class Claimant(NamedTuple):
    """
    Who claims, when, and the id of this attempt: repeated, it finds what it won.
    """

    worker: bytes
    token: bytes
    now: int


def claim(connection: Connection, new: NewRun, by: Claimant) -> Claim | Known | Busy:
    """
    Take the lane for *new*: it must be free, or its holder dead and at work on this very run.
    """
    known = runs.known(connection, new.run)
    lane = connection.execute(queries["lane"], lanes.values(new)).fetchone()
    if known is None:
        return _start(connection, new, by) if lane is None else Busy()
    if lane is not None and known.state == "running" and lane["token"] == by.token:
        return _claim_of(connection, new, lane["fence"])
    connection.execute(queries["count_delivery"], lanes.values(new))
    if known.state != "running":
        return known
    if lane is None or lane["holder"] == "alive":
        return Busy()
    return take(connection, _claim_of(connection, new, lane["fence"]), by)


def admit(connection: Connection, new: NewRun, body: bytes, until: Until, now: int) -> None:
    """
    Store *new* and its event at its lane's tail; of a run that exists and is not final, the event only.
    """
    named = lanes.values(new)
    known = runs.known(connection, new.run)
    if known is None:
        seq = lanes.tick(connection)
        when = {"reason": until.reason, "due_at": until.due_at, "gate": until.gate}
        runs.add(connection, new, seq=seq, state="waiting", now=now, **when)
        if connection.execute(queries["lane"], named).fetchone() is None:
            due_at, gate = lanes.mirror(until.due_at, until.gate, now)
            unheld = {"fence": 0, "worker": None, "token": None, "seq": seq, "due_at": due_at, "gate": gate}
            connection.execute(queries["add_lane"], named | unheld)
    if known is None or known.state != "final":
        connection.execute(queries["keep_body"], named | {"body": body})


def take(connection: Connection, old: Claim, by: Claimant) -> Claim:
    """
    Move the fence of *old*'s lane and start its head under the new one.

    What the holder before left open ends here: its reservations are spent, its steps unknown.
    """
    new = replace(old, fence=lanes.tick(connection))
    named = lanes.values(new) | by._asdict()
    connection.execute(queries["take_lane"], named)
    connection.execute(queries["start_run"], named)
    money.sweep(connection, new, by.now)
    steps.doubt(connection, new)
    return new


def pick(connection: Connection, lane: Row, by: Claimant, *, probe: bool) -> PickedUp:
    """
    Claim the head of a waiting or orphaned lane, with its event.
    """
    body = connection.execute(queries["body"], {"run": lane["head"]}).fetchone()["body"]
    claim = take(connection, head_of(connection, lane, by.now), by)
    return PickedUp(claim=claim, body=body, gate=lane["gate"], probe=probe)


def head_of(connection: Connection, lane: Row, now: int) -> Claim:
    """
    Return the head of a lane as a claim that holds nothing yet.
    """
    head = connection.execute(queries["known_run"], {"run": lane["head"]}).fetchone()
    return Claim(
        run=lane["head"].hex(),
        tenant=lane["tenant"],
        pipeline=lane["pipeline"],
        lane=lane["lane"],
        fence=0,
        generation=head["generation"],
        attempts=head["attempts"],
        reason=head["reason"],
        came_back=head["seq"] != head["first_seq"],
        insist=bool(head["insist"]),
        began_at=now if head["started_at"] is None else head["started_at"],
        queued_at=(head["bus_time"] or None) if head["started_at"] is None and head["reason"] == "behind" else None,
        burst=lanes.burst_of(head),
    )


def abandon(connection: Connection, claim: Claim) -> None:
    """
    Give *claim* up without an end, as if its worker had died: nobody was there to be told of it.
    """
    connection.execute(queries["abandon_lane"], lanes.values(claim) | {"nobody": file.NOBODY})


def _start(connection: Connection, new: NewRun, by: Claimant) -> Claim:
    fence = lanes.tick(connection)
    runs.add(connection, new, seq=fence, state="running", now=by.now, fence=fence, started_at=by.now)
    shown = {"fence": fence, "seq": fence, "due_at": None, "gate": None}
    connection.execute(queries["add_lane"], lanes.values(new) | by._asdict() | shown)
    return Claim(
        run=new.run,
        tenant=new.tenant,
        pipeline=new.pipeline,
        lane=new.lane,
        fence=fence,
        generation=0,
        attempts=0,
        began_at=by.now,
        queued_at=new.bus_time or None,
        new=True,
    )


def _claim_of(connection: Connection, new: NewRun, fence: int) -> Claim:
    row = connection.execute(queries["known_run"], lanes.values(new)).fetchone()
    return Claim(
        run=new.run,
        tenant=new.tenant,
        pipeline=new.pipeline,
        lane=new.lane,
        fence=fence,
        generation=row["generation"],
        attempts=row["attempts"],
        came_back=row["seq"] != row["first_seq"],
        insist=bool(row["insist"]),
        began_at=row["started_at"],
        burst=lanes.burst_of(row),
    )
