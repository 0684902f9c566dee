"""
Sources: published, then the cursor, then the system is told; one worker at a time; lost 0.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import pytest

import bus as bus_room
import ledger as ledger_room
from bus.contract import Bus, Outgoing
from connectors.contract import Call, Decision, Page, Source
from engine import sources as sources_module
from engine.gates import Gates
from engine.sources import Sources
from ledger.contract import Ledger
from ledger.sourcing import LEAD
from penstock.clock import SystemClock
from penstock.errors import AuthFailed, Invalid, Unavailable
from penstock.metrics import Instruments
from schemas.events import Event

TOPIC = "t.desk"
PATIENCE = 20.0  # seconds of the wall clock after which a test gives up


class Killed(BaseException):
    """
    The worker dies here.
    """


@dataclass
class System:
    """
    A system that is read: its changes in order, and how it fails.
    """

    changes: list[str] = field(default_factory=list)
    size: int = 3
    """Changes on a page."""
    trouble: list[Exception | None] = field(default_factory=list)
    """What each reading ends with, before its first page."""
    odd: set[str] = field(default_factory=set)
    """Changes that are not what they are declared to be."""
    told: list[str] = field(default_factory=list)
    decisions: list[Decision] = field(default_factory=list)
    cursors: bool = True
    readings: int = 0
    most: int = 0
    """How many readings there were at one time."""
    now: int = 0

    async def read(self, cursor: bytes | None, _call: Call) -> AsyncIterator[Page]:
        self.readings += 1
        self.now += 1
        self.most = max(self.most, self.now)
        try:
            if self.trouble and (error := self.trouble.pop(0)) is not None:
                raise error
            place = int(cursor or b"0")
            while place < len(self.changes):
                page = self.changes[place : place + self.size]
                place += len(page)
                yield Page(
                    events=tuple(event(name) for name in page if name not in self.odd),
                    refused=tuple((event(name), "odd") for name in page if name in self.odd),
                    decisions=tuple(self.decisions),
                    cursor=str(place).encode() if self.cursors else None,
                    taken=self._taken(page),
                )
        finally:
            self.now -= 1

    def _taken(self, page: list[str]) -> Callable[[], Any]:
        async def taken() -> None:
            self.told += page

        return taken


class Desk:
    """
    A connection of one source.
    """

    name = "desk"

    def __init__(self, system: System, every: float) -> None:
        self.sources = {"changes": Source(name="changes", description="", every=every, read=system.read)}

    def own(self, event: Event) -> str | None:
        return "actor=us" if event.actor == "us" else None


class Deaf:
    """
    A bus that takes nothing while it is told to.
    """

    def __init__(self, bus: Bus) -> None:
        self.bus = bus
        self.refusals: list[Exception] = []
        self.heavy: str | None = None
        self.got: list[str] = []

    async def publish(self, messages: list[Outgoing]) -> None:
        if self.refusals:
            raise self.refusals.pop(0)
        ids = [dict(message.headers)["ce_id"].decode() for message in messages]
        if self.heavy in ids:
            raise Invalid("a message too large")
        await self.bus.publish(messages)
        self.got += ids


@dataclass
class Office:
    """
    A ledger, a bus and a system; workers come and go.
    """

    system: System
    ledger: Ledger
    bus: Deaf
    decided: list[Decision] = field(default_factory=list)
    refused: list[tuple[str, str]] = field(default_factory=list)
    fails: set[str] = field(default_factory=set)
    beats: int = 0

    def beat(self, connection: str, source: str, events: int) -> None:
        assert (connection, source) == ("desk", "changes")
        self.beats += events

    def worker(self, ledger: Ledger | None = None, *, every: float = 0.01) -> Sources:
        book, clock = ledger or self.ledger, SystemClock()

        async def decide(decisions: Any) -> None:
            self.decided += decisions

        async def refuse(_connection: str, event: Event, why: str) -> None:
            self.refused.append((event.id, why))

        def fail(name: str) -> None:
            if name in self.fails:
                self.fails.discard(name)
                raise Killed

        return Sources(
            {"desk": Desk(self.system, every)},  # type: ignore[dict-item]
            bus=self.bus,  # type: ignore[arg-type]
            ledger=book,
            http=None,  # type: ignore[arg-type]
            clock=clock,
            gates=Gates(book, clock),
            topic=lambda name: f"t.{name}",
            decide=decide,
            refuse=refuse,
            told=[self],
            instruments=Instruments(),
            fail=fail,
        )

    @contextlib.asynccontextmanager
    async def working(self, ledger: Ledger | None = None, *, every: float = 0.01) -> AsyncIterator[Sources]:
        worker = self.worker(ledger, every=every)
        worker.start()
        try:
            yield worker
        finally:
            await worker.stop()

    async def cursor(self) -> bytes | None:
        entry = await self.ledger.cursor("desk/changes")
        return entry.cursor if entry else None


def event(name: str) -> Event:
    return Event(
        id=name,
        source="https://desk.example",
        type="ticket.created",
        subject="35",
        time=datetime(2026, 1, 5, tzinfo=UTC),
        actor="us" if name.startswith("own") else None,
        data={"changed": ["status"]} if name.startswith("changed") else {},
    )


async def until(holds: Callable[[], Any]) -> None:
    async with asyncio.timeout(PATIENCE):
        while not holds():
            await asyncio.sleep(0.005)


@pytest.fixture(params=["memory", "file"])
async def office(request: Any, tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Office]:
    monkeypatch.setattr(sources_module, "LOOK_EVERY", 0.05)
    monkeypatch.setattr(sources_module, "Backoff", quick)
    monkeypatch.setattr(sources_module, "FIRST_PAUSE", 0.01)
    ledger = await ledger_room.open(None if request.param == "memory" else tmp_path / "ledger.db", clock=SystemClock())
    bus = bus_room.open(None, partitions=2, keep=3600.0, clock=SystemClock())
    await bus.ensure_topic(TOPIC, 2)
    yield Office(System([str(number) for number in range(10)]), ledger, Deaf(bus))
    await bus.close()
    await ledger.close()


def quick(**_named: Any) -> Any:
    return type("Quick", (), {"decide": lambda self, failures, asked: 0.01})()


async def test_published_then_kept_then_told(office: Office) -> None:
    """Every change is on the bus once, the cursor behind the last, the system told of each page."""
    async with office.working():
        await until(lambda: len(office.system.told) == 10)

    assert office.bus.got == office.system.changes
    assert office.system.told == office.system.changes
    assert await office.cursor() == b"10"
    assert office.beats == 10


async def test_new_changes_are_read_later(office: Office) -> None:
    """A poll comes again after its time, from the cursor."""
    async with office.working():
        await until(lambda: len(office.bus.got) == 10)
        office.system.changes += ["a", "b"]
        await until(lambda: len(office.bus.got) == 12)

    assert office.bus.got[-2:] == ["a", "b"]


async def test_a_bus_that_is_down_moves_nothing(office: Office) -> None:
    """What could not be published is not told and not passed; it comes again."""
    office.bus.refusals = [Unavailable("no broker"), TimeoutError()]
    async with office.working():
        await until(lambda: office.system.readings >= 2)
        seen = list(office.bus.got)
        await until(lambda: len(office.system.told) == 10)

    assert seen == []
    assert office.bus.got == office.system.changes


@pytest.mark.parametrize("point", ["source:after-publish", "source:after-cursor"])
async def test_a_worker_that_dies(office: Office, point: str) -> None:
    """Between publish and cursor a page comes twice, with the same ids; after the cursor it does not; none is lost."""
    office.fails.add(point)
    with contextlib.suppress(BaseException):
        async with office.working() as worker:
            await until(lambda: not office.fails)
            for task in worker._tasks:
                await asyncio.wait([task])
    async with office.working():
        await until(lambda: "9" in office.bus.got)

    assert set(office.bus.got) == set(office.system.changes)
    assert len(office.bus.got) == (13 if point == "source:after-publish" else 10)


async def test_one_worker_reads(office: Office) -> None:
    """Of two workers one reads; when it stops, the other goes on from its cursor at once."""
    from ledger.testing import beside

    other = await beside(office.ledger)  # type: ignore[arg-type]
    first, second = office.worker(), office.worker(other)
    first.start()
    await until(lambda: len(office.bus.got) == 10)
    second.start()
    office.system.changes += ["a"]
    await until(lambda: "a" in office.bus.got)
    await first.stop()
    office.system.changes += ["b"]
    await until(lambda: "b" in office.bus.got)
    await second.stop()

    assert office.system.most == 1
    assert office.bus.got == office.system.changes


async def test_whoever_slept_moves_no_cursor(office: Office) -> None:
    """A worker whose source another leads by now publishes at most what comes twice, and moves nothing."""
    from ledger.testing import beside

    other = await beside(office.ledger)  # type: ignore[arg-type]
    asleep = asyncio.Event()
    publish = office.bus.publish

    async def slow(messages: Any) -> None:
        await publish(messages)
        if len(office.bus.got) == 6:
            await office.ledger.stop_leading(LEAD + "desk/changes")
            assert await other.lead(LEAD + "desk/changes", lasts=60.0)
            assert await other.keep_cursor("desk/changes", b"8")
            asleep.set()

    office.bus.publish = slow  # type: ignore[method-assign]
    async with office.working():
        await asyncio.wait_for(asleep.wait(), PATIENCE)  # noqa: TID251  # a test
        await asyncio.sleep(0.2)

    assert await office.cursor() == b"8"
    assert office.system.told == ["0", "1", "2"]


async def test_a_refused_credential_shuts_the_gate(office: Office) -> None:
    """That of the source alone; the first reading that works opens it."""
    office.system.trouble = [AuthFailed("401")] * 3
    async with office.working() as worker:
        await until(lambda: office.system.readings == 2)
        shut = [gate.gate for gate in await office.ledger.gates()]
        await until(lambda: len(office.bus.got) == 10)
        await until(lambda: not worker._gates._shut)

    assert shut == ["source:desk/changes"]
    assert await office.ledger.gates() == []


async def test_a_page_opens_no_gate_that_writes_have_shut(office: Office) -> None:
    """That changes come in says nothing of what goes out; a source that another worker gave up is opened, though."""
    await office.ledger.shut("connection:desk", "429", probe_at=1, refused=False)
    await office.ledger.shut("source:desk/changes", "401", probe_at=1, refused=True)
    async with office.working():
        await until(lambda: len(office.system.told) == 10)

    assert [gate.gate for gate in await office.ledger.gates()] == ["connection:desk"]


@pytest.mark.parametrize(("every", "asked", "least"), [(60.0, None, 60.0), (0.0, None, 1.0), (0.0, 100.0, 101.0)])
@pytest.mark.parametrize("failures", [1, 9])
async def test_what_fails_is_read_later(every: float, asked: float | None, least: float, failures: int) -> None:
    """Never sooner than what works, and not before the system wants it."""
    source = Source(name="changes", description="", every=every, read=System().read)
    ledger = await ledger_room.open(None, clock=SystemClock())
    worker = Office(System(), ledger, Deaf(None)).worker()  # type: ignore[arg-type]
    pauses = [worker._pause(source, failures, asked) for _ in range(200)]
    await ledger.close()

    assert min(pauses) >= least
    assert max(pauses) <= least + sources_module.LONGEST_PAUSE + (asked or 0.0)
    assert worker._pause(source, 0, None) == every


async def test_an_unforeseen_error_ends_no_source(office: Office) -> None:
    """A reading that breaks in a way nobody thought of begins again."""
    office.system.trouble = [ZeroDivisionError() for _ in range(10_000)]
    async with office.working():
        await until(lambda: office.system.readings >= 2)
        shut = await office.ledger.gates()
        office.system.trouble = [None, ZeroDivisionError()]
        await until(lambda: len(office.bus.got) == 10)

    assert [(gate.gate, "ZeroDivisionError" in gate.reason) for gate in shut] == [("source:desk/changes", True)]


async def test_a_stream_begins_again(office: Office) -> None:
    """One whose reading ends is read again from its cursor."""
    async with office.working(every=0.0):
        await until(lambda: len(office.bus.got) == 10)
        office.system.changes.append("late")
        await until(lambda: "late" in office.bus.got)


async def test_an_event_that_cannot_travel(office: Office) -> None:
    """It ends as a dead letter, alone; the others of its page go on."""
    office.bus.heavy = "4"
    async with office.working():
        await until(lambda: len(office.system.told) == 10)

    assert [name for name, _ in office.refused] == ["4"]
    assert set(office.bus.got) == set(office.system.changes) - {"4"}


async def test_an_event_that_is_none(office: Office) -> None:
    """What a source sets aside ends as a dead letter before its cursor is saved; the others of its page go on."""
    office.system.odd = {"4", "7"}
    office.fails.add("source:after-publish")
    with contextlib.suppress(Killed):
        async with office.working():
            await until(lambda: not office.fails)
            assert await office.cursor() is None
    async with office.working():
        await until(lambda: len(office.system.told) == 10)

    assert set(office.refused) == {("4", "odd"), ("7", "odd")}
    assert set(office.bus.got) == set(office.system.changes) - {"4", "7"}


async def test_decisions_are_kept_before_the_cursor(office: Office) -> None:
    """What people decided comes with a page, and is kept with it."""
    office.system.decisions = [Decision(key="k", choice="approve", by="U1")]
    office.fails.add("source:after-publish")
    async with office.working():
        await until(lambda: len(office.system.told) >= 3 or not office.fails)
    assert office.decided == []
    async with office.working():
        await until(lambda: len(office.system.told) == 10)

    assert {decision.key for decision in office.decided} == {"k"}


async def test_decisions_are_there_once_a_cursor_is(office: Office) -> None:
    """A worker that dies behind its cursor leaves no decision behind."""
    office.system.decisions = [Decision(key="k", choice="approve", by="U1")]
    office.fails.add("source:after-cursor")
    with contextlib.suppress(BaseException):
        async with office.working() as worker:
            await until(lambda: not office.fails)
            for task in worker._tasks:
                await asyncio.wait([task])

    assert await office.cursor() == b"3"
    assert [decision.key for decision in office.decided] == ["k"]


async def test_whoever_slept_acknowledges_nothing(office: Office) -> None:
    """A page without a cursor, too, is only taken by the worker that leads."""
    from ledger.testing import beside

    other = await beside(office.ledger)  # type: ignore[arg-type]
    office.system.cursors = False
    publish = office.bus.publish

    async def slow(messages: Any) -> None:
        await publish(messages)
        if len(office.bus.got) == 6:
            await office.ledger.stop_leading(LEAD + "desk/changes")
            assert await other.lead(LEAD + "desk/changes", lasts=60.0)

    office.bus.publish = slow  # type: ignore[method-assign]
    async with office.working():
        await until(lambda: len(office.bus.got) >= 6)
        await asyncio.sleep(0.2)

    assert office.system.told == ["0", "1", "2"]


async def test_own_writes_are_marked(office: Office) -> None:
    """What the connector calls its own is marked where it enters."""
    office.system.changes = ["own-1", "2"]
    headers: list[dict[str, bytes]] = []
    publish = office.bus.publish

    async def noted(messages: Any) -> None:
        headers.extend(dict(message.headers) for message in messages)
        await publish(messages)

    office.bus.publish = noted  # type: ignore[method-assign]
    async with office.working():
        await until(lambda: len(office.system.told) == 2)

    assert [header.get("ce_ownwrite") for header in headers] == [b"actor=us", None]


@pytest.mark.parametrize(("every", "lumped"), [(0.01, [None, "True", None]), (0, [None, None, None])])
async def test_what_a_poll_finds_may_be_several_changes(office: Office, every: float, lumped: Any) -> None:
    """Unless it says who or what; a stream tells of each change."""
    office.system.changes = ["own-1", "2", "changed-3"]
    headers: list[dict[str, bytes]] = []
    publish = office.bus.publish

    async def noted(messages: Any) -> None:
        headers.extend(dict(message.headers) for message in messages)
        await publish(messages)

    office.bus.publish = noted  # type: ignore[method-assign]
    async with office.working(every=every):
        await until(lambda: len(office.system.told) == 3)

    assert [header.get("ce_lumped", b"").decode() or None for header in headers] == lumped
