"""
One database: an engine of SQLAlchemy on threads of its own, which only ever reads.

Every transaction is read-only where the database knows such, every statement has its time, and no more rows are
fetched than were asked for. A role that may only read is the operator's part of it.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import re
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import sqlalchemy as sa
from sqlalchemy import exc

from connectors.settings import Settled
from penstock.clock import Clock
from penstock.errors import AuthFailed, Crowded, EdgeError, Invalid, Rejected, Unavailable

AT_ONCE = 8  # statements, each on a thread and a connection of its own
CONNECT = 5.0  # seconds
CLOSE = 3.0  # seconds that threads get to come back when we stop
SPARE = 0.5  # seconds a thread gets to come back after its statement was stopped
ALIVE: Mapping[str, int] = {
    "keepalives_idle": 30,  # seconds
    "keepalives_interval": 10,
    "keepalives_count": 3,
    "tcp_user_timeout": 30_000,  # ms
}
"""How PostgreSQL's driver notices a connection whose other end is gone without a word."""
STEPS = 10_000  # instructions of SQLite between looks at the clock

T = TypeVar("T")
Row = Mapping[str, Any]

_REFUSED = ("28000", "28P01", "42501")  # SQLSTATE: no such role, wrong password, not allowed
_NOBODY = re.compile(r"password authentication failed|role \".*\" does not exist|no pg_hba\.conf entry|Access denied")
"""What drivers say without a SQLSTATE."""
_LATER = ("08", "25006", "40", "53", "55", "57", "58")
"""SQLSTATEs of what passes: lost connections, conflicts (a standby's too), no room, locks, restarts, broken disks."""
_WRONG = (exc.ProgrammingError, exc.DataError, exc.IntegrityError, exc.NotSupportedError)
"""Of drivers that tell no SQLSTATE: the query is to blame."""
_SQLITE_LATER = (5, 6, 7, 9, 10, 13, 14, 15, 17, 26)
"""Codes of SQLite of what passes: busy, locked, no memory, interrupted, disk, full, not to be opened, another file."""
_SAID = re.compile(r"\s+")


class Database:
    """
    Reads.
    """

    def __init__(self, settled: Settled, clock: Clock) -> None:
        self._settled = settled
        self._clock = clock
        self._pool = ThreadPoolExecutor(AT_ONCE, "sql")
        self._engines: dict[str, sa.Engine] = {}
        self._making = threading.Lock()
        self._good: str | None = None
        """The address that worked last."""
        self.url = self._parsed(settled.secrets("url")[0])

    def __repr__(self) -> str:
        return f"<database at {self.place}>"

    @property
    def place(self) -> str:
        """
        Where it is, without a name or password: the source of its events.
        """
        at = f"{self.url.host or ''}:{self.url.port}" if self.url.port else self.url.host or ""
        return f"{self.url.get_backend_name()}://{at}/{self.url.database or ''}"

    async def rows(
        self, statement: sa.Executable, values: Mapping[str, Any], *, most: int, deadline: float
    ) -> list[Row]:
        """
        Return at most *most* rows; raises `Unavailable`, `AuthFailed` or `Rejected`.

        *deadline* is monotonic seconds.
        """
        return await self._threaded(lambda connection: _fetched(connection, statement, values, most), deadline)

    async def _threaded(self, work: Callable[[sa.Connection], T], deadline: float) -> T:
        left = deadline - self._clock.monotonic()
        if left <= 0:
            raise Crowded("no time was left to ask the database")
        loop = asyncio.get_running_loop()
        future = loop.run_in_executor(self._pool, self._do, work, deadline)
        try:
            async with asyncio.timeout(left + SPARE):
                return await asyncio.shield(future)
        except AuthFailed:
            await self._settled.renew("url")  # it may have been changed where it is kept
            raise
        except TimeoutError:
            future.add_done_callback(_ignored)  # the thread comes back by the statement's own time limit
            raise Unavailable(f"the database gave no answer within {left:.0f} s") from None

    def _do(self, work: Callable[[sa.Connection], T], deadline: float) -> T:
        left = deadline - self._clock.monotonic()
        if left <= 0:
            raise Crowded("all connections to the database were in use")
        *others, last = self._settled.secrets("url")
        for text in others:  # in the middle of a rotation the one before may be the one it knows yet
            with contextlib.suppress(AuthFailed):
                return self._worked(work, text, deadline)
        return self._worked(work, last, deadline)

    def _worked(self, work: Callable[[sa.Connection], T], text: str, deadline: float) -> T:
        with (
            self._told(),
            self._engine(text).connect() as connection,
            _reading(connection, deadline - self._clock.monotonic()),
        ):
            self._good = text
            return work(connection)

    async def ping(self, deadline: float) -> None:
        """
        Ask for nothing at all, which needs a connection; raises as `rows` does.
        """
        await self.rows(sa.text("SELECT 1 AS one"), {}, most=1, deadline=deadline)

    @property
    def address(self) -> sa.URL:
        """
        The address that works now, as far as is known.
        """
        live = self._settled.secrets("url")
        return self._parsed(self._good if self._good in live else live[0])

    def _engine(self, text: str) -> sa.Engine:
        """
        Return the engine for the address *text*; those of addresses that are no more go.
        """
        live = self._settled.secrets("url")
        with self._making:
            for gone in [one for one in self._engines if one not in live]:
                self._engines.pop(gone).dispose()
            if text not in self._engines:
                self._engines[text] = _engine(self._parsed(text))
            return self._engines[text]

    @staticmethod
    def _parsed(text: str) -> sa.URL:
        try:
            url = sa.make_url(text)
        except exc.ArgumentError:
            raise Invalid("the setting 'url' is no address of a database", hint=_LIKE) from None
        if url.drivername in ("postgresql", "postgres"):
            url = url.set(drivername="postgresql+psycopg")
        return url

    @contextlib.contextmanager
    def _told(self) -> Iterator[None]:
        """
        Turn every error of the driver into one of ours, without the address.
        """
        try:
            yield
        except EdgeError:
            raise
        except exc.NoSuchModuleError as error:
            raise Rejected(f"no driver for {self.url.drivername!r} is installed") from error
        except exc.TimeoutError as error:
            raise Crowded("all connections to the database are in use") from error
        except exc.DBAPIError as error:
            raise self._meant(error) from None
        except exc.SQLAlchemyError as error:
            raise Rejected(f"the query cannot be asked: {self._clean(error)}") from None

    def _meant(self, error: exc.DBAPIError) -> EdgeError:
        state = str(getattr(error.orig, "sqlstate", None) or "")
        said = self._clean(error.orig)
        if state in _REFUSED or _NOBODY.search(said):
            return AuthFailed(f"the database refuses us: {said}")
        if error.connection_invalidated or _passes(error, state):
            slow = state == "57014" or "interrupted" in said
            return Unavailable("the query took too long" if slow else f"the database cannot be used now: {said}")
        return Rejected(f"the database refuses the query: {said}")

    def _clean(self, error: object) -> str:
        said = _SAID.sub(" ", str(error)).strip()[:300]
        for secret in (*self._settled.revealed(), str(self.url.password or "")):
            said = said.replace(secret, "***") if secret else said
        return said

    async def close(self) -> None:
        """
        Give every connection and thread back.
        """
        loop = asyncio.get_running_loop()
        back = functools.partial(self._pool.shutdown, wait=True, cancel_futures=True)
        with contextlib.suppress(TimeoutError):  # a statement ends by its own time limit, when nobody waits any more
            async with asyncio.timeout(CLOSE):
                await asyncio.shield(loop.run_in_executor(None, back))
        for engine in self._engines.values():
            await loop.run_in_executor(None, engine.dispose)


