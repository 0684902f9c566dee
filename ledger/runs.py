"""
Runs: their rows, and every way in which one stops running.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from ledger import lanes
from ledger.connection import Connection
from ledger.contract import Claim, Known, NewRun
from ledger.queries import queries
from schemas.entries import State, Verdict, WaitReason

_PROBE_AGAIN = 5_000  # ms until the next probe when one came back without a word about its gate
_MOST_NAMES = 500  # run ids per statement


def known(connection: Connection, run: str) -> Known | None:
    """
    Return what the ledger knows of *run*, also after its details were pruned.
    """
    named = {"run": bytes.fromhex(run)}
    if row := connection.execute(queries["known_run"], named).fetchone():
        return Known(state=row["state"], verdict=row["verdict"], body_hash=row["body_hash"])
    if row := connection.execute(queries["known_before"], named).fetchone():
        return Known(state="final", verdict=row["verdict"], body_hash=row["body_hash"])
    return None


def recognise(connection: Connection, runs: Sequence[str]) -> dict[str, Known]:
    """
    Return what is known of each of *runs*; unknown ones are absent.
    """
    found: dict[str, Known] = {}
    for start in range(0, len(runs), _MOST_NAMES):
        names = [bytes.fromhex(run) for run in runs[start : start + _MOST_NAMES]]
        marks = ",".join("?" * len(names))
        for row in connection.execute(queries["recognise"].replace(":runs", marks), names + names):
            found[row["run"].hex()] = Known(state=row["state"], verdict=row["verdict"], body_hash=row["body_hash"])
    return found


def add(connection: Connection, new: NewRun, *, seq: int, state: State, now: int, **more: Any) -> None:
    """
    Insert a run; *more* are columns that its state needs.
    """
    first = {"seq": seq, "state": state, "now": now, "fence": 0}
    connection.execute(queries["add_run"], _NOTHING_YET | columns(new) | first | more)


def columns(new: NewRun) -> dict[str, Any]:
    """
    Return what a run's row takes from its event.
    """
    return lanes.values(new) | {
        "source": new.source,
        "event_id": new.event_id,
        "subject": new.subject,
        "body_hash": new.body_hash,
        "config_hash": new.config_hash,
        "topic": new.topic,
        "part": new.partition,
        "off": new.offset,
        "bus_time": new.bus_time,
    }


_NOTHING_YET = dict.fromkeys(("reason", "due_at", "gate", "verdict", "error", "started_at", "finished_at"))


def conclude(
    connection: Connection, new: NewRun, verdict: Verdict, *, why: str | None, body: bytes | None, now: int
) -> None:
    """
    Insert a run that is final from the start; one that exists is counted as delivered again.
    """
    if known(connection, new.run) is not None:
        connection.execute(queries["count_delivery"], lanes.values(new))
        return
    seq = lanes.tick(connection)
    add(connection, new, seq=seq, state="final", now=now, verdict=verdict, error=why, finished_at=now)
    if body is not None:
        connection.execute(queries["keep_body"], lanes.values(new) | {"body": body})


@dataclass(frozen=True, slots=True, kw_only=True)
class Until:
    """
    What a run waits for.
    """

    reason: WaitReason
    why: str | None = None
    due_at: int | None = None
    gate: str | None = None
    attempt: bool = False
    """Whether this counts as a failed attempt of the event itself."""


def wait(connection: Connection, claim: Claim, body: bytes, until: Until, now: int) -> None:
    """
    Put *claim*'s run off: it keeps its lane, for a time or at a gate.
    """
    if _again(connection, claim, "waiting"):
        return
    lanes.hold(connection, claim)
    named = lanes.values(claim) | asdict(until) | {"state": "waiting", "body": body, "attempt": int(until.attempt)}
    connection.execute(queries["put_run_off"], named)
    connection.execute(queries["keep_body"], named)
    due_at, gate = lanes.mirror(until.due_at, until.gate, now)
    connection.execute(queries["leave_lane"], named | {"due_at": due_at, "gate": gate})
    connection.execute(queries["end_probe"], named | {"probe_at": now + _PROBE_AGAIN})


def aside(connection: Connection, claim: Claim, body: bytes, *, reason: str, why: str, now: int) -> None:
    """
    Put *claim*'s run aside for a person; its lane goes on without it.
    """
    if _again(connection, claim, "aside"):
        return
    lanes.hold(connection, claim)
    named = lanes.values(claim) | {"state": "aside", "reason": reason, "why": why, "attempt": 0}
    connection.execute(queries["put_run_off"], named | {"due_at": None, "gate": None})
    connection.execute(queries["keep_body"], named | {"body": body})
    lanes.pass_on(connection, claim, now)
    connection.execute(queries["end_probe"], named | {"probe_at": now})


def finish(
    connection: Connection, claim: Claim, verdict: Verdict, *, why: str | None, body: bytes | None, now: int
) -> None:
    """
    Make *claim*'s run final and give its lane to the next.

    The event stays when it is given, or when the run is dead and may be replayed.
    """
    if _again(connection, claim, "final"):
        return
    lanes.hold(connection, claim)
    named = lanes.values(claim) | {"verdict": verdict, "why": why, "now": now}
    connection.execute(queries["end_run"], named)
    if body is not None:
        connection.execute(queries["keep_body"], named | {"body": body})
    elif verdict != "dead":
        connection.execute(queries["forget_bodies"], named)
    lanes.pass_on(connection, claim, now)
    connection.execute(queries["end_probe"], named | {"probe_at": now})


def _again(connection: Connection, claim: Claim, state: State) -> bool:
    """
    Say whether this very claim put its run into *state* already: a COMMIT of unknown fate was repeated.
    """
    row = connection.execute(queries["known_run"], lanes.values(claim)).fetchone()
    return row is not None and row["state"] == state and row["fence"] == claim.fence
