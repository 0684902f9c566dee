"""
The part of the book that knows of lineage; `ledger.lineage.Lineage`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import orjson

from ledger.connection import Connection, Row
from ledger.lineage import Cause, Heard, Kept
from ledger.locks import Locks
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

    async def come_of(self, heard: Heard, origins: Sequence[OriginEntry], *, anyway: bool) -> Kept | None:
        needs = Locks(sums=tuple({("lineage", origin.run) for origin in origins}))  # two events may be judged at once
        return await self.store.write(lambda connection: _come_of(connection, heard, origins, anyway), needs)

    async def unexplained(self, heard: Heard, record: str, since: int) -> list[bytes]:
        named = {"heard_by": heard.pipeline, "record": record, "since": since, "most": MOST}
        rows = await self.store.look(lambda c: c.execute(queries["unexplained"], named).fetchall())
        return [row["body"] for row in rows]


def origin_of(connection: Connection, run: bytes) -> OriginEntry | None:
    """
    Return what *run* comes of; None when it comes of no write of ours.
    """
    row = connection.execute(queries["origin_of"], {"run": run}).fetchone()
    return None if row is None else _origin(row)


def _come_of(connection: Connection, heard: Heard, origins: Sequence[OriginEntry], anyway: bool) -> Kept | None:
    named = _named(heard)
    row = connection.execute(queries["origin_of"], named).fetchone()
    if row is not None:
        return Kept(origin=_origin(row), beside=bool(row["beside"]))
    free = [origin for origin in origins if not _explains_another(connection, named | _caused(origin))]
    if not free and not (anyway and origins):
        return None
    kept = Kept(origin=(free or origins)[0], beside=not free)
    connection.execute(queries["keep_origin"], named | _caused(kept.origin) | {"beside": int(kept.beside)})
    return kept


def _explains_another(connection: Connection, named: dict[str, Any]) -> bool:
    return connection.execute(queries["explains_another"], named).fetchone() is not None


def _origin(row: Row) -> OriginEntry:
    return OriginEntry(run=row["cause"].hex(), pipeline=row["pipeline"], step=row["step"], depth=row["depth"])


def _caused(origin: OriginEntry) -> dict[str, Any]:
    values = {"pipeline": origin.pipeline, "step": origin.step, "depth": origin.depth}
    return {"cause": bytes.fromhex(origin.run)} | values


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
