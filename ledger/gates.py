"""
Gates: what runs wait at while a connection, a model or a budget is shut. A gate without a row is open.
"""

from __future__ import annotations

from ledger import alerts
from ledger.connection import Connection
from ledger.queries import queries
from schemas.entries import GateEntry

PROBE_LOST = 300_000  # ms after which a probe that did not come back is given up


def shut(connection: Connection, gate: str, reason: str, *, probe_at: int, now: int, refused: bool = False) -> None:
    """
    Shut *gate*, or put its next probe off; that we are *refused* is an alert, once until it opens.
    """
    connection.execute(queries["shut_gate"], {"gate": gate, "reason": reason, "probe_at": probe_at, "now": now})
    if refused:
        since = connection.execute(queries["gate_since"], {"gate": gate}).fetchone()["since"]
        alerts.refused(connection, gate, reason, since=since, now=now)


def reopen(connection: Connection, gate: str, now: int) -> None:
    """
    Open *gate*.
    """
    connection.execute(queries["open_gate"], {"gate": gate, "now": now})


def give_up_probes(connection: Connection, *, sent_before: int) -> None:
    """
    Shut the gates whose probe was sent before that and did not come back.
    """
    connection.execute(queries["expire_probes"], {"before": sent_before})


def shut_ones(connection: Connection) -> list[GateEntry]:
    """
    Return the gates that are not open, the longest shut first.
    """
    return [GateEntry(**row) for row in connection.execute(queries["shut_gates"])]
