"""
Runs: their rows, and every way in which one stops running.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from ledger import batches, deaths, drafts, lanes
from ledger.connection import Connection
from ledger.contract import Claim, Known, NewRun
from ledger.queries import queries
from ledger.returning import Failure
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
        "user": new.user,
    }


_NAMES = ("reason", "due_at", "gate", "verdict", "error", "failed_step", "started_at", "finished_at")
_NOTHING_YET: dict[str, Any] = dict.fromkeys(_NAMES) | {"deaths": 0}


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
    died = {"failed_step": "trigger", "deaths": 1} if verdict == "dead" else {}
    add(connection, new, seq=seq, state="final", now=now, verdict=verdict, error=why, finished_at=now, **died)
    if body is not None:
        connection.execute(queries["keep_body"], lanes.values(new) | {"body": body})
    if died:
        deaths.announce(connection, new.run, now)


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
    named = lanes.values(claim) | asdict(until) | {"state": "waiting", "body": body, "attempt": int(until.attempt)}
    if until.reason == "batch" and not batches.waits(connection, named["run"]):
        named["due_at"] = now  # its answer came while it was on its way here
    connection.execute(queries["put_run_off"], named)
    connection.execute(queries["keep_body"], named)
    if until.reason in ("hold", "batch"):
        connection.execute(queries["forget_start"], named)
    due_at, gate = lanes.mirror(named["due_at"], until.gate, now)
    connection.execute(queries["leave_lane"], named | {"due_at": due_at, "gate": gate})
    connection.execute(queries["end_probe"], named | {"probe_at": now + _PROBE_AGAIN})


def rerun(connection: Connection, claim: Claim, body: bytes, *, why: str, now: int) -> None:
    """
    Let *claim*'s run begin anew in a further generation. It keeps its lane, and what it has paid stays paid.
    """
    if _again(connection, claim, "waiting"):
        return
    # It keeps its place, so it is kept below zero: decisions of people are kept by the places they gave.
    said = {"seq": -claim.generation - 1, "what": "changed", "insist": 0, "person": "", "now": now}
    connection.execute(queries["raise_generation"], lanes.values(claim))
    connection.execute(queries["keep_decision"], lanes.values(claim) | said)
    wait(connection, claim, body, Until(reason="changed", why=why, due_at=now), now)


def aside(connection: Connection, claim: Claim, body: bytes, *, reason: str, why: str, now: int) -> None:
    """
    Put *claim*'s run aside for a person; its lane goes on without it.
    """
    if _again(connection, claim, "aside"):
        return
    if reason == "approval" and drafts.decided(connection, bytes.fromhex(claim.run)):
        wait(connection, claim, body, Until(reason="decided", why=why, due_at=now), now)  # somebody was quicker
        return
    named = lanes.values(claim) | {"state": "aside", "reason": reason, "why": why, "attempt": 0}
    following = lanes.following(connection, named)
    connection.execute(queries["put_run_off"], named | {"due_at": None, "gate": None})
    connection.execute(queries["keep_body"], named | {"body": body})
    lanes.pass_on(connection, named, following, now)
    connection.execute(queries["end_probe"], named | {"probe_at": now})


@dataclass(frozen=True, slots=True, kw_only=True)
class End:
    """
    How a run ends.
    """

    verdict: Verdict
    why: str | None
    body: bytes | None
    failed: Failure | None
    superseded_by: str | None
    now: int

    def named(self) -> dict[str, Any]:
        """
        Return what its statements need.
        """
        return {
            "verdict": self.verdict,
            "why": self.why,
            "now": self.now,
            "died": int(self.verdict == "dead"),
            "failed_step": self.failed.step if self.failed else None,
            "failed_under": self.failed.config_hash if self.failed else None,
            "superseded_by": bytes.fromhex(self.superseded_by) if self.superseded_by else None,
        }


def finish(connection: Connection, claim: Claim, end: End, before: Callable[[Connection], None] | None = None) -> bool:
    """
    Make *claim*'s run final and give its lane to the next, after *before*; return whether there is none.

    The event stays when it is given, or when the run is dead and may be replayed.
    """
    if _again(connection, claim, "final"):
        return False
    if before is not None:
        before(connection)
    now, named = end.now, lanes.values(claim) | end.named()
    following = lanes.following(connection, named)
    connection.execute(queries["end_run"], named)
    if end.body is not None:
        connection.execute(queries["keep_body"], named | {"body": end.body})
    elif end.verdict != "dead":
        connection.execute(queries["forget_bodies"], named)
    if end.verdict == "dead":
        deaths.announce(connection, claim.run, now)
    lanes.pass_on(connection, named, following, now)
    if not claim.new:  # what never waited is nobody's probe
        connection.execute(queries["end_probe"], named | {"probe_at": now})
    return following is None


def _again(connection: Connection, claim: Claim, state: State) -> bool:
    """
    Say whether this very claim put its run into *state* already: a COMMIT of unknown fate was repeated.

    Raises `Fenced` when it did not, and holds its lane no longer.
    """
    if lanes.holds(connection, claim):
        return False
    row = connection.execute(queries["known_run"], lanes.values(claim)).fetchone()
    if row is None or row["state"] != state or row["fence"] != claim.fence:
        raise lanes.fenced(claim)
    return True
