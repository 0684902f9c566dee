"""
Sources: what systems do not deliver is read, published, and only then is the cursor moved.

Each source is led by one worker; another takes over when that one is gone. A page is published and its decisions
are kept before its cursor is saved, and its cursor is saved before the system is told: a crash anywhere in
between reads a page twice, and ids that come twice are recognised. A reading that fails begins again at the cursor.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import logging
import random
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from bus.contract import Bus
from connectors import open_source_call
from connectors.contract import Call, Connector, Decision, Page, Source
from engine.gates import Gates
from engine.outgoing import outgoing
from ledger.contract import Ledger
from ledger.sourcing import LEAD
from penstock.clock import Clock
from penstock.errors import AuthFailed, Invalid, PenstockError, Unavailable
from penstock.http import Http
from penstock.metrics import Instruments
from penstock.retry import Backoff
from schemas.events import Event

log = logging.getLogger(__name__)

LASTS = 30.0  # seconds a lead holds without being renewed
LOOK_EVERY = 5.0  # seconds between looks at what another leads
REQUEST = 30.0  # seconds one request of a source may take
PUBLISH = 30.0  # seconds the bus may take with one page
TOLD = 10.0  # seconds to tell the system that a page was taken, or to follow it up
FIRST_PAUSE = 1.0  # seconds
LONGEST_PAUSE = 300.0  # seconds between readings of what fails
STEADY = 120.0  # seconds a reading has to last to count as one that worked
GIVE_BACK = 2.0  # seconds to give a lead back when we stop


class Told(Protocol):
    """
    Who is told what came in.
    """

    def beat(self, connection: str, source: str, events: int) -> None:
        """
        Note that *source* of *connection* was read, with so many events.
        """
        ...


class Lost(PenstockError):
    """
    Another worker reads this source now.
    """


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """
    One source of one connection.
    """

    connection: str
    source: Source

    @property
    def name(self) -> str:
        """
        What its cursor is kept under.
        """
        return f"{self.connection}/{self.source.name}"

    @property
    def gate(self) -> str:
        """
        The gate that is shut while a person has to see to it. Runs do not wait there: they have credentials of their own.
        """
        return f"source:{self.name}"


class Sources:
    """
    Reads every source of this hub that no other worker reads.
    """

    def __init__(
        self,
        connectors: Mapping[str, Connector],
        *,
        bus: Bus,
        ledger: Ledger,
        http: Http,
        clock: Clock,
        gates: Gates,
        topic: Callable[[str], str],
        decide: Callable[[Sequence[Decision]], Awaitable[None]],
        refuse: Callable[[str, Event, str], Awaitable[None]],
        told: Sequence[Told] = (),
        instruments: Instruments,
        fail: Callable[[str], None] = lambda _name: None,
    ) -> None:
        self._connectors = connectors
        self._bus = bus
        self._ledger = ledger
        self._http = http
        self._clock = clock
        self._gates = gates
        self._topic = topic
        self._decide = decide
        self._refuse = refuse
        self._told = told
        self._fail = fail
        self._came = instruments.counter(
            "penstock_source_events", "Events that were read from sources.", ["connection", "source"]
        )
        self._broke = instruments.counter(
            "penstock_source_failures", "Readings of sources that failed.", ["connection", "source"]
        )
        self._tasks: list[asyncio.Task[None]] = []
        self._well: set[str] = set()
        """Sources whose gates are open."""
        self._follows: set[asyncio.Task[None]] = set()
        self.places = [
            Place(connection=name, source=source)
            for name, connector in connectors.items()
            for source in connector.sources.values()
        ]

    def start(self) -> None:
        """
        Begin to read.
        """
        self._tasks = [asyncio.create_task(self._keep(place), name=f"source {place.name}") for place in self.places]

    async def stop(self) -> None:
        """
        Leave every reading where it is: what was not taken comes again.
        """
        tasks = [*self._tasks, *self._follows]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._tasks = []

    # ---- one source -------------------------------------------------------------------------------

    async def _keep(self, place: Place) -> None:
        """
        Read *place* as long as this worker leads it; look from time to time while another does.
        """
        what = LEAD + place.name
        while True:
            try:
                if await self._ledger.lead(what, lasts=LASTS):
                    self._well.discard(place.name)
                    await self._led(place, what)
            except Lost as error:
                log.warning("source %s: %s", place.name, error)
            except Unavailable as error:
                log.warning("source %s: the ledger cannot be used: %s", place.name, error)
            except Exception:
                log.exception("source %s failed unforeseen", place.name)
            await self._clock.sleep(LOOK_EVERY * (0.75 + random.random() / 2))  # noqa: S311  # nothing secret

    async def _led(self, place: Place, what: str) -> None:
        reading = asyncio.create_task(self._read_on(place), name=f"reading {place.name}")
        try:
            renewed = self._clock.monotonic()
            while not reading.done():
                await asyncio.wait({reading}, timeout=LASTS / 3)
                try:
                    if not reading.done() and not await self._ledger.lead(what, lasts=LASTS):
                        raise Lost("another worker reads it now")
                    renewed = self._clock.monotonic()
                except Unavailable:
                    if self._clock.monotonic() - renewed > LASTS:
                        raise
            reading.result()
        finally:
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)
            with contextlib.suppress(Unavailable, TimeoutError):
                async with asyncio.timeout(GIVE_BACK):
                    await self._ledger.stop_leading(what)

    async def _read_on(self, place: Place) -> None:
        """
        Read again and again; after errors later each time.
        """
        failures = 0
        while True:
            began, asked = self._clock.monotonic(), None
            try:
                await self._read(place)
                failures = failures + 1 if not place.source.every and self._short(began) else 0
            except (PenstockError, TimeoutError) as error:
                if isinstance(error, Lost):
                    raise
                failures = 1 if not self._short(began) else failures + 1
                asked = getattr(error, "retry_after", None)
                await self._failed(place, error)
            except Exception as error:
                failures += 1
                self._broke(1, place.connection, place.source.name)
                log.exception("source %s failed unforeseen; it is read again from its cursor", place.name)
                self._well.discard(place.name)  # whoever looks sees that nothing comes in
                await self._gates.shut(place.gate, f"reading it failed unforeseen: {type(error).__name__}")
            await self._clock.sleep(self._pause(place.source, failures, asked))

    def _short(self, began: float) -> bool:
        return self._clock.monotonic() - began < STEADY

    def _pause(self, source: Source, failures: int, asked: float | None) -> float:
        if not failures:
            return source.every
        backoff = Backoff(first=FIRST_PAUSE, last=LONGEST_PAUSE, attempts=failures)
        return max(source.every, FIRST_PAUSE) + (backoff.decide(failures, asked) or 0.0)

    async def _failed(self, place: Place, error: Exception) -> None:
        log.warning("source %s: %s: %s", place.name, type(error).__name__, error)
        self._broke(1, place.connection, place.source.name)
        if isinstance(error, AuthFailed):
            self._well.discard(place.name)
            await self._gates.shut(place.gate, str(error), auth=True)

    async def _read(self, place: Place) -> None:
        entry = await self._ledger.cursor(place.name)
        connector = self._connectors[place.connection]
        call = open_source_call(
            connector,
            self._http,
            key=hashlib.sha256(f"source:{place.name}".encode()).hexdigest(),
            timeout=REQUEST,
            clock=self._clock,
        )
        pages: AsyncIterator[Page] = place.source.read(entry.cursor if entry else None, call)
        async with contextlib.aclosing(_closable(pages)) as reading:
            async for page in reading:
                await self._take(place, connector, page)

    async def _take(self, place: Place, connector: Connector, page: Page) -> None:
        await self._publish(place, connector, page.events)
        for event, why in page.refused:
            log.warning("source %s: event %s is set aside: %s", place.name, event.id, why)
            await self._refuse(place.connection, event, why)
        self._fail("source:after-publish")
        if page.decisions:
            await self._decide(page.decisions)
        if page.cursor is not None:
            kept = await self._ledger.keep_cursor(place.name, page.cursor)
        else:
            kept = await self._ledger.leads(LEAD + place.name)
        if not kept:
            raise Lost("another worker reads it now; the page comes again there")
        self._fail("source:after-cursor")
        self._came(len(page.events), place.connection, place.source.name)
        if place.name not in self._well:  # another worker may have shut it
            await self._gates.worked(place.gate)
            await self._ledger.reopen(place.gate)
            self._well.add(place.name)
        for told in self._told:
            told.beat(place.connection, place.source.name, len(page.events))
        if page.taken is not None:
            await self._tell(place, page.taken)
        if page.follow is not None:
            self._follow(place, connector, page.follow)

    async def _publish(self, place: Place, connector: Connector, events: Sequence[Event]) -> None:
        if not events:
            return
        topic, polled = self._topic(place.connection), place.source.every > 0
        try:
            async with asyncio.timeout(PUBLISH):
                await self._bus.publish([outgoing(topic, connector, event, polled=polled) for event in events])
        except Invalid as error:
            if len(events) == 1:
                log.warning("source %s: event %s cannot travel: %s", place.name, events[0].id, error)
                await self._refuse(place.connection, events[0], str(error))
                return
            for event in events:  # one of them is to blame; those that went already are recognised
                await self._publish(place, connector, [event])

    async def _tell(self, place: Place, taken: Callable[[], Awaitable[None]]) -> None:
        try:
            async with asyncio.timeout(TOLD):
                await taken()
        except (PenstockError, TimeoutError, OSError) as error:
            log.warning("source %s could not be told that a page was taken: %s", place.name, error or "too slow")

    def _follow(self, place: Place, connector: Connector, follow: Callable[[Call], Awaitable[None]]) -> None:
        task = asyncio.create_task(followed(connector, follow, http=self._http, clock=self._clock, name=place.name))
        self._follows.add(task)
        task.add_done_callback(self._follows.discard)


async def followed(
    connector: Connector, follow: Callable[[Call], Awaitable[None]], *, http: Http, clock: Clock, name: str
) -> None:
    """
    Do once what has to follow a delivery or a page; an error is only logged.
    """
    key = hashlib.sha256(f"follow:{name}".encode()).hexdigest()
    try:
        async with asyncio.timeout(TOLD):
            await follow(open_source_call(connector, http, key=key, timeout=TOLD, clock=clock))
    except (PenstockError, TimeoutError, OSError) as error:
        log.warning("%s: what had to follow failed: %s", name, error or "too slow")
    except Exception:
        log.exception("%s: what had to follow failed unforeseen", name)


async def _closable(pages: AsyncIterator[Page]) -> AsyncGenerator[Page, None]:
    """
    Yield *pages*; a reading that is left is closed at once, not when somebody collects it.
    """
    try:
        async for page in pages:
            yield page
    finally:
        close = getattr(pages, "aclose", None)  # an iterator that is no generator has none
        if close is not None:
            await close()
