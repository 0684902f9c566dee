"""
Lookups on behalf of a run: through the connection's gate, under a deadline, reused for their ttl.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping
from typing import TypeVar

import orjson

from connectors import open_call
from connectors.contract import Call, Connector, Lookup, Record
from engine.gates import AtGate, Gates, InDoubtAtGate
from penstock.clock import Clock
from penstock.errors import AuthFailed, Away, Conflict, Crowded, NotFound, Unavailable
from penstock.http import Http

CACHED = 2_000  # lookup results kept at most
CACHED_MOST = 32 * 1024  # bytes of one that is kept

T = TypeVar("T")
Fetch = Callable[[str, str, int], Awaitable[list[Record]]]
"""`fetch("helpdesk.organization", by, most)`."""


async def through(gates: Gates, connection: str, work: Awaitable[T], *, keyed: bool = False) -> T:
    """
    Await *work* on a connection: an outage shuts its gate, an answer opens it, our own limit says nothing.

    A *keyed* write waits there, too, where nobody can tell whether it took effect; others have to be looked for.
    """
    gate = f"connection:{connection}"
    try:
        result = await work
    except Crowded:
        raise
    except (Unavailable, AuthFailed) as error:
        await gates.shut(
            gate, str(error), retry_after=getattr(error, "retry_after", None), auth=isinstance(error, AuthFailed)
        )
        raise AtGate(gate, str(error)) from error
    except Away as error:
        await gates.shut(gate, str(error))
        if keyed:
            raise InDoubtAtGate(gate, str(error)) from error
        raise
    except (NotFound, Conflict):
        await gates.worked(gate)  # it said no, so it is there
        raise
    await gates.worked(gate)
    return result


class Lookups:
    """
    The reads of all pipelines.
    """

    def __init__(self, connectors: Mapping[str, Connector], *, http: Http, clock: Clock, gates: Gates) -> None:
        self._connectors = connectors
        self._http = http
        self._clock = clock
        self._gates = gates
        self._cache: OrderedDict[tuple[str, str, int], tuple[float, list[Record]]] = OrderedDict()

    @property
    def many(self) -> frozenset[str]:
        """
        The targets that give lists.
        """
        return frozenset(
            f"{connection}.{lookup.name}"
            for connection, connector in self._connectors.items()
            for lookup in connector.lookups.values()
            if lookup.many
        )

    def fetcher(self, run: str, *, probing: str | None = None, fresh: bool = False) -> Fetch:
        """
        Return the function with which a context fetches for *run*; *fresh* uses nothing that was read before.
        """

        async def fetch(target: str, by: str, most: int) -> list[Record]:
            return await self.read(target, by, most, run=run, probing=probing, fresh=fresh)

        return fetch

    async def read(
        self, target: str, by: str, most: int, *, run: str, probing: str | None = None, fresh: bool = False
    ) -> list[Record]:
        """
        Return at most *most* records of the lookup *target* (`connection.lookup`).

        Raises `AtGate` when the connection cannot be used now, `NotFound`, `Rejected`.
        """
        connection, name = target.split(".", 1)
        lookup = self._connectors[connection].lookups[name]
        key = (target, by, most)
        if not fresh and (found := self._cached(key, lookup.ttl)) is not None:
            return found
        self._gates.check(f"connection:{connection}", probing=probing)
        records = await through(self._gates, connection, self._fetch(connection, lookup, by, most, run))
        if lookup.ttl > 0 and len(orjson.dumps(records)) <= CACHED_MOST:
            self._cache[key] = (self._clock.monotonic() + lookup.ttl, records)
            while len(self._cache) > CACHED:
                self._cache.popitem(last=False)
        return records

    async def _fetch(self, connection: str, lookup: Lookup, by: str, most: int, run: str) -> list[Record]:
        call = self._call(connection, run, lookup.timeout)
        try:
            async with asyncio.timeout(lookup.timeout + 1.0):
                return await lookup.fetch(by, call, most)
        except TimeoutError as error:
            raise Unavailable(f"{connection}.{lookup.name} gave no answer within {lookup.timeout:g} s") from error

    def _call(self, connection: str, run: str, timeout: float) -> Call:
        return open_call(
            self._connectors[connection],
            self._http,
            key=hashlib.sha256(f"lookup:{run}".encode()).hexdigest(),
            slot="",
            timeout=timeout,
            clock=self._clock,
        )

    def _cached(self, key: tuple[str, str, int], ttl: float) -> list[Record] | None:
        if ttl <= 0 or (entry := self._cache.get(key)) is None:
            return None
        until, records = entry
        if until < self._clock.monotonic():
            del self._cache[key]
            return None
        return records
