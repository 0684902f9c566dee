"""
The part of the book that knows of lineage; `ledger.lineage.Lineage`.
"""

from __future__ import annotations

from typing import Any

import orjson

from ledger import locks
from ledger.connection import Connection, Row
from ledger.lineage import Cause, Heard
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

    async def explains_another(self, cause: Cause, heard: Heard) -> bool:
        named = _named(heard) | {"cause": bytes.fromhex(cause.run), "step": cause.step}
        return await self.store.look(lambda c: c.execute(queries["explains_another"], named).fetchone()) is not None

    async def keep_origin(self, heard: Heard, origin: OriginEntry) -> None:
        values = {"pipeline": origin.pipeline, "step": origin.step, "depth": origin.depth}
        named = _named(heard) | {"cause": bytes.fromhex(origin.run)} | values
        await self.store.write(lambda connection: connection.execute(queries["keep_origin"], named), locks.NONE)


def origin_of(connection: Connection, run: bytes) -> OriginEntry | None:
    """
    Return what *run* comes of; None when it comes of no write of ours.
    """
    row = connection.execute(queries["origin_of"], {"run": run}).fetchone()
    if row is None:
        return None
    return OriginEntry(run=row["cause"].hex(), pipeline=row["pipeline"], step=row["step"], depth=row["depth"])


def _named(heard: Heard) -> dict[str, Any]:
    return {"run": bytes.fromhex(heard.run), "heard_by": heard.pipeline, "event": heard.event}


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
