"""
The part of the book that knows of lineage; `ledger.lineage.Lineage`.
"""

from __future__ import annotations

import orjson

from ledger import locks
from ledger.connection import Connection, Row
from ledger.lineage import Cause
from ledger.queries import queries
from ledger.store import Store
from schemas.entries import OriginEntry

MOST = 20  # writes to one record that are looked at


class LineageBook:
    """
    Keeps lineage.
    """

    store: Store

    async def causes(self, connection: str, record: str, since: int) -> list[Cause]:
        named = {"connection": connection, "record": record, "since": since, "most": MOST}
        rows = await self.store.look(lambda c: c.execute(queries["causes"], named).fetchall())
        return [_cause(row) for row in rows]

    async def keep_origin(self, run: str, origin: OriginEntry) -> None:
        named = {"run": bytes.fromhex(run), "cause": bytes.fromhex(origin.run)}
        values = named | {"pipeline": origin.pipeline, "step": origin.step, "depth": origin.depth}
        await self.store.write(lambda connection: connection.execute(queries["keep_origin"], values), locks.NONE)


def origin_of(connection: Connection, run: bytes) -> OriginEntry | None:
    """
    Return what *run* comes of; None when it comes of no write of ours.
    """
    row = connection.execute(queries["origin_of"], {"run": run}).fetchone()
    if row is None:
        return None
    return OriginEntry(run=row["cause"].hex(), pipeline=row["pipeline"], step=row["step"], depth=row["depth"])


def _cause(row: Row) -> Cause:
    began = row["begun_at"]
    return Cause(
        run=row["run"].hex(),
        pipeline=row["pipeline"],
        step=row["step"],
        fields=frozenset(orjson.loads(row["fields"])),
        state=row["state"],
        began_at=row["at"] if began is None else min(began, row["at"]),
        at=row["at"],
        made=bool(row["made"]),
        depth=row["depth"],
        event=(row["source"], row["event_id"]),
    )
