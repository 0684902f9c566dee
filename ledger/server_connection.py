"""
A connection to PostgreSQL that looks like SQLite's.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from functools import lru_cache
from typing import Any

import psycopg
from psycopg import pq
from psycopg.types.string import StrDumperUnknown

from ledger import foreseen
from ledger.connection import Connection, Cursor
from ledger.dialect import only, spoken
from ledger.foreseen import Foreseen
from ledger.locks import Ask, Place, Sum


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

    def parted(self) -> tuple[int, ServerRow]:
        """
        Return the last column, and the row before it.
        """
        return self._values[-1], ServerRow(self._places, self._values[:-1])

    def __len__(self) -> int:
        return len(self._values)

    def keys(self) -> list[str]:
        """
        Return the names of its columns.
        """
        return list(self._places)[: len(self._values)]


class ServerConnection:
    """
    A connection to PostgreSQL that takes SQLite's words; `ledger.connection.Connection`.
    """

    def __init__(self, raw: psycopg.Connection[Any]) -> None:
        self._raw = raw
        self._changed = 0
        self._space = ""
        self._pipeline: AbstractContextManager[psycopg.Pipeline] | None = None
        self._foreseen = Foreseen()

    @property
    def in_transaction(self) -> bool:
        """
        Whether something is begun and not ended.
        """
        return self._raw.info.transaction_status not in {pq.TransactionStatus.IDLE, pq.TransactionStatus.UNKNOWN}

    @property
    def total_changes(self) -> int:
        """
        How many statements have changed rows, or may have.
        """
        return self._changed

    def execute(self, sql: str, parameters: Any = None, /) -> Cursor:
        """
        Run one statement, unless its answer is known; what ends a transaction ends its pipeline as well.
        """
        if (known := self._foreseen.answer(sql, parameters)) is not None:
            return known
        if sql == "ROLLBACK":
            self._leave_pipeline(failed=True)
        if writes(sql):
            self._changed += 1
            self._foreseen.written(sql, parameters)
        return self._sent(sql, parameters)

    def _sent(self, sql: str, parameters: Any) -> psycopg.Cursor[ServerRow]:
        cursor = self._raw.execute(spoken(sql), parameters, prepare=None if parameters else False)
        if sql == "COMMIT":
            self._leave_pipeline(failed=False)
        return cursor

    def hurry(self) -> None:
        """
        Send the statements of this transaction without waiting for what nobody asks to see.

        What fails is then heard of at the next look, at the latest at its end.
        """
        self._pipeline = self._raw.pipeline()
        self._pipeline.__enter__()

    def foresee(self, asks: Iterable[Ask]) -> None:
        """
        Get the answers to *asks*, of all that is known of the transaction before only these.
        """
        self._foreseen = Foreseen()
        wanted, ticks = foreseen.keys(asks)
        drawn = self.execute(only("ticks"), {"count": ticks}) if ticks else ()
        found = [
            (name, self.execute(foreseen.together(name), foreseen.named(name, keys))) for name, keys in wanted.items()
        ]
        for name, cursor in found:
            self._foreseen.keep(name, wanted[name], (row.parted() for row in cursor.fetchall()))
        self._foreseen.keep_ticks(drawn)

    def executemany(self, sql: str, parameters: Iterable[Any], /) -> Cursor:
        """
        Run one statement with each of *parameters*.
        """
        self._foreseen.forget()
        cursor = self._raw.cursor()
        self._changed += 1
        cursor.executemany(spoken(sql), list(parameters))
        return cursor

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

    def _leave_pipeline(self, *, failed: bool) -> None:
        pipeline, self._pipeline = self._pipeline, None
        if pipeline is not None:
            with suppress(psycopg.Error) if failed else nullcontext():
                pipeline.__exit__(None, None, None)


@lru_cache(maxsize=1024)
def writes(sql: str) -> bool:
    """
    Say whether a statement changes rows, as far as its first word tells.
    """
    return spoken(sql).startswith(("INSERT", "UPDATE", "DELETE"))


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
