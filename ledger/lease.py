"""
The lease of this process on what it claims.

Nothing new leaves once it has run out, and others may take over what this process had. Somebody who was
called dead though he lives begins anew, and is fenced off from what he had claimed before.
"""

from __future__ import annotations

import os
import secrets
import socket
import time
from typing import Self

from ledger import lanes
from ledger.connection import Connection
from ledger.queries import queries
from penstock.boot import CLOCK, boot_id, boot_ms
from penstock.errors import Fenced, Unavailable

ID_BYTES = 16
CALLED_DEAD = "this worker was called dead by another, after it had not been heard of for its whole lease"
_GAP = 1.5  # renewals: after a longer silence between us and the ledger, others may have been held up as well


class Lease:
    """
    One worker row, renewed each third of its life; alone in memory.
    """

    check_what = "check the disk"
    """What to do when it cannot be written."""

    def __init__(self, seconds: float, name: str | None) -> None:
        self.worker = secrets.token_bytes(ID_BYTES)
        self._seconds = seconds
        self._name = name or f"{socket.gethostname()}:{os.getpid()}"
        self._begun = self._heard = self._calm_since = self.now()
        self._until = self._begun + seconds
        self._won = 0
        self._ended = False

    @property
    def every(self) -> float:
        """
        Seconds between renewals.
        """
        return self._seconds / 3

    def another(self, seconds: float, name: str) -> Self:
        """
        Return the lease of another worker on the same ledger.
        """
        return type(self)(seconds, name)

    def begin(self, connection: Connection, now: int) -> None:
        """
        Begin the lease beside others.
        """
        connection.execute(queries["add_worker"], self._named() | {"now": now})

    def renew(self, connection: Connection) -> None:
        """
        Lengthen the lease, or begin another when somebody called us dead; then bury others.

        After it could not be renewed for long, or has just begun, it calls nobody dead for a whole lease
        because of theirs: they were held up too, and are coming back.
        """
        self._begun = self.now()
        if self._begun - self._heard > self.every * _GAP:
            self._calm_since = self._begun
        if connection.execute(queries["renew_worker"], self._named()).rowcount == 0:
            self.worker = secrets.token_bytes(ID_BYTES)
            self._won = lanes.tick(connection)
            self.begin(connection, time.time_ns() // 1_000_000)
        self.bury(connection, calm=self._begun - self._calm_since >= self._seconds)

    def bury(self, connection: Connection, *, calm: bool) -> None:
        """
        Call others dead who are; by the end of their lease only when all has been *calm*.
        """

    def renewed(self) -> None:
        """
        Take note that the last renewal is durable.
        """
        self._until = self._begun + self._seconds
        self._heard = self._begun

    def missed(self) -> bool:
        """
        Say whether somebody died just now, so that others should be buried before the next renewal.
        """
        return False

    def give_back(self, connection: Connection) -> None:
        """
        End the lease; what is still claimed may be taken over at once.
        """
        connection.execute(queries["end_worker"], {"worker": self.worker})
        connection.execute(queries["forget_workers"])
        self._ended = True

    def check(self, fence: int) -> None:
        """
        Raise `Fenced` for what was won under a lease that is lost, `Unavailable` when it ran out.
        """
        if self._ended:
            message = "the ledger was closed"
            raise Fenced(message)
        if fence < self._won:
            raise Fenced(CALLED_DEAD)
        if self.now() > self._until:
            message = (
                f"the ledger could not be written for {self._seconds:g} s, so nothing new is sent: {self.check_what}"
            )
            raise Unavailable(message)

    def now(self) -> float:
        """
        Return seconds on the clock by which the lease is counted.
        """
        return time.clock_gettime(CLOCK)  # goes on while the machine sleeps

    def _named(self) -> dict[str, object]:
        lasts = int(self._seconds * 1000)
        told = {"worker": self.worker, "name": self._name, "host": socket.gethostname(), "boot_id": boot_id()}
        return told | {"lasts": lasts, "lease_until": boot_ms() + lasts}
