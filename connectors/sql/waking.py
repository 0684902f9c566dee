"""
PostgreSQL's NOTIFY as an alarm clock: it says that there is something, never what.

Nothing is delivered while nobody listens, so a table is read once after we began to listen, and from time to time.
"""

from __future__ import annotations

from types import TracebackType
from typing import Any, Self

import sqlalchemy as sa

from connectors.sql.client import ALIVE
from penstock.errors import Unavailable

CONNECT = 5  # seconds


class Waking:
    """
    A connection that listens to one channel; an async context manager.
    """

    def __init__(self, url: sa.URL, channel: str) -> None:
        self._url = url
        self._channel = channel
        self._connection: Any = None

    async def __aenter__(self) -> Self:
        import psycopg
        from psycopg import sql

        words: Any = {"connect_timeout": CONNECT, "application_name": "penstock", **ALIVE}
        plain = self._url.set(drivername="postgresql").render_as_string(hide_password=False)
        try:
            self._connection = await psycopg.AsyncConnection.connect(plain, autocommit=True, **words)
            await self._connection.execute(sql.SQL("LISTEN {}").format(sql.Identifier(self._channel)))
        except psycopg.Error as error:
            await self._close()
            raise Unavailable(f"cannot listen to {self._channel!r}: {type(error).__name__}") from None
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._close()

    async def wait(self, seconds: float) -> None:
        """
        Return when somebody notified us, after *seconds* at the latest. Raises `Unavailable` when we are cut off.
        """
        import psycopg

        try:
            async for _ in self._connection.notifies(timeout=seconds, stop_after=1):
                pass
        except psycopg.Error as error:
            raise Unavailable(f"no longer listening to {self._channel!r}: {type(error).__name__}") from None

    async def _close(self) -> None:
        if self._connection is not None:
            await self._connection.close()
            self._connection = None
