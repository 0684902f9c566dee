"""
What the topics of the bus were, and what they lost.
"""

from __future__ import annotations

from ledger.connection import Connection
from ledger.contract import Loss, TopicEntry
from ledger.queries import queries


def find(connection: Connection, topic: str) -> TopicEntry | None:
    """
    Return what *topic* was; None when it was never used.
    """
    row = connection.execute(queries["topic"], {"topic": topic}).fetchone()
    return None if row is None else TopicEntry(partitions=int(row["partitions"]), identity=str(row["identity"]))


def keep(connection: Connection, topic: str, entry: TopicEntry, now: int) -> None:
    """
    Keep what *topic* is.
    """
    named = {"topic": topic, "partitions": entry.partitions, "identity": entry.identity, "now": now}
    connection.execute(queries["keep_topic"], named)


def losses(connection: Connection, since: int) -> list[Loss]:
    """
    Return what was lost since UTC ms, per pipeline and topic.
    """
    rows = connection.execute(queries["losses"], {"since": since}).fetchall()
    return [
        Loss(pipeline=row["pipeline"], topic=row["topic"], messages=int(row["lost"]), at=int(row["lost_at"]))
        for row in rows
    ]
