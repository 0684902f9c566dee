"""
The lease of this process on what it claims.

On SQLite the file's lock is what keeps others away, also while the machine sleeps; the lease says how
long this process may go on while it cannot write. Nothing new leaves once it has run out.
"""

from __future__ import annotations

import os
import secrets
import socket
import time
from pathlib import Path
from typing import Self

from ledger.connection import Connection
from ledger.queries import queries
from penstock.errors import Fenced, Unavailable

ID_BYTES = 16
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)  # macOS has no BOOTTIME


class Lease:
    """
    One worker row, renewed each third of its life.
    """

    check_what = "check the disk"
    """What to do when it cannot be written."""

    def __init__(self, seconds: float, name: str | None) -> None:
        self.worker = secrets.token_bytes(ID_BYTES)
        self._seconds = seconds
        self._name = name or f"{socket.gethostname()}:{os.getpid()}"
        self._begun = self._until = self._now()
        self._lost = False
        self.renewed()

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

    def take(self, connection: Connection, now: int) -> None:
        """
        Begin the lease, as the only process that may write: every worker before is dead.
        """
        connection.execute(queries["bury_workers"], {"worker": self.worker})
        connection.execute(queries["forget_workers"])
        self.add(connection, now)

    def add(self, connection: Connection, now: int) -> None:
        """
        Begin the lease beside others.
        """
        connection.execute(queries["add_worker"], self.named() | {"now": now, "lease_until": self._boot_ms()})

    def named(self) -> dict[str, object]:
        """
        Return what is told of this process.
        """
        return {"worker": self.worker, "name": self._name, "host": socket.gethostname(), "boot_id": _boot_id()}

    def renew(self, connection: Connection) -> None:
        """
        Lengthen the lease; it is lost when somebody called this worker dead.
        """
        self._begun = self._now()
        named = {"worker": self.worker, "lease_until": self._boot_ms()}
        self._lost = connection.execute(queries["renew_worker"], named).rowcount == 0

    def renewed(self) -> None:
        """
        Take note that the last renewal is durable.
        """
        self._until = self._begun + self._seconds

    def give_back(self, connection: Connection) -> None:
        """
        End the lease; what is still claimed may be taken over at once.
        """
        connection.execute(queries["end_worker"], {"worker": self.worker})
        connection.execute(queries["forget_workers"])
        self._lost = True

    def check(self, _fence: int) -> None:
        """
        Raise `Fenced` when the lease under which a fence was won is lost, `Unavailable` when it ran out.
        """
        if self._lost:
            message = "another process took this ledger over, or it was closed"
            raise Fenced(message)
        if self._now() > self._until:
            message = (
                f"the ledger could not be written for {self._seconds:g} s, so nothing new is sent: {self.check_what}"
            )
            raise Unavailable(message)

    def _now(self) -> float:
        return time.monotonic()

    def _boot_ms(self) -> int:
        return int((time.clock_gettime(CLOCK) + self._seconds) * 1000)


def _boot_id() -> str:
    try:
        return _BOOT_ID.read_text().strip()
    except OSError:
        return ""
