"""
The part of the book that knows of sources; `ledger.sourcing.Sourcing`.
"""

from __future__ import annotations

from ledger import locks
from ledger.connection import Row
from ledger.lease import Lease
from ledger.locks import Locks
from ledger.queries import queries
from ledger.sourcing import LEAD, CursorEntry
from ledger.store import Store
from penstock.clock import Clock


class SourcingBook:
    """
    Keeps cursors.
    """

    store: Store
    clock: Clock
    lease: Lease

    async def cursor(self, source: str) -> CursorEntry | None:
        named = {"lane": LEAD + source}
        row = await self.store.look(lambda connection: connection.execute(queries["cursor_of"], named).fetchone())
        return None if row is None else _entry(row)

    async def cursors(self) -> list[CursorEntry]:
        rows = await self.store.read(lambda connection: connection.execute(queries["all_cursors"]).fetchall())
        return [_entry(row) for row in rows]

    async def keep_cursor(self, source: str, cursor: bytes) -> bool:
        what = LEAD + source
        named = {"lane": what, "cursor": cursor, "worker": self.lease.worker, "now": self.clock.now_ms()}
        return await self.store.write(
            lambda connection: connection.execute(queries["keep_cursor"], named).fetchone() is not None,
            Locks(sums=(("lead", what),)),
        )

    async def leads(self, what: str) -> bool:
        named = {"what": what, "worker": self.lease.worker}
        return (
            await self.store.look(lambda connection: connection.execute(queries["leads"], named).fetchone()) is not None
        )

    async def stop_leading(self, what: str) -> None:
        named = {"what": what, "worker": self.lease.worker}
        await self.store.write(
            lambda connection: connection.execute(queries["stop_leading"], named), Locks(sums=(("lead", what),))
        )

    async def forget_cursor(self, source: str) -> None:
        await self.store.write(
            lambda connection: connection.execute(queries["forget_cursor"], {"lane": LEAD + source}), locks.ALONE
        )


def _entry(row: Row) -> CursorEntry:
    return CursorEntry(source=row["lane"].removeprefix(LEAD), cursor=bytes(row["cursor"]), at=int(row["at"]))
