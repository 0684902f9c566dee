"""
Deaths: what is kept of a run that failed for good, and the letter that tells others of it.
"""

from __future__ import annotations

import hashlib
from typing import Any

import orjson

from ledger import outbox
from ledger.connection import Connection
from ledger.queries import queries

KIND = "dead"  # of the parcels


def letter_id(run: str, death: int) -> str:
    """
    Return the id of a run's dead letter: the same for the same death, another for the next.
    """
    return hashlib.sha256(f"dead\x00{run}\x00{death}".encode()).hexdigest()[:32]


def announce(connection: Connection, run: str, now: int) -> None:
    """
    Leave the dead letter of a run that has just died: everything others need, also when its details are gone.
    """
    named = {"run": bytes.fromhex(run)}
    row = connection.execute(queries["dead_run"], named).fetchone()
    kept = connection.execute(queries["body"], named).fetchone()
    told: dict[str, Any] = {name: row[name] for name in row.keys()}  # noqa: SIM118 # a Row iterates over values
    told |= {"run": run, "attempt": told.pop("attempts") + 1}
    told["event"] = None if kept is None else bytes(kept["body"]).decode(errors="replace")
    outbox.put(connection, parcel=letter_id(run, row["deaths"]), kind=KIND, body=orjson.dumps(told), now=now)
