"""
The ledger on SQLite: in memory, or in a file that several processes of one host write in turns.
"""

from __future__ import annotations

import asyncio
import logging
import sqlite3
from collections.abc import Callable, Mapping
from pathlib import Path

from ledger import file, gates
from ledger.connection import Connection
from ledger.file import File
from ledger.file_lease import FileLease, Stranger
from ledger.lease import Lease
from ledger.reader import Reader
from ledger.store import Store
from ledger.writer import Writer
from penstock.errors import Unreachable
from penstock.lock import Turn
from penstock.presence import Presence

_log = logging.getLogger(__name__)

LOCKS = ".locks"  # behind the name of the file: the folder of its locks


def in_memory(lease: Lease, *, now: int, fail: Callable[[str], None]) -> Store:
    """
    Make a ledger that lives as long as this process.
    """

    def first(connection: Connection) -> bytes:
        file.prepare(connection, None)
        lease.begin(connection, now)
        return bytes(file.meta(connection, "secret") or b"")

    writer = Writer(File(None), lease=lease, fail=fail)
    return Store(writer=writer, reader=None, secret=writer.start(first))


async def to_write(
    path: Path, *, seconds: float, name: str | None, now: int, fail: Callable[[str], None]
) -> tuple[Store, FileLease]:
    """
    Open or make the file *path* beside the other processes of this host that write it.

    When a worker of another host stands in it as alive, it is watched for a whole lease first.
    """
    try:
        try:
            return _opened(path, FileLease(seconds, name, _presence(path)), now, fail, {})
        except Stranger as met:
            _log.warning("a hub on host %r wrote %s; is it still there? Looking for %g s", met.host, path, seconds)
            await asyncio.sleep(seconds)
            return _opened(path, FileLease(seconds, name, _presence(path)), now, fail, met.seen)
    except Stranger as met:
        raise Unreachable(
            f"a hub on host {met.host!r} writes the ledger {str(path)!r}, and a SQLite file serves one host: "
            "stop that hub, or put the ledger on PostgreSQL (`hub.ledger`)"
        ) from met
    except (OSError, sqlite3.Error) as error:
        raise _unusable(path, error) from error


def to_read(path: Path) -> Store:
    """
    Open the file *path* beside the processes that write it.
    """
    try:
        connection = file.existing(path)
        secret = file.meta(connection, "secret")
        connection.close()
    except sqlite3.Error as error:
        raise _unusable(path, error) from error
    return Store(writer=None, reader=Reader(File(path)), secret=bytes(secret or b""))


def _opened(
    path: Path, lease: FileLease, now: int, fail: Callable[[str], None], watched: Mapping[bytes, int]
) -> tuple[Store, FileLease]:
    turn = Turn(_locks(path), what=f"the ledger {str(path)!r}")

    def first(connection: Connection) -> bytes:
        file.prepare(connection, path)
        lease.take(connection, now, watched)
        if lease.alone:
            gates.give_up_probes(connection, sent_before=now + 1)
        return bytes(file.meta(connection, "secret") or b"")

    def closed() -> None:
        lease.release()
        turn.close()

    try:
        writer = Writer(File(path, turn), lease=lease, fail=fail)
        secret = writer.start(first)
    except BaseException:
        closed()
        raise
    return Store(writer=writer, reader=Reader(File(path)), secret=secret, closed=closed), lease


def _presence(path: Path) -> Presence:
    return Presence(_locks(path) / "alive")


def _locks(path: Path) -> Path:
    return path.with_name(path.name + LOCKS)


def _unusable(path: Path, error: Exception) -> Unreachable:
    return Unreachable(
        f"the ledger {str(path)!r} cannot be opened: {error}; check `hub.state`, its rights and its disk"
    )
