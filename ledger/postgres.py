"""
The ledger on PostgreSQL: many workers share it, each with a lease on the server's clock.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable

import psycopg

from ledger import lanes, server
from ledger.connection import Connection
from ledger.lease import CLOCK, ID_BYTES, Lease
from ledger.queries import queries
from ledger.reader import Reader
from ledger.server import Server
from ledger.store import Store
from ledger.writer import Writer
from penstock.errors import Fenced

_GAP = 1.5  # renewals: after a longer silence between us and the server, others may have been cut off as well


class ServerLease(Lease):
    """
    One of several live workers. It calls others dead when their lease has ended.

    After it could not reach the server itself, or has just begun, it calls nobody dead for a whole
    lease: they were cut off too, and are coming back.
    """

    check_what = "is the server there?"

    def __init__(self, seconds: float, name: str | None) -> None:
        self._calm_since = self._heard = self._now()
        self._won = 0
        super().__init__(seconds, name)

    def add(self, connection: Connection, now: int) -> None:
        """
        Begin the lease beside others.
        """
        connection.execute(queries["add_worker"], self._named() | {"now": now})

    def renew(self, connection: Connection) -> None:
        """
        Lengthen the lease, or begin another when somebody called us dead; then bury others.
        """
        self._begun = self._now()
        if self._begun - self._heard > self.every * _GAP:
            self._calm_since = self._begun
        if connection.execute(queries["renew_worker"], self._named()).rowcount == 0:
            self.worker = secrets.token_bytes(ID_BYTES)
            self._won = lanes.tick(connection)
            self.add(connection, time.time_ns() // 1_000_000)
        if self._begun - self._calm_since >= self._seconds:
            connection.execute(queries["bury_workers"], {"worker": self.worker})
            connection.execute(queries["forget_workers"])

    def renewed(self) -> None:
        """
        Take note that the last renewal is durable.
        """
        super().renewed()
        self._heard = self._begun

    def check(self, fence: int) -> None:
        """
        Raise `Fenced` for what was won under a lease that is lost, `Unavailable` when it ran out.
        """
        if fence < self._won:
            message = "this worker was called dead by another, after it had not been heard of for its whole lease"
            raise Fenced(message)
        super().check(fence)

    def _now(self) -> float:
        return time.clock_gettime(CLOCK)  # goes on while the machine sleeps, as the server's does

    def _named(self) -> dict[str, object]:
        return self.named() | {"lasts": int(self._seconds * 1000)}


def to_write(dsn: str, lease: ServerLease, *, now: int, seconds: float, fail: Callable[[str], None]) -> Store:
    """
    Open the ledger at *dsn* beside its other workers; make it when it is new.
    """
    base = Server(dsn, lease=seconds)

    def first(connection: Connection) -> bytes:
        secret = server.prepare(connection, base.name)
        lease.add(connection, now)
        return secret

    try:
        writer = Writer(base, tick=lease.renew, ticked=lease.renewed, every=lease.every, fail=fail)
        secret = writer.start(first)
    except psycopg.Error as error:
        raise server.unusable(base.name, error) from error
    return Store(writer=writer, reader=Reader(base), lock=None, secret=secret)


def to_read(dsn: str, *, seconds: float) -> Store:
    """
    Open the ledger at *dsn* to read.
    """
    base = Server(dsn, lease=seconds)
    try:
        connection = base.connect_to_read()
        try:
            secret = server.check(connection, base.name)
        finally:
            connection.close()
    except psycopg.Error as error:
        raise server.unusable(base.name, error) from error
    return Store(writer=None, reader=Reader(base), lock=None, secret=secret)
