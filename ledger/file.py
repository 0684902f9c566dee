"""
The SQLite file of a ledger: how it is made, opened and checked.
"""

from __future__ import annotations

import logging
import secrets
import sqlite3
from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from urllib.parse import quote

from ledger import connection as contract
from ledger import migrations
from ledger.lease import CALLED_DEAD
from ledger.locks import Locks, Place, Sum
from ledger.queries import queries
from penstock.errors import Fenced, Unavailable, Unreachable
from penstock.lock import Kept, Turn

_log = logging.getLogger(__name__)

NOBODY = bytes(16)
"""
The worker that holds abandoned lanes; dead from the start.
"""
_BUSY = 10.0  # seconds to wait for another process that reads or recovers the file
_STATEMENTS = 256  # prepared statements kept per connection
_WAL_KEPT = 64 * 1024 * 1024  # bytes of write-ahead log left on disk after a checkpoint
_SECRET_BYTES = 32
_CHECKPOINT_OPERATIONS = 2000  # after this many the log is copied into the file
_CHECKPOINT_BYTES = 16 * 1024 * 1024  # or after this much growth of the log
_LATER = {
    sqlite3.SQLITE_FULL,
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_BUSY,
    sqlite3.SQLITE_LOCKED,
    sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_READONLY,  # what a file system becomes after an error
    sqlite3.SQLITE_NOMEM,
    sqlite3.SQLITE_PROTOCOL,
}
_PRIMARY = 0xFF  # the low byte of an extended SQLite result code


class FileConnection(sqlite3.Connection):
    """
    SQLite's connection; it needs no locks, since one thread at a time writes.
    """

    def lock(self, _places: Iterable[Place], _sums: Iterable[Sum]) -> None:
        """
        Do nothing.
        """


class File:
    """
    The base of a ledger in a file, or in memory (None); `ledger.base.Base`.
    """

    patience = 0.0

    def __init__(self, path: Path | None, turn: Turn | None = None) -> None:
        self.path = path
        self._turn = turn
        self.name = repr(str(path)) if path else "in memory"
        self._since_checkpoint = 0
        self._wal_bytes = 0

    def connect(self) -> FileConnection:
        """
        Open the file to write.
        """
        return connect(self.path)

    def connect_to_read(self) -> FileConnection:
        """
        Open the file to read.
        """
        return connect(self.path, read_only=True)

    def turn(self) -> AbstractContextManager[None]:
        """
        Keep the other processes of this host from writing.
        """
        return nullcontext() if self._turn is None else self._turn.held()

    def begin(self, connection: contract.Connection, needs: Sequence[Locks]) -> None:
        """
        Begin a transaction that writes.
        """
        connection.execute("BEGIN IMMEDIATE")
        for worker in {need.worker for need in needs if need.worker is not None}:
            if connection.execute(queries["vouch"], {"worker": worker}).fetchone() is None:
                raise Fenced(CALLED_DEAD)

    def begin_to_read(self, connection: contract.Connection) -> None:
        """
        Begin a transaction that reads.
        """
        connection.execute("BEGIN")

    def drop(self, connection: contract.Connection) -> contract.Connection | None:
        """
        Close *connection*: after a failed COMMIT it is not to be trusted. Memory has no other.
        """
        if self.path is not None:
            connection.close()
            return None
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        return connection

    def away(self, error: BaseException) -> bool:
        """
        Say whether another process kept the file too long; then nothing is tried one by one.
        """
        return isinstance(error, Kept)

    def translated(self, error: BaseException) -> BaseException:
        """
        Return `Unavailable` for what a disk may recover from.
        """
        code = getattr(error, "sqlite_errorcode", 0) & _PRIMARY
        if isinstance(error, sqlite3.Error) and code in _LATER:
            return Unavailable(f"the ledger {self.name} cannot be written: {error}; check the disk")
        return error

    def tidy(self, connection: contract.Connection, operations: int) -> None:
        """
        Copy the write-ahead log into the file when it has become long.
        """
        self._since_checkpoint += operations
        if self.path is None or not self._since_checkpoint:
            return
        grown = _size(self.path) - self._wal_bytes
        if self._since_checkpoint < _CHECKPOINT_OPERATIONS and grown < _CHECKPOINT_BYTES:
            return
        try:
            connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
        except sqlite3.Error as error:
            _log.warning("the ledger %s cannot be tidied: %s", self.name, error)
        self._since_checkpoint = 0
        self._wal_bytes = _size(self.path)


def connect(path: Path | None, *, read_only: bool = False) -> FileConnection:
    """
    Open *path* (None: in memory) with the settings every connection needs; no schema is made.
    """
    uri = "file::memory:" if path is None else f"file:{quote(str(path))}{'?mode=ro' if read_only else ''}"
    connection = sqlite3.connect(
        uri,
        uri=True,
        timeout=_BUSY,
        isolation_level=None,
        check_same_thread=False,
        cached_statements=_STATEMENTS,
        factory=FileConnection,
    )
    connection.row_factory = sqlite3.Row
    connection.execute("PRAGMA mmap_size=0")
    if not read_only:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=FULL")
        connection.execute("PRAGMA wal_autocheckpoint=0")
        connection.execute(f"PRAGMA journal_size_limit={_WAL_KEPT}")
    return connection


def prepare(connection: contract.Connection, path: Path | None) -> None:
    """
    Make the tables of a new ledger, inside the caller's transaction, or bring those of an old one up to date.
    """
    if not connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'meta'").fetchone():
        _create(connection)
    migrations.migrate(connection, "sqlite")
    migrations.check(connection, repr(str(path)))


def meta(connection: contract.Connection, name: str) -> int | bytes | None:
    """
    Return one fact about the ledger itself.
    """
    row = connection.execute("SELECT value FROM meta WHERE name = ?", (name,)).fetchone()
    return row["value"] if row else None


def existing(path: Path) -> FileConnection:
    """
    Open a ledger for reading, beside the processes that write it.
    """
    if not path.is_file():
        message = f"there is no ledger at {str(path)!r} yet: `penstock run` makes it"
        raise Unreachable(message)
    connection = connect(path, read_only=True)
    migrations.check(connection, repr(str(path)))
    return connection


def _create(connection: contract.Connection) -> None:
    for statement in migrations.statements(Path(__file__).with_name("schema.sql")):
        connection.execute(statement)
    facts = {"secret": secrets.token_bytes(_SECRET_BYTES), "counter": 0, "horizon": 0}
    connection.executemany("INSERT INTO meta (name, value) VALUES (?, ?)", facts.items())
    migrations.keep_facts(connection, migrations.latest())
    connection.execute(queries["add_nobody"], {"worker": NOBODY})


def _size(path: Path) -> int:
    try:
        return path.with_name(path.name + "-wal").stat().st_size
    except FileNotFoundError:
        return 0
