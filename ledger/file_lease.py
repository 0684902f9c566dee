"""
The lease of one of several processes that write a SQLite file.

A process that was killed is known dead at once, by its lock; one that was stopped, by the end of its lease.
"""

from __future__ import annotations

import socket
from collections.abc import Mapping

from ledger.connection import Connection, Row
from ledger.lease import Lease
from ledger.queries import queries
from penstock.boot import boot_id, boot_ms
from penstock.presence import Presence


class Stranger(Exception):  # no error: it may turn out to be dead
    """
    A worker of another host stands in the file as alive.
    """

    def __init__(self, host: str, seen: dict[bytes, int]) -> None:
        self.host = host
        self.seen = seen
        """When the lease of each of them ends, on a clock we do not have."""


class FileLease(Lease):
    """
    A lease beside others on this host.
    """

    def __init__(self, seconds: float, name: str | None, presence: Presence | None = None) -> None:
        super().__init__(seconds, name)
        self._presence = presence
        self._buried: set[str] = set()
        self.alone = False
        """Whether there was no other worker when it began."""

    def take(self, connection: Connection, now: int, watched: Mapping[bytes, int]) -> None:
        """
        Begin the lease and bury whoever is dead, also those of another host whose leases stand as *watched*.

        Raises `Stranger` when there are others of another host.
        """
        rows = connection.execute(queries["others"], {"worker": self.worker}).fetchall()
        strangers = {row["worker"]: row["lease_until"] for row in rows if _is_strange(row)}
        for row in rows:
            if _is_strange(row) and watched.get(row["worker"]) != row["lease_until"]:
                raise Stranger(row["host"], strangers)
        for worker in strangers:
            connection.execute(queries["end_worker"], {"worker": worker})
        self.begin(connection, now)
        self.bury(connection, calm=False)
        self.alone = connection.execute(queries["others"], {"worker": self.worker}).fetchone() is None

    def begin(self, connection: Connection, now: int) -> None:
        """
        Begin the lease, with its lock.
        """
        if self._presence is not None:
            self._presence.begin(self.worker.hex())
        super().begin(connection, now)

    def bury(self, connection: Connection, *, calm: bool) -> None:
        """
        Call those dead whose lock is free, who lived before this start of the host, or whose lease has ended.
        """
        self._buried = self._presence.gone() if self._presence else set()
        now = boot_ms()
        for row in connection.execute(queries["others"], {"worker": self.worker}).fetchall():
            over = calm and row["lease_until"] < now
            if row["worker"].hex() in self._buried or _is_past(row) or (over and not _is_strange(row)):
                connection.execute(queries["end_worker"], {"worker": row["worker"]})
        connection.execute(queries["forget_workers"])

    def renewed(self) -> None:
        """
        Take note that the last renewal is durable, and the burials with it.
        """
        super().renewed()
        while self._buried and self._presence is not None:
            self._presence.forget(self._buried.pop())

    def missed(self) -> bool:
        """
        Say whether somebody's lock has become free.
        """
        return self._presence is not None and bool(self._presence.gone())

    def release(self) -> None:
        """
        Give the lock back, once nothing is written any more.
        """
        if self._presence is not None:
            self._presence.end()


def _is_past(row: Row) -> bool:
    return bool(row["boot_id"] != boot_id() and row["host"] == socket.gethostname())


def _is_strange(row: Row) -> bool:
    return bool(row["boot_id"] != boot_id() and row["host"] != socket.gethostname())
