"""
A PostgreSQL server below the ledger: how it is reached, locked, and told from one that is away.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import orjson
import psycopg
from psycopg import conninfo

from ledger import file, migrations
from ledger.base import Seen
from ledger.connection import Connection
from ledger.dialect import defined, only, tables
from ledger.lease import CALLED_DEAD
from ledger.locks import Ask, Locks, Place, Sum
from ledger.queries import queries
from ledger.server_connection import ServerConnection, Text, columns, key, one, rows
from penstock.errors import Fenced, Unavailable, Unreachable

_SILENT = {
    "connect_timeout": 10,  # seconds
    "keepalives_idle": 10,  # seconds
    "keepalives_interval": 5,  # seconds
    "keepalives_count": 3,
    "tcp_user_timeout": 25_000,  # ms
}
"""
After how much silence a server is away.
"""
_SECRET_BYTES = 32
_AWAY = ("08", "57P", "25P03", "25006")  # SQL states: connection, shutdown, idle too long, now a standby
_LATER = ("40", "53", "55P03", "57014")  # SQL states: lost race, no room, lock not had, cancelled
_MAKING = "making the tables"


class Server:
    """
    The base of a ledger on PostgreSQL; `ledger.base.Base`.
    """

    def __init__(self, dsn: str, *, lease: float) -> None:
        self._dsn = _complete(dsn)
        self._idle_ms = int(lease * 1000)
        self.patience = lease
        self.name = shown(dsn)

    def connect(self) -> ServerConnection:
        """
        Connect to write.
        """
        opened = ServerConnection(self._connected())
        if one(opened, "SHOW synchronous_commit") == "off":
            opened.execute("SET synchronous_commit = on")
        # A worker that was stopped must not keep its locks from the others.
        opened.execute(f"SET idle_in_transaction_session_timeout = {self._idle_ms}")
        return opened

    def connect_to_read(self) -> ServerConnection:
        """
        Connect to read.
        """
        return ServerConnection(self._connected())

    def turn(self) -> AbstractContextManager[None]:
        """
        Let everybody write at once: rows are locked.
        """
        return nullcontext()

    def begin(self, connection: Connection, needs: Sequence[Locks], /) -> None:
        """
        Begin a transaction, and wait until nobody else has what *needs* names.
        """
        if isinstance(connection, ServerConnection) and not any(need.alone for need in needs):
            connection.hurry()
        connection.execute("BEGIN ISOLATION LEVEL READ COMMITTED")
        workers = {need.worker for need in needs if need.worker is not None}
        vouched = [connection.execute(queries["vouch"], {"worker": worker}) for worker in workers]
        places = [place for need in needs for place in need.places]
        if runs := [bytes.fromhex(run) for need in needs for run in need.runs]:
            found = connection.execute(only("lanes_of"), {"runs": runs})
            places += [(row["tenant"], row["pipeline"], row["lane"]) for row in found]
        connection.lock(places, ())
        sums = [each for need in needs for each in need.sums]
        if claimed := [place for need in needs if need.worker is not None for place in need.places]:
            sums += _held(connection, claimed)
        if any(one.fetchone() is None for one in vouched):
            raise Fenced(CALLED_DEAD)
        connection.lock((), sums)
        if isinstance(connection, ServerConnection):
            connection.foresee(_asks(needs, places, sums))

    def begin_to_read(self, connection: Connection) -> None:
        """
        Begin a transaction that reads one state.
        """
        connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")

    def drop(self, connection: Connection) -> None:
        """
        Close *connection*.
        """
        connection.close()

    def away(self, error: BaseException, /) -> bool:
        """
        Say whether the server could not be reached, or ended our connection.
        """
        if not isinstance(error, psycopg.OperationalError | psycopg.InterfaceError | psycopg.InternalError):
            return False
        return error.sqlstate is None or error.sqlstate.startswith(_AWAY)

    def translated(self, error: BaseException) -> BaseException:
        """
        Return `Unavailable` for what passes.
        """
        passing = isinstance(error, psycopg.Error) and (error.sqlstate or "").startswith(_LATER)
        if passing or self.away(error):
            return Unavailable(f"the ledger {self.name} cannot be used: {_first_line(error)}; is the server there?")
        return error

    def tidy(self, connection: Connection, operations: int) -> None:
        """
        Leave that to the server.
        """

    def _connected(self) -> psycopg.Connection[Any]:
        raw = psycopg.connect(self._dsn, autocommit=True, row_factory=rows)
        raw.adapters.register_dumper(str, Text)
        return raw


def prepare(connection: Connection, name: str) -> bytes:
    """
    Make the tables of a new ledger, or check those of an old one, while no other worker does; return its secret.
    """
    space = one(connection, "SELECT current_schema()")
    if space is None:
        message = f"the ledger {name} has no schema to use: make one, or name another in its search_path"
        raise Unreachable(message)
    connection.execute(only("lock_names"), {"keys": [key(space, _MAKING)]})
    if one(connection, "SELECT to_regclass('meta')") is None:
        _create(connection)
    migrations.migrate(connection, "postgres", defined)
    return check(connection, name)


def check(connection: Connection, name: str) -> bytes:
    """
    Raise `Unreachable` unless this version can use the tables; return the ledger's secret.
    """
    if one(connection, "SHOW server_encoding") != "UTF8":
        message = f"the database {name} is not in UTF8: make one with ENCODING 'UTF8'"
        raise Unreachable(message)
    if one(connection, "SELECT to_regclass('meta')") is None:
        message = f"there is no ledger at {name} yet: `penstock run` makes it"
        raise Unreachable(message)
    migrations.check(connection, name)
    return bytes(one(connection, "SELECT bytes FROM meta WHERE name = 'secret'"))


def look(dsn: str) -> Seen:
    """
    Look at the server without changing anything. Raises `Unreachable`.
    """
    base = Server(dsn, lease=0.0)
    try:
        connection = base.connect_to_read()
    except psycopg.Error as error:
        raise unusable(base.name, error) from error
    try:
        return Seen(
            name=base.name,
            version=one(connection, "SHOW server_version").split()[0],
            durable=one(connection, "SHOW fsync") == "on",
            made=one(connection, "SELECT to_regclass('meta')") is not None,
        )
    finally:
        connection.close()


def unusable(name: str, error: psycopg.Error) -> Unreachable:
    """
    Return the error of a server that cannot be used.
    """
    why = _first_line(error)
    return Unreachable(f"the ledger {name} cannot be opened: {why}; check `hub.ledger`, and whether the server runs")


def shown(dsn: str) -> str:
    """
    Return what may be shown of *dsn*: where the server is, and no password.
    """
    try:
        parts = conninfo.conninfo_to_dict(dsn)
    except psycopg.ProgrammingError:
        return "'postgresql://…'"
    where = parts.get("host") or parts.get("hostaddr") or "localhost"
    port = f":{parts['port']}" if parts.get("port") else ""
    return repr(f"postgresql://{where}{port}/{parts.get('dbname') or ''}")


def _complete(dsn: str) -> str:
    try:
        given = conninfo.conninfo_to_dict(dsn)
    except psycopg.ProgrammingError as error:
        message = "the address of the ledger cannot be read: write postgresql://user:password@host:5432/database"
        raise Unreachable(message) from error
    ours: dict[str, Any] = _SILENT | {"application_name": "penstock", "client_encoding": "utf8"}
    return conninfo.make_conninfo(**ours | given)


def _create(connection: Connection) -> None:
    for statement in tables():
        connection.execute(statement)
    connection.execute("INSERT INTO meta (name, value) VALUES ('horizon', 0)")
    migrations.keep_facts(connection, migrations.latest())
    connection.execute("INSERT INTO meta (name, bytes) VALUES ('secret', ?)", (secrets.token_bytes(_SECRET_BYTES),))
    connection.execute(queries["add_nobody"], {"worker": file.NOBODY})


def _held(connection: Connection, places: Sequence[Place]) -> list[Sum]:
    found = connection.execute(only("sums_of"), columns(sorted(set(places)))).fetchall()
    return [(scope, period) for row in found for scope, period in orjson.loads(row["rows"])]


def _asks(needs: Sequence[Locks], places: Sequence[Place], sums: Sequence[Sum]) -> list[Ask]:
    """
    Return what a batch will ask, as far as that is known; about what it has locked it asks always.
    """
    lanes: list[Ask] = [("lane", {"tenant": of[0], "pipeline": of[1], "lane": of[2]}) for of in places]
    budgets: list[Ask] = [("budget", {"scope": scope, "period": period}) for scope, period in sums]
    return [*lanes, *budgets, *(ask for need in needs for ask in need.asks())]


def _first_line(error: BaseException) -> str:
    return str(error).strip().partition("\n")[0]
