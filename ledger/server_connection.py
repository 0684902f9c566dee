"""
A connection to PostgreSQL that looks like SQLite's.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import psycopg
from psycopg import pq
from psycopg.types.string import StrDumperUnknown

from ledger.connection import Connection
from ledger.dialect import only, spoken
from ledger.locks import Place, Sum


class Text(StrDumperUnknown):
    """
    Text without NUL, which PostgreSQL cannot keep.
    """

    def dump(self, obj: str) -> bytes:
        return obj.replace("\x00", "\u2400").encode()


class ServerRow(Sequence[Any]):
    """
    One row: values by position and by name.
    """

    __slots__ = ("_places", "_values")

    def __init__(self, places: Mapping[str, int], values: Sequence[Any]) -> None:
        self._places = places
        self._values = values

    def __getitem__(self, key: Any) -> Any:
        return self._values[self._places[key] if isinstance(key, str) else key]

    def __iter__(self) -> Iterator[Any]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def keys(self) -> list[str]:
        """
        Return the names of its columns.
        """
        return list(self._places)


class ServerConnection:
    """
    A connection to PostgreSQL that takes SQLite's words; `ledger.connection.Connection`.
    """

    def __init__(self, raw: psycopg.Connection[Any]) -> None:
        self._raw = raw
        self._changed = 0
        self._space = ""

    @property
    def in_transaction(self) -> bool:
        """
        Whether something is begun and not ended.
        """
        return self._raw.info.transaction_status not in {pq.TransactionStatus.IDLE, pq.TransactionStatus.UNKNOWN}

    @property
    def total_changes(self) -> int:
        """
        How many rows were changed.
        """
        return self._changed

    def execute(self, sql: str, parameters: Any = None, /) -> psycopg.Cursor[ServerRow]:
        """
        Run one statement.
        """
        cursor = self._raw.execute(spoken(sql), parameters, prepare=None if parameters else False)
        return self._counted(cursor)

    def executemany(self, sql: str, parameters: Iterable[Any], /) -> psycopg.Cursor[ServerRow]:
        """
        Run one statement with each of *parameters*.
        """
        cursor = self._raw.cursor()
        cursor.executemany(spoken(sql), list(parameters))
        return self._counted(cursor)

    def lock(self, places: Iterable[Place], sums: Iterable[Sum], /) -> None:
        """
        Wait for these lanes, then for these budget rows, each in one order for everybody.

        The names are locked as well as the rows: some have no row yet.
        """
        lanes = sorted(set(places))
        if lanes:
            self._lock_names("lane", lanes)
            self.execute(only("lock_lanes"), columns(lanes))
        if wanted := sorted(set(sums)):
            self._lock_names("budget", wanted)

    def close(self) -> None:
        """
        Close it.
        """
        self._raw.close()

    def _lock_names(self, kind: str, names: Sequence[Sequence[str]]) -> None:
        if not self._space:
            self._space = one(self, "SELECT current_schema()")
        keys = sorted({key(self._space, kind, *name) for name in names})
        self.execute(only("lock_names"), {"keys": keys})

    def _counted(self, cursor: psycopg.Cursor[Any]) -> psycopg.Cursor[ServerRow]:
        if cursor.description is None and cursor.rowcount > 0:
            self._changed += cursor.rowcount
        return cursor


def one(connection: Connection, question: str) -> Any:
    """
    Return the only value of a statement's only row.
    """
    return connection.execute(question).fetchone()[0]


def columns(places: Sequence[Place]) -> dict[str, list[str]]:
    """
    Return lanes as the three lists that statements take.
    """
    tenants, pipelines, lanes = (list(column) for column in zip(*places, strict=True))
    return {"tenants": tenants, "pipelines": pipelines, "lanes": lanes}


def key(*names: str) -> int:
    """
    Return the number by which a name is locked.
    """
    digest = hashlib.sha256("\x00".join(names).encode()).digest()
    return int.from_bytes(digest[:8], "big", signed=True)


def rows(cursor: psycopg.Cursor[Any]) -> Any:
    """
    Make rows of what a cursor gives.
    """
    places = {column.name: place for place, column in enumerate(cursor.description or ())}
    return lambda values: ServerRow(places, values)
