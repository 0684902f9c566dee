"""
Returns: how a run that ended, or stood aside, comes back. It takes a new place at its lane's tail.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from ledger import lanes
from ledger.connection import Connection, Row
from ledger.contract import Claim
from ledger.queries import queries
from ledger.returning import Decided, Newer, Prospect, Return, StepSketch


@dataclass(frozen=True, slots=True, kw_only=True)
class Word:
    """
    A decision: what, by whom, when.
    """

    what: str
    person: str
    now: int


def replay(connection: Connection, one: Return, word: Word, *, due_at: int) -> bool:
    """
    Put a final run back, unless it came back already or its event is gone; `again` raises its generation.
    """
    row = _standing(connection, one, "final")
    again = word.what == "again"
    if row is None or not row["kept"] or not (again or row["verdict"] == "dead"):
        return False
    _come_back(connection, one, row, word, {"reason": "replay", "due_at": due_at, "again": int(again)})
    return True


def decide(connection: Connection, one: Return, what: Decided, word: Word) -> bool:
    """
    Let a run that stands aside go on or end; False when it does not stand there any more.
    """
    row = _standing(connection, one, "aside")
    if row is None:
        return False
    named = {"run": bytes.fromhex(one.run), "generation": row["generation"], "now": word.now}
    if what == "discarded":
        connection.execute(queries["discard_run"], named | {"seq": one.seq})
        _keep(connection, one, word)
        return True
    if what == "delivered":
        believed = {"outcome": "delivered", "why": f"{word.person} saw that it took effect"}
        connection.execute(queries["believe_steps"], named | {"result": orjson.dumps(believed).decode()})
        connection.execute(queries["believe_writes"], named)
    elif what == "again":
        connection.execute(queries["clear_doubt"], named)
    come_back(connection, one, row, word)
    return True


def newer(connection: Connection, claim: Claim) -> Newer | None:
    """
    Return what later runs of the lane wrote; None when there are none, or the run need not give way.
    """
    row = connection.execute(queries["known_run"], lanes.values(claim)).fetchone()
    if row is None or not claim.overtakable:
        return None
    named = lanes.values(claim) | {"first_seq": row["first_seq"]}
    found = connection.execute(queries["newer_writes"], named).fetchall()
    if not found:
        return None
    targets = {(each["connection"], each["record"]) for each in found if each["connection"] is not None}
    return Newer(run=found[0]["run"].hex(), targets=frozenset(targets))


def prospects(connection: Connection, runs: Sequence[str]) -> list[Prospect]:
    """
    Return what each of *runs* would meet.
    """
    rows = (connection.execute(queries["prospect"], {"run": bytes.fromhex(run)}).fetchone() for run in runs)
    return [_prospect(connection, row) for row in rows if row is not None]


def _prospect(connection: Connection, row: Row) -> Prospect:
    named = {name: row[name] for name in row.keys()}  # noqa: SIM118 # a Row iterates over values
    later = connection.execute(queries["newest_run"], named).fetchone()
    steps = connection.execute(queries["sketch_steps"], named).fetchall()
    plain = ("step", "kind", "state", "input_hash")
    return Prospect(
        run=row["run"].hex(),
        kept=bool(row["kept"]),
        newer=later["run"].hex() if later else None,
        steps=tuple(StepSketch(action_class=s["class"], **{name: s[name] for name in plain}) for s in steps),
    )


def _standing(connection: Connection, one: Return, state: str) -> Row | None:
    """
    Return the run if it is still as it was when somebody looked at it.
    """
    row = connection.execute(queries["known_return"], {"run": bytes.fromhex(one.run)}).fetchone()
    stands = row is not None and row["state"] == state and row["seq"] == one.seq
    return row if stands else None


def come_back(connection: Connection, one: Return, row: Row, word: Word) -> None:
    """
    Let a run go on that stood aside, at its lane's tail; *row* is what is known of it.
    """
    _come_back(connection, one, row, word, {"reason": "decided", "due_at": word.now, "again": 0})


def _come_back(connection: Connection, one: Return, row: Row, word: Word, how: dict[str, Any]) -> None:
    place = lanes.tick(connection)
    named = {name: row[name] for name in ("tenant", "pipeline", "lane")} | {"run": bytes.fromhex(one.run)}
    coming = named | how | {"place": place, "seq": one.seq, "insist": int(one.insist)}
    connection.execute(queries["return_run"], coming)
    if connection.execute(queries["lane"], named).fetchone() is None:
        unheld = {"fence": 0, "worker": None, "token": None, "seq": place, "due_at": how["due_at"], "gate": None}
        connection.execute(queries["add_lane"], named | unheld)
    _keep(connection, one, word)


def _keep(connection: Connection, one: Return, word: Word) -> None:
    named = {"run": bytes.fromhex(one.run), "seq": one.seq, "insist": int(one.insist)}
    said = {"what": word.what, "person": word.person, "now": word.now}
    connection.execute(queries["keep_decision"], named | said)
