"""
The lease of this process on what it claims.

On SQLite the file's lock is what keeps others away, also while the machine sleeps; the lease says how
long this process may go on while it cannot write. Nothing new leaves once it has run out.
"""

from __future__ import annotations

import os
import secrets
import socket
import sqlite3
import time
from pathlib import Path

from ledger.queries import queries
from penstock.errors import Fenced, Unavailable

_ID_BYTES = 16
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)  # macOS has no BOOTTIME


class Lease:
    """
    One worker row, renewed each third of its life.
    """

    def __init__(self, seconds: float, name: str | None) -> None:
        self.worker = secrets.token_bytes(_ID_BYTES)
        self._seconds = seconds
        self._name = name or f"{socket.gethostname()}:{os.getpid()}"
        self._until = time.monotonic() + seconds
        self._lost = False

    @property
    def every(self) -> float:
        """
        Seconds between renewals.
        """
        return self._seconds / 3

    def take(self, connection: sqlite3.Connection, now: int) -> None:
        """
        Begin the lease, as the only process that may write: every worker before is dead.
        """
        connection.execute(queries["bury_workers"], {"worker": self.worker})
        connection.execute(queries["forget_workers"])
        self.add(connection, now)

    def add(self, connection: sqlite3.Connection, now: int) -> None:
        """
        Begin the lease beside others.
        """
        named = {"worker": self.worker, "name": self._name, "host": socket.gethostname(), "boot_id": _boot_id()}
        connection.execute(queries["add_worker"], named | {"now": now, "lease_until": self._boot_ms()})

    def renew(self, connection: sqlite3.Connection) -> None:
        """
        Lengthen the lease; it is lost when somebody called this worker dead.
        """
        begun = time.monotonic()
        named = {"worker": self.worker, "lease_until": self._boot_ms()}
        self._lost = connection.execute(queries["renew_worker"], named).rowcount == 0
        self._until = begun + self._seconds

    def give_back(self, connection: sqlite3.Connection) -> None:
        """
        End the lease; what is still claimed may be taken over at once.
        """
        connection.execute(queries["end_worker"], {"worker": self.worker})
        connection.execute(queries["forget_workers"])
        self._lost = True

    def check(self) -> None:
        """
        Raise `Fenced` when the lease is lost, `Unavailable` when it ran out because nothing could be written.
        """
        if self._lost:
            message = "another process took this ledger over, or it was closed"
            raise Fenced(message)
        if time.monotonic() > self._until:
            message = f"the ledger could not be written for {self._seconds:g} s, so nothing new is sent: check the disk"
            raise Unavailable(message)

    def _boot_ms(self) -> int:
        return int((time.clock_gettime(_CLOCK) + self._seconds) * 1000)


def _boot_id() -> str:
    try:
        return _BOOT_ID.read_text().strip()
    except OSError:
        return ""
