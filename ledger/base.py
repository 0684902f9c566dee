"""
What a writer and its readers need to know of the database below them.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol

from ledger.connection import Connection
from ledger.locks import Locks


class Base(Protocol):
    """
    A SQLite file, or a PostgreSQL server.
    """

    name: str
    """For messages; without secrets."""
    patience: float
    """Seconds for which operations wait for a server that is away."""

    def connect(self) -> Connection:
        """
        Open a connection that may write.
        """
        ...

    def connect_to_read(self) -> Connection:
        """
        Open a connection that cannot write.
        """
        ...

    def turn(self) -> AbstractContextManager[None]:
        """
        Keep other processes from writing while the context is open, where only one may.

        Connections to write are opened, used, tidied and closed inside of one.
        """
        ...

    def begin(self, connection: Connection, needs: Sequence[Locks], /) -> None:
        """
        Begin a transaction that writes, with everything locked that its operations need.
        """
        ...

    def begin_to_read(self, connection: Connection) -> None:
        """
        Begin a transaction that sees one state of everything.
        """
        ...

    def drop(self, connection: Connection) -> Connection | None:
        """
        Close a connection whose state is not to be trusted; return one that must be kept all the same.
        """
        ...

    def away(self, error: BaseException, /) -> bool:
        """
        Say whether *error* means that the server is away, and may come back.
        """
        ...

    def translated(self, error: BaseException) -> BaseException:
        """
        Return what callers should see of *error*.
        """
        ...

    def tidy(self, connection: Connection, operations: int) -> None:
        """
        Do what keeps the database small and quick, after a batch of *operations*.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """
    What one look at a server found.
    """

    name: str
    version: str
    durable: bool
    """Whether what it calls durable survives a loss of power."""
    made: bool
    """Whether there is a ledger already."""