def _passes(error: exc.DBAPIError, state: str) -> bool:
    """
    Tell whether a database that said this may say something else later.
    """
    if state:
        return state.startswith(_LATER)
    code = getattr(error.orig, "sqlite_errorcode", None)
    if code is not None:  # its OperationalError is of everything
        return code & 0xFF in _SQLITE_LATER
    return not isinstance(error, _WRONG)


_LIKE = "for example postgresql://reader:secret@db.example/shop"


def _engine(url: sa.URL) -> sa.Engine:
    words: dict[str, Any] = {}
    if url.get_backend_name() == "postgresql":
        words["connect_args"] = {"connect_timeout": int(CONNECT), "application_name": "penstock", **ALIVE}
    if url.get_backend_name() == "sqlite":
        words["connect_args"] = {"check_same_thread": False, "timeout": CONNECT}
        words["poolclass"] = sa.pool.QueuePool
    return sa.create_engine(
        url, pool_size=AT_ONCE, max_overflow=0, pool_timeout=CONNECT, pool_pre_ping=True, hide_parameters=True, **words
    )


def _fetched(connection: sa.Connection, statement: sa.Executable, values: Mapping[str, Any], most: int) -> list[Row]:
    result = connection.execution_options(stream_results=True, max_row_buffer=max(1, most)).execute(statement, values)
    try:
        return [dict(row) for row in result.mappings().fetchmany(most)]
    finally:
        result.close()


@contextlib.contextmanager
def _reading(connection: sa.Connection, seconds: float) -> Iterator[None]:
    """
    Let nothing be written in the block, and no statement take longer than *seconds*.
    """
    backend = connection.dialect.name
    if backend == "sqlite":
        with _sqlite(connection, seconds):
            yield
        return
    if backend == "postgresql":
        connection = connection.execution_options(postgresql_readonly=True)
        connection.execute(sa.text(f"SET LOCAL statement_timeout = {max(1, int(seconds * 1000))}"))
    elif backend in ("mysql", "mariadb"):
        connection.execute(sa.text("SET SESSION TRANSACTION READ ONLY"))
        connection.commit()
        mariadb = backend == "mariadb" or getattr(connection.dialect, "is_mariadb", False)
        limit = f"max_statement_time = {max(0.001, seconds):.3f}"  # seconds
        if not mariadb:
            limit = f"max_execution_time = {max(1, int(seconds * 1000))}"  # ms
        connection.execute(sa.text(f"SET SESSION {limit}"))
    try:
        yield
    finally:
        connection.rollback()


@contextlib.contextmanager
def _sqlite(connection: sa.Connection, seconds: float) -> Iterator[None]:
    import time

    raw = connection.connection.driver_connection
    assert raw is not None
    until = time.monotonic() + seconds
    raw.execute("PRAGMA query_only = ON")
    raw.set_progress_handler(lambda: time.monotonic() > until, STEPS)
    try:
        yield
    finally:
        raw.set_progress_handler(None, 0)
        connection.rollback()


def _ignored(future: asyncio.Future[Any]) -> None:
    """
    Take note of what came too late, so that nobody warns of it.
    """
    if not future.cancelled():
        future.exception()
