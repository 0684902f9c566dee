"""
A pipeline on parts that do what a test says: a desk that remembers, a model that counts, a clock that jumps.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

import bus as bus_room
import ledger as ledger_room
from ai.meters import Meters
from ai.pacing import Paces
from connectors.contract import Action, Call, Delivery, Health, Lookup, Received, Sample, Source, Written
from engine import Gates, Runner
from engine import executor as executor_module
from engine import waiting as waiting_module
from engine.watch import Watch
from ledger.contract import Claim, Known, Ledger
from penstock.clock import SystemClock
from penstock.errors import NotFound
from penstock.metrics import Instruments
from pipelines.declaration import Declaration
from pipelines.plan import Plan, compile_pipeline
from schemas.entries import Answer, RunDetail
from schemas.events import Event
from tests.engine.bench import Bench
from tests.engine.hall import Hall, open_hall

SYSTEM = "{% block system %}Summarise.{% endblock %}{% block user %}{{ context }}{% endblock %}"
NOTE = "{{ output.summary }}"
SCHEMA = (
    '{"type": "object", "required": ["summary"], "additionalProperties": false,'
    ' "properties": {"summary": {"type": "string"}, "confidence": {"type": "number"}}}'
)


class JumpClock(SystemClock):
    """
    The machine's clock, except that nobody really sleeps: time jumps instead.
    """

    def __init__(self) -> None:
        self.ahead = 0.0

    def now_ms(self) -> int:
        return super().now_ms() + int(self.ahead * 1000)

    def monotonic(self) -> float:
        return super().monotonic() + self.ahead

    async def sleep(self, seconds: float) -> None:
        self.ahead += max(0.0, seconds)
        await asyncio.sleep(0)


@dataclass
class Desk:
    """
    A help desk in memory: a connector whose failures a test writes down beforehand.
    """

    name: str = "desk"
    acts_as: str | None = "4711"
    idempotency: Any = "read-back"
    key_lifetime: float | None = None
    records: dict[str, dict[str, Any]] = field(default_factory=lambda: {"35": {"id": "35", "status": "new"}})
    customers: dict[str, dict[str, Any]] = field(default_factory=lambda: {"9": {"name": "Nadia Ltd"}})
    notes: list[tuple[str, str, str]] = field(default_factory=list)
    """Key, record, text of each note that took effect."""
    trouble: dict[str, list[BaseException | None]] = field(default_factory=dict)
    """Per operation, what the next calls raise before (`write`, `lookup`) or after (`written`) their work."""
    calls: list[str] = field(default_factory=list)
    findable: bool = True
    events: Mapping[str, Any] = field(default_factory=lambda: {"ticket.created": {}, "ticket.updated": {}})
    samples: Sequence[Sample] = ()
    sources: Mapping[str, Source] = field(default_factory=dict)
    accepts: frozenset[str] = frozenset({"application/json"})

    def receive(self, delivery: Delivery) -> Received:
        raise AssertionError("nothing is delivered here")

    def own(self, event: Event) -> str | None:
        return f"actor={event.actor}" if event.actor == self.acts_as else None

    async def close(self) -> None:
        """
        Do nothing.
        """

    async def health(self, call: Call) -> Health:
        return Health(state="ok", detail="fine", acts_as=self.acts_as)

    def authorise(self, request: Any) -> None:
        """
        Nothing is sent.
        """

    def _raise(self, operation: str) -> None:
        self.calls.append(operation)
        waiting = self.trouble.get(operation, [])
        if waiting and (error := waiting.pop(0)) is not None:
            raise error

    async def _customer(self, by: str, call: Call, most: int) -> list[dict[str, Any]]:
        self._raise("lookup")
        if by not in self.customers:
            raise NotFound(f"no customer {by!r}")
        return [self.customers[by]]

    async def _ticket(self, by: str, call: Call, most: int) -> list[dict[str, Any]]:
        self._raise("read")
        if by not in self.records:
            raise NotFound(f"no ticket {by!r}")
        return [self.records[by]]

    async def _write(self, record: str, args: Mapping[str, Any], mode: Any, call: Call) -> Written:
        self._raise("write")
        self.notes.append((call.key, record, args.get("text", "")))
        self._raise("written")
        return Written(remote_id=f"n{len(self.notes)}")

    async def _find(self, record: str, mode: Any, call: Call) -> Written | None:
        self._raise("find")
        found = [number for number, note in enumerate(self.notes, 1) if note[0] == call.key]
        return Written(remote_id=f"n{found[0]}", already=True) if found else None

    @property
    def lookups(self) -> Mapping[str, Lookup]:
        def lookup(name: str, fetch: Any, fields: Sequence[str]) -> Lookup:
            return Lookup(
                name=name,
                description="",
                fields={field: {} for field in fields},
                many=False,
                ttl=0,
                timeout=5,
                fetch=fetch,
            )

        return {
            "customer": lookup("customer", self._customer, ["name"]),
            "ticket": lookup("ticket", self._ticket, ["id", "status"]),
        }

    @property
    def actions(self) -> Mapping[str, Action]:
        note = Action(
            name="note",
            description="",
            idempotency=self.idempotency,
            takes=frozenset({"text", "fields"}),
            modes=("add",),
            sets=None,
            emits=frozenset({"ticket.updated"}),
            touches=frozenset({"comment"}),
            reads="ticket",
            key_lifetime=self.key_lifetime,
            timeout=5,
            write=self._write,
            find=self._find if self.findable else None,
        )
        return {"note": note}


class NoBatches:
    """
    Nothing is asked in batches.
    """

    async def look(self) -> None:
        """
        There is nothing to look after.
        """


@dataclass
class Model:
    """
    An AI layer that answers at once and keeps its answers in the real ledger.
    """

    ledger: Ledger
    asked: int = 0
    prompts: list[Any] = field(default_factory=list)
    says: dict[str, Any] = field(default_factory=lambda: {"summary": "Parcel lost.", "confidence": 0.9})
    trouble: list[BaseException] = field(default_factory=list)
    meanwhile: list[Callable[[], object]] = field(default_factory=list)
    """What happens elsewhere while it thinks, one of them a question."""
    paces: Paces = field(init=False)
    batches: NoBatches = field(default_factory=NoBatches)

    def __post_init__(self) -> None:
        self.paces = Paces({}, ledger=self.ledger, clock=SystemClock(), meters=Meters(Instruments()))

    async def recall(self, claim: Claim, *, output: Any, ask_hash: str) -> Answer | None:
        found = await self.ledger.answer(claim.run, "ask", claim.generation)
        return None if found is None else Answer.model_validate(found[0])

    async def ask(self, claim: Claim, prompt: Any, *, output: Any, ask_hash: str, **rest: Any) -> Answer:
        async with self.ledger.step(claim, "ask", kind="ask", action_class="ai", timeout=5) as step:
            self.asked += 1
            self.prompts.append(prompt)
            if self.trouble:
                raise self.trouble.pop(0)
            if self.meanwhile:
                self.meanwhile.pop(0)()
            answer = Answer(
                output=self.says, model="small", provider="fake", label="fake", ask_hash=ask_hash, schema_hash="s"
            )
            await step.done(answer.model_dump(mode="json"), receipt=rest.get("receipt"))
            return answer


@dataclass
class World:
    """
    One pipeline, ready to be given events.
    """

    root: Path
    desk: Desk
    model: Model
    ledger: Ledger
    clock: JumpClock
    gates: Gates
    fails: dict[str, BaseException] = field(default_factory=dict)
    models: dict[str, Any] = field(default_factory=dict)
    declaration: dict[str, Any] = field(default_factory=dict)
    instruments: Instruments = field(default_factory=Instruments)

    def __post_init__(self) -> None:
        self.watch = Watch(self.instruments, self.clock)

    def plan(self, *, budgets: Any = None, routes: Any = None, **changes: Any) -> Plan:
        pipeline = {
            "trigger": {"connection": "desk", "events": ["ticket.created", "ticket.updated"]},
            "context": {"tokens": 500, "sections": {"ticket": {"from": "event.data"}}},
            "ask": {"model": "small", "template": "ask.j2", "output": "out.json"},
            "deliver": [{"to": "desk.note", "template": "note.j2"}],
        }
        for path, value in changes.items():
            target: Any = pipeline
            *parents, last = path.split("__")
            for parent in parents:
                target = target.setdefault(parent, {})
            target[last] = value
        declared = Declaration.model_validate(
            {
                "version": 1,
                "connections": {"desk": {"connector": "desk"}},
                "models": {"small": {"provider": "offline", "model": "extractive"}} | self.models,
                "routes": routes or {},
                "budgets": budgets or {},
                "pipelines": {"p": pipeline},
            }
        )
        return compile_pipeline(declared, "p", self.root)

    def runner(self, ledger: Ledger | None = None, **changes: Any) -> Runner:
        def fail(name: str) -> None:
            if name in self.fails:
                raise self.fails.pop(name)

        return Runner(
            self.plan(**changes),
            connectors={"desk": self.desk},  # type: ignore[dict-item]
            ai=self.model,  # type: ignore[arg-type]
            ledger=ledger or self.ledger,
            http=None,  # type: ignore[arg-type]
            clock=self.clock,
            gates=self.gates,
            watch=self.watch,
            fail=fail,
        )

    async def run(self, runner: Runner, event: Event, ledger: Ledger | None = None) -> RunDetail:
        """
        Judge, claim and handle *event* as the executor would; return what the ledger says.
        """
        new = runner.offer(event)
        ledger = ledger or self.ledger
        judged = runner.judge(event)
        if judged is not None:
            await ledger.conclude(new, *judged, body=event.to_json())
        else:
            claim = await ledger.claim(new)
            if not isinstance(claim, Known):
                assert isinstance(claim, Claim), claim
                await runner.handle(claim, event, event.to_json())
        detail = await self.ledger.detail(new.run)
        assert detail is not None
        return detail

    async def resume(self, runner: Runner) -> int:
        """
        Let time pass until something is due, and run it; return how many runs that were.
        """
        due = await self.ledger.next_due(["p"])
        if due is not None:
            self.clock.ahead += max(0, due - self.clock.now_ms() + 1) / 1000
        picked = await self.ledger.pick_up(["p"], 100)
        for one in picked:
            probing = one.gate if one.probe else None
            await runner.handle(one.claim, Event.from_json(one.body), one.body, probing=probing)
        return len(picked)


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    for folder in ("templates", "schemas"):
        (tmp_path / folder).mkdir()
    (tmp_path / "templates/ask.j2").write_text(SYSTEM)
    (tmp_path / "templates/note.j2").write_text(NOTE)
    (tmp_path / "schemas/out.json").write_text(SCHEMA)
    clock = JumpClock()
    ledger = await ledger_room.open(None, clock=clock)
    yield World(tmp_path, Desk(), Model(ledger), ledger, clock, Gates(ledger, clock))
    await ledger.close()


def _ticket(number: str = "1", **changes: Any) -> Event:
    data = {"id": "35", "subject": "Lost", "description": "My parcel is lost.", "org_id": "9", "status": "new"}
    fields: dict[str, Any] = {
        "id": number,
        "source": "https://desk.example",
        "type": "ticket.created",
        "subject": "35",
        "time": datetime(2026, 1, 5, tzinfo=UTC),
        "data": data,
    }
    return Event(**(fields | changes))


@pytest.fixture
def ticket() -> Any:
    """
    A maker of ticket events: `ticket("7", type="ticket.updated")`.
    """
    return _ticket


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    clock = SystemClock()
    bus = bus_room.open(None, partitions=4, keep=3600.0, clock=clock)
    ledger = await ledger_room.open(None, clock=clock)
    await bus.ensure_topic("t.desk", 4)
    yield Bench(bus, ledger)
    await ledger.close()
    await bus.close()


async def _hall(world: World, place: Any, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Hall]:
    monkeypatch.setattr(waiting_module, "PICK_UP_EVERY", 0.02)
    monkeypatch.setattr(executor_module, "FETCH_WAIT", 0.02)
    found = await open_hall(world, place)
    yield found
    await found.ledger.close()
    await found.bus.close()


@pytest.fixture(params=["file", "postgres"])
async def hall(
    request: pytest.FixtureRequest, world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Hall]:
    """
    A hall on each ledger that survives its process.
    """
    place = tmp_path / "ledger.db" if request.param == "file" else request.getfixturevalue("dsn")
    async for found in _hall(world, place, monkeypatch):
        yield found


@pytest.fixture
async def memory_hall(world: World, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Hall]:
    """
    A hall whose ledger is in memory.
    """
    async for found in _hall(world, None, monkeypatch):
        yield found
