"""
One connection to a database.
"""

from __future__ import annotations

import functools
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

import sqlalchemy as sa

from connectors.contract import (
    Action,
    Call,
    Delivery,
    Health,
    JsonSchema,
    Lookup,
    Page,
    Received,
    Record,
    Sample,
    Source,
)
from connectors.settings import Settled
from connectors.sql.client import Database
from connectors.sql.declaration import spec
from connectors.sql.polling import Table
from connectors.sql.rows import record
from connectors.sql.waking import Waking
from penstock.clock import Clock
from penstock.errors import AuthFailed, EdgeError, Invalid, NotFound, Rejected
from penstock.http import Http
from schemas.events import Event

TIMEOUT = 5.0  # seconds of a lookup that says nothing else
MOST = 1_000  # records of one lookup


class SqlConnector:
    """
    Lookups by declared queries, sources of declared tables; nothing is ever written.
    """

    name = "sql"
    accepts: frozenset[str] = frozenset()
    samples: Sequence[Sample] = ()
    actions: Mapping[str, Action] = {}

    def __init__(self, settled: Settled, clock: Clock) -> None:
        self.acts_as: str | None = None
        self._clock = clock
        self._database = Database(settled, clock)
        declared = spec(settled.values)
        self._rules: Mapping[str, Mapping[str, Any]] = settled.values.get("lookups") or {}
        tables: Mapping[str, Mapping[str, Any]] = settled.values.get("sources") or {}
        self.events: Mapping[str, JsonSchema] = declared.events
        self.lookups: Mapping[str, Lookup] = {name: self._lookup(name) for name in self._rules}
        self.sources: Mapping[str, Source] = {
            name: Source(
                name=name,
                description=declared.sources[name].description,
                every=declared.sources[name].every,
                read=functools.partial(self._read, Table(name, rule, self._database, clock), rule),
            )
            for name, rule in tables.items()
        }
        for name, rule in tables.items():
            if "listen" in rule and self._database.url.get_backend_name() != "postgresql":
                raise Invalid(f"the source {name!r} listens, and only PostgreSQL can notify", hint="take `listen` out")

    def __repr__(self) -> str:
        return f"<sql at {self._database.place}>"

    def receive(self, delivery: Delivery) -> Received:
        """
        Refuse: a database delivers nothing.
        """
        del delivery
        raise Rejected(f"{self.name!r} takes no deliveries.")

    def own(self, event: Event) -> str | None:
        """
        Return None: we write nothing.
        """

    async def health(self, call: Call) -> Health:
        """
        Ask for nothing at all, which needs a connection.
        """
        started = self._clock.monotonic()
        try:
            await self._database.ping(call.deadline)
        except AuthFailed as error:
            return Health(state="auth", detail=str(error))
        except EdgeError as error:
            return Health(state="down", detail=str(error))
        self.acts_as = self._database.url.username or "nobody"
        return Health(
            state="ok",
            detail=f"reads {self._database.place}",
            acts_as=self.acts_as,
            latency_ms=round((self._clock.monotonic() - started) * 1000),
        )

    async def close(self) -> None:
        """
        Give every connection and thread back.
        """
        await self._database.close()

    def _lookup(self, name: str) -> Lookup:
        rule = self._rules[name]
        declared = spec({"lookups": {name: rule}}).lookups[name]
        return Lookup(
            name=name,
            description=declared.description,
            fields=declared.fields,
            many=declared.many,
            ttl=float(rule.get("ttl", 0)),
            timeout=float(rule.get("timeout", TIMEOUT)),
            fetch=functools.partial(self._fetch, rule),
        )

    async def _fetch(self, rule: Mapping[str, Any], by: str, call: Call, most: int) -> list[Record]:
        wanted = min(max(1, most), MOST) if rule.get("many") else 1
        statement = sa.text(rule["query"].strip().rstrip(";"))
        if "\0" in by:
            raise Rejected(f"{by[:40]!r} holds a NUL, which no text of a database does")
        given = {"by": by, "most": wanted}
        values = {name: given[name] for name in statement.compile().params}
        rows = await self._database.rows(statement, values, most=wanted, deadline=call.deadline)
        if not rows and not rule.get("many"):
            raise NotFound(f"no row was found by {by!r}")
        return [record(rule["fields"], row) for row in rows]

    async def _read(
        self, table: Table, rule: Mapping[str, Any], cursor: bytes | None, _call: Call
    ) -> AsyncIterator[Page]:
        if "listen" not in rule:
            async for page in table.read(cursor):
                yield page
            return
        await self._database.ping(self._clock.monotonic() + TIMEOUT)  # to know which of two passwords works
        async with Waking(self._database.address, rule["listen"]) as waking:
            while True:
                async for page in table.read(cursor):
                    cursor = page.cursor or cursor
                    yield page
                await waking.wait(float(rule.get("every", 30)))


def open(settled: Settled, *, http: Http, clock: Clock) -> SqlConnector:  # noqa: A001  # as the catalog asks for it
    """
    Return one connection to a database; raises `Invalid`.
    """
    del http
    return SqlConnector(settled, clock)
