"""
One ledger in memory, shared by every simulated process as if it were on a server.

Tables, statements and transactions are the product's own.
"""

from __future__ import annotations

import secrets
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import cache
from typing import Any
from unittest import mock

from ledger import file
from ledger.connection import Connection
from ledger.file import FileConnection
from ledger.locks import Locks
from ledger.queries import queries
from penstock.errors import Fenced, Unavailable


class Away(Exception):
    """
    The ledger's server does not answer this process.
    """


class SharedConnection(FileConnection):
    """
    The one connection; it tells the judge of kept positions.
    """

    kept: Callable[[Mapping[str, Any]], None]

    def execute(self, sql: str, parameters: Any = ()) -> Any:  # type: ignore[override]
        if sql is queries["keep_position"]:
            self.kept(parameters)
        return super().execute(sql, parameters)


class Database:
    """
    The ledger's data, and whether it can be reached.
    """

    def __init__(self, kept: Callable[[Mapping[str, Any]], None]) -> None:
        self.connection = sqlite3.connect(
            ":memory:", isolation_level=None, cached_statements=512, factory=SharedConnection
        )
        self.connection.row_factory = sqlite3.Row
        self.connection.kept = kept
        self.connection.deserialize(_empty())
        self.secret = bytes(file.meta(self.connection, "secret") or b"")
        self.down = False
        """Nobody reaches it."""
        self._back_at = -1.0

    def leave(self) -> None:
        """
        Be away, for everybody.
        """
        self.down = True

    def come_back(self, now: float) -> None:
        """
        Be there again.
        """
        self.down = False
        self._back_at = now

    def away_since(self, began: float) -> bool:
        """
        Return whether it was away at any time from *began* on.
        """
        return self.down or self._back_at >= began

    def rows(self, sql: str, *parameters: object) -> list[Any]:
        """
        Ask from outside.
        """
        return self.connection.execute(sql, parameters).fetchall()


@cache
def _empty() -> bytes:
    """
    Return a new ledger: its tables are made once, and copied for every world.
    """
    connection = sqlite3.connect(":memory:", isolation_level=None, factory=FileConnection)
    connection.row_factory = sqlite3.Row
    with mock.patch.object(secrets, "token_bytes", bytes):  # the same secret in every process
        file.prepare(connection, None)
    made = connection.serialize()
    connection.close()
    return made


class Link:
    """
    One process' way to the database; `ledger.base.Base`.
    """

    patience = 0.0
    name = "of the simulation"

    def __init__(self, database: Database) -> None:
        self.database = database
        self.cut = False
        """This process alone cannot reach it."""

    def connect(self) -> Connection:
        return self.database.connection

    def connect_to_read(self) -> Connection:
        return self.database.connection

    def reach(self) -> None:
        """
        Raise `Away` when the database cannot be reached.
        """
        if self.cut or self.database.down:
            raise Away

    def turn(self) -> AbstractContextManager[None]:
        return nullcontext()

    def begin(self, connection: Connection, needs: Sequence[Locks]) -> None:
        self.reach()
        connection.execute("BEGIN IMMEDIATE")
        for need in needs:
            if need.worker and connection.execute(queries["vouch"], {"worker": need.worker}).fetchone() is None:
                raise Fenced("this worker was called dead by another")

    def begin_to_read(self, connection: Connection) -> None:
        self.reach()

    def drop(self, connection: Connection) -> Connection:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        return connection

    def away(self, _error: BaseException) -> bool:
        return False  # nobody waits inside the ledger: the executor's own patience is what is tried

    def translated(self, error: BaseException) -> BaseException:
        return Unavailable("the ledger cannot be reached") if isinstance(error, Away) else error

    def tidy(self, connection: Connection, operations: int) -> None:
        """
        Leave it as it is.
        """
