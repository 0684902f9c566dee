"""
What operations see of a database: SQLite's own connection, or one to PostgreSQL made to look like it.

Statements are written once, in SQLite's words (see `dialect`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, Protocol, TypeVar

from ledger.locks import Place, Sum

T = TypeVar("T")


class Row(Protocol):
    """
    One row: values by position and by name.
    """

    def __getitem__(self, key: int | str, /) -> Any: ...

    def __iter__(self) -> Iterator[Any]: ...

    def keys(self) -> list[str]:
        """
        Return the names of its columns.
        """
        ...


class Cursor(Protocol):
    """
    What one statement gave.
    """

    @property
    def rowcount(self) -> int:
        """
        How many rows it changed.
        """
        ...

    def fetchone(self) -> Any: ...

    def fetchall(self) -> list[Any]: ...

    def __iter__(self) -> Iterator[Any]: ...


class Connection(Protocol):
    """
    One connection, used by one thread at a time.
    """

    @property
    def in_transaction(self) -> bool:
        """
        Whether something is begun and not ended.
        """
        ...

    @property
    def total_changes(self) -> int:
        """
        How many rows were changed since it was opened.
        """
        ...

    def execute(self, sql: str, parameters: Any = ..., /) -> Cursor: ...

    def executemany(self, sql: str, parameters: Iterable[Any], /) -> Cursor: ...

    def lock(self, places: Iterable[Place], sums: Iterable[Sum], /) -> None:
        """
        Keep others off these lanes, then off these budget rows, until the transaction ends.
        """
        ...

    def close(self) -> None: ...


Operation = Callable[[Connection], T]
"""
Runs inside a transaction, and may be run again.
"""
