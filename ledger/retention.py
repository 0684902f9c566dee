"""
Forgetting: details of final runs first, their identities much later, nothing that is not final ever.
"""

from __future__ import annotations

from ledger.connection import Connection
from ledger.queries import queries

DETAILS = 30 * 86_400.0  # seconds
IDENTITIES = 400 * 86_400.0  # seconds
MOST_RUNS = 200  # per transaction, so that nobody waits long
_TABLES = ("bodies", "steps", "writes", "answers", "calls", "reservations", "runs")


def prune(connection: Connection, before: int) -> int:
    """
    Turn some final runs that ended before *before* into identities; return how many.
    """
    old = connection.execute(queries["old_runs"], {"before": before, "most": MOST_RUNS}).fetchall()
    for row in old:
        connection.execute(queries["keep_identity"], dict(row))
        for table in _TABLES:
            connection.execute(queries["forget_" + table], {"run": row["run"]})
    return len(old)


def forget(connection: Connection, before: int) -> int:
    """
    Delete identities that ended before *before*, and remember that as the horizon; return how many.
    """
    gone = connection.execute(queries["forget_identities"], {"before": before}).rowcount
    if gone:
        connection.execute(queries["set_horizon"], {"before": before})
    return gone


def horizon(connection: Connection) -> int:
    """
    Return the time before which an event may have been known and forgotten.
    """
    return int(connection.execute(queries["horizon"]).fetchone()["value"])
