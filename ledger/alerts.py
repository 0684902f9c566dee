"""
Alerts: each threshold of a budget is reported once in a period, in the transaction that passes it; a gate that shuts
because we are refused is reported once until it opens.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

import orjson

from ledger import outbox
from ledger.connection import Connection, Row
from ledger.contract import Cap
from ledger.queries import queries

ALERT = "alert"
"""
Kind of parcel.
"""
REFUSED = "refused"
"""
Kind of those about gates.
"""
WHOLE = "100%"
OVERRUN = "overrun"


def spent(connection: Connection, scope: str, period: str, *, amount: int, booked: int, now: int) -> None:
    """
    Report what a call passed that may have cost *amount* and did cost *booked*.

    The whole is reached when what is left buys no other call like it.
    """
    row = connection.execute(queries["budget"], {"scope": scope, "period": period}).fetchone()
    if row is None or not row["cap"]:
        return
    for threshold in _passed(row, amount, booked):
        _add(connection, scope, period, threshold, row, now)


def reached(connection: Connection, cap: Cap, row: Row, now: int) -> None:
    """
    Report that a call did not fit under *cap* any more.
    """
    _add(connection, cap.scope, cap.period, WHOLE, row, now)


def refused(connection: Connection, gate: str, reason: str, *, since: int, now: int) -> None:
    """
    Report that *gate* is shut since then because what is behind it refuses us: a person has to see to it.
    """
    parcel = hashlib.sha256(f"{REFUSED}\x00{gate}\x00{since}".encode()).hexdigest()[:32]
    told = {"gate": gate, "reason": reason, "at": since}
    outbox.put(connection, parcel=parcel, kind=REFUSED, body=orjson.dumps(told), now=now)


def _passed(row: Row, amount: int, booked: int) -> Iterator[str]:
    for share in orjson.loads(row["alert_at"]):
        if row["spent"] >= share * row["cap"]:
            yield f"{share * 100:g}%"
    if row["spent"] + amount > row["cap"]:
        yield WHOLE
    if booked > amount:
        yield OVERRUN


def _add(connection: Connection, scope: str, period: str, threshold: str, row: Row, now: int) -> None:
    named = {"scope": scope, "period": period, "threshold": threshold, "now": now}
    if connection.execute(queries["add_alert"], named).fetchone() is None:
        return
    parcel = hashlib.sha256(f"{ALERT}\x00{scope}\x00{period}\x00{threshold}".encode()).hexdigest()[:32]
    told = {"scope": scope, "period": period, "threshold": threshold, "at": now}
    money = {"spent": row["spent"], "reserved": row["reserved"], "limit": row["cap"]}
    outbox.put(connection, parcel=parcel, kind=ALERT, body=orjson.dumps(told | money), now=now)
