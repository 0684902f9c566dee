"""
The SQLite file of a ledger: how it is made, opened and checked.
"""

from __future__ import annotations

import secrets
import sqlite3
from pathlib import Path
from urllib.parse import quote

from ledger.queries import queries
from penstock.errors import Unreachable

SCHEMA = 1
NOBODY = bytes(16)
"""
The worker that holds abandoned lanes; dead from the start.
"""
_BUSY = 10.0  # seconds to wait for another process that reads or recovers the file
_STATEMENTS = 256  # prepared statements kept per connection
_WAL_KEPT = 64 * 1024 * 1024  # bytes of write-ahead log left on disk after a checkpoint
_SECRET_BYTES = 32


def connect(path: Path | None, *, read_only: bool = False) -> sqlite3.Connection:
    """
    Open *path* (None: in memory) with the settings every connection needs; no schema is made.
    """
    uri = "file::memory:" if path is None else f"file:{quote(str(path))}{'?mode=ro' if read_only else ''}"
    connection = sqlite3.connect(
        uri, uri=True, timeout=_BUSY, isolation_level=None, check_same_thread=False, cached_statements=_STATEMENTS
    )
    connection.row_factory = sqlite3.Row
    connection.execute("PRAGMA mmap_size=0")
    if not read_only:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=FULL")
        connection.execute("PRAGMA wal_autocheckpoint=0")
        connection.execute(f"PRAGMA journal_size_limit={_WAL_KEPT}")
    return connection


def prepare(connection: sqlite3.Connection, path: Path | None) -> None:
    """
    Make the tables of a new ledger, inside the caller's transaction, or check those of an old one.
    """
    if not connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'meta'").fetchone():
        _create(connection)
    check(connection, path)


def check(connection: sqlite3.Connection, path: Path | None) -> None:
    """
    Raise `Unreachable` unless this version can use the file.
    """
    found = meta(connection, "schema")
    if found != SCHEMA:
        message = f"the ledger {str(path)!r} has schema {found!r}, not {SCHEMA}: use the penstock that made it"
        raise Unreachable(message)


def meta(connection: sqlite3.Connection, name: str) -> int | bytes | None:
    """
    Return one fact about the ledger itself.
    """
    row = connection.execute("SELECT value FROM meta WHERE name = ?", (name,)).fetchone()
    return row["value"] if row else None


def existing(path: Path) -> sqlite3.Connection:
    """
    Open a ledger for reading, beside the process that writes it.
    """
    if not path.is_file():
        message = f"there is no ledger at {str(path)!r} yet: `penstock run` makes it"
        raise Unreachable(message)
    connection = connect(path, read_only=True)
    check(connection, path)
    return connection


def _create(connection: sqlite3.Connection) -> None:
    schema = Path(__file__).with_name("schema.sql").read_text()
    for statement in schema.split(";\n"):
        connection.execute(statement)
    facts = {"schema": SCHEMA, "secret": secrets.token_bytes(_SECRET_BYTES), "counter": 0, "horizon": 0}
    connection.executemany("INSERT INTO meta (name, value) VALUES (?, ?)", facts.items())
    connection.execute(queries["add_nobody"], {"worker": NOBODY})
