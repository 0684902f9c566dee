"""
The ledger on PostgreSQL: many workers share it, each with a lease on the server's clock.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

import psycopg
from psycopg import errors

from ledger import server
from ledger.connection import Connection, Operation
from ledger.dialect import only
from ledger.lease import Lease
from ledger.queries import queries
from ledger.reader import Reader
from ledger.server import Server
from ledger.store import Store
from ledger.writer import Writer

_log = logging.getLogger(__name__)

_STARTS = 5
_LOST = (errors.DeadlockDetected, errors.SerializationFailure, errors.LockNotAvailable)


class ServerLease(Lease):
    """
    One of several live workers on any host.
    """

    check_what = "is the server there?"

    def bury(self, connection: Connection, *, calm: bool) -> None:
        """
        Call those dead whose lease has ended on the server's clock.
        """
        if calm:
            connection.execute(only("bury_workers"), {"worker": self.worker})
            connection.execute(queries["forget_workers"])


def to_write(dsn: str, lease: ServerLease, *, now: int, seconds: float, fail: Callable[[str], None]) -> Store:
    """
    Open the ledger at *dsn* beside its other workers; make it when it is new.
    """
    base = Server(dsn, lease=seconds)

    def first(connection: Connection) -> bytes:
        secret = server.prepare(connection, base.name)
        lease.begin(connection, now)
        return secret

    try:
        writer, secret = _started(base, lease, first, fail)
    except psycopg.Error as error:
        raise server.unusable(base.name, error) from error
    return Store(writer=writer, reader=Reader(base), secret=secret)


def _started(
    base: Server, lease: ServerLease, first: Operation[bytes], fail: Callable[[str], None]
) -> tuple[Writer, bytes]:
    """
    Start a writer; again when the server chose its migration to end a deadlock with others at work.
    """
    for left in reversed(range(_STARTS)):
        try:
            writer = Writer(base, lease=lease, fail=fail)
            return writer, writer.start(first)
        except _LOST as error:
            if not left:
                raise
            _log.warning("the ledger %s is used by others just now, so it is tried again: %s", base.name, error)
    raise AssertionError


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
    return Store(writer=None, reader=Reader(base), secret=secret)
