"""
Forgetting: details of final runs first, their identities much later, nothing that is not final ever.
"""

from __future__ import annotations

from datetime import UTC, datetime

from ledger.beats import HOUR, LEARNED
from ledger.connection import Connection
from ledger.queries import queries

DETAILS = 30 * 86_400.0  # seconds
IDENTITIES = 400 * 86_400.0  # seconds
MOST_RUNS = 200  # per transaction, so that nobody waits long
_LONGEST_PERIOD = 32 * 86_400_000  # ms
_TABLES = (
    "bodies",
    "steps",
    "writes",
    "answers",
    "calls",
    "reservations",
    "decisions",
    "drafts",
    "cache",
    "cache_hits",
    "pairs",
    "batch_items",
    "lineage",
    "runs",
)


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


def forget_questions(connection: Connection, now: int) -> None:
    """
    Delete questions whose answers are too old to be used again.
    """
    connection.execute(queries["expire_cache"], {"now": now})


def forget_beats(connection: Connection, now: int) -> None:
    """
    Delete the hours from which nobody learns any more what is usual, and sources that are gone.
    """
    connection.execute(queries["forget_beats"], {"before": now // HOUR - LEARNED})
    connection.execute(queries["forget_pulses"], {"before": now - LEARNED * HOUR})


def forget_limits(connection: Connection, before: int) -> None:
    """
    Delete what nobody waits at, what left every window, and the money of single people, long before *before*.
    """
    month = datetime.fromtimestamp(before / 1000, UTC).strftime("%Y-%m")  # every period of a month is after its name
    connection.execute(queries["forget_holds"], {"before": before})
    connection.execute(queries["forget_counted"], {"before": before})
    connection.execute(queries["forget_budgets"], {"before": month})
    connection.execute(queries["forget_batches"], {"before": before})
    connection.execute(queries["forget_paces"], {"before": before})
    connection.execute(queries["forget_fuses"], {"before": before})
    connection.execute(queries["forget_alerts"], {"before": before - _LONGEST_PERIOD})
