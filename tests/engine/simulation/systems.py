"""
Business systems: they keep what is written, remember keys, and tell of every change at once.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from connectors.contract import Action, Call, Delivery, Health, Lookup, Received, Sample, Source, Written
from penstock.errors import Unavailable, UnknownOutcome
from penstock.http import NotSent, SentNoAnswer
from schemas.entries import ActionClass
from schemas.events import Event
from tests.engine.simulation.journal import Effect, Journal, Request
from tests.engine.simulation.process import current
from tests.engine.simulation.wire import Line, Wire

TIMEOUT = 2.0  # seconds of one action
ECHOES = 8  # one write in so many is told of: each costs a run, and all of them are judged alike
CLASSES: Mapping[str, ActionClass] = {"note": "read-back", "put": "keyed", "ring": "blind"}
_REF = re.compile(r"\[(\w+)\]$")


@dataclass(eq=False)
class System:
    """
    The server side of one system.
    """

    line: Line
    journal: Journal
    now: Callable[[], float]
    changed: Callable[[System, Event], None] = lambda _system, _event: None
    keys: dict[str, int] = field(default_factory=dict)
    """Keys of writes that took effect, with the number of the note."""

    @property
    def source(self) -> str:
        """
        Its name in the identity of its events.
        """
        return f"https://{self.line.name}.example"

    def write(self, action: str, step: str, record: str, text: str, key: str, made: Request) -> Written | None:
        """
        Take a note: a keyed one once per key, the others whenever they come.
        """
        if self.line.trouble == "busy":
            return None
        if CLASSES[action] == "keyed" and key in self.keys:
            return Written(remote_id=str(self.keys[key]), already=True)
        self.keys[key] = len(self.keys) + 1
        self.journal.effects.append(Effect(made.work, step, action, key, record, self.now(), made.asleep))
        if self.keys[key] % ECHOES == 0:
            self.changed(self, self._echo(record, text))
        return Written(remote_id=str(self.keys[key]))

    def _echo(self, record: str, text: str) -> Event:
        number = len(self.journal.effects)
        return Event(
            id=f"echo{number}",
            source=self.source,
            type="ticket.updated",
            subject=record,
            time=datetime(2026, 1, 5, tzinfo=UTC),
            data={"id": record, "ref": f"echo{number}", "changed": ["comment"], "comment": text},
        )


@dataclass(eq=False)
class Client:
    """
    A process' connector to a system; `connectors.contract.Connector`.
    """

    system: System
    wire: Wire
    pipeline_of: Mapping[str, str]
    """Pipeline by the name of its action."""
    acts_as: str | None = None
    events: Mapping[str, Any] = field(default_factory=lambda: {"ticket.created": {}, "ticket.updated": {}})
    samples: Sequence[Sample] = ()
    sources: Mapping[str, Source] = field(default_factory=dict)
    accepts: frozenset[str] = frozenset({"application/json"})

    def __post_init__(self) -> None:
        self.name = self.system.line.name
        ticket = Lookup(
            name="ticket",
            description="",
            fields={"id": {}, "status": {}},
            many=False,
            ttl=0,
            timeout=TIMEOUT,
            fetch=self._ticket,
        )
        self.lookups: Mapping[str, Lookup] = {"ticket": ticket}
        self.actions: Mapping[str, Action] = {name: self._action(name) for name in CLASSES}

    def receive(self, delivery: Delivery) -> Received:
        raise AssertionError("nothing is delivered here")

    def own(self, event: Event) -> str | None:
        """
        Nobody is known by an account of its own: the other loop net has to hold.
        """

    async def close(self) -> None:
        """
        Do nothing.
        """

    async def health(self, call: Call) -> Health:
        return Health(state="ok", detail="fine")

    def _action(self, name: str) -> Action:
        async def write(record: str, args: Mapping[str, Any], _mode: Any, call: Call) -> Written:
            return await self._write(name, record, args["text"], call)

        return Action(
            name=name,
            description="",
            idempotency=CLASSES[name],
            takes=frozenset({"text"}),
            modes=("add",),
            sets=None,
            emits=frozenset({"ticket.updated"}),
            touches=frozenset({"comment"}),
            reads="ticket",
            key_lifetime=None,
            timeout=TIMEOUT,
            write=write,
            find=self._find if CLASSES[name] == "read-back" else None,
        )

    async def _write(self, action: str, record: str, text: str, call: Call) -> Written:
        found = _REF.search(text)
        assert found is not None, text
        work = (self.pipeline_of[action], found[1])

        def serve(made: Request) -> Written | None:
            return self.system.write(action, action, record, text, call.key, made)

        try:
            written = await self._send(f"write {action}", work, record, serve, call)
        except SentNoAnswer as error:
            raise UnknownOutcome(f"sent, and no answer came: {error}") from error
        if written is None:
            raise Unavailable("503 busy")
        return written

    async def _ticket(self, by: str, call: Call, _most: int) -> list[dict[str, Any]]:
        return [{"id": by, "status": await self._read("read", by, call, lambda: "new")}]

    async def _find(self, record: str, _mode: Any, call: Call) -> Written | None:
        number = await self._read("find", record, call, lambda: self.system.keys.get(call.key, 0))
        return Written(remote_id=str(number), already=True) if number else None

    async def _read(self, what: str, record: str, call: Call, serve: Callable[[], Any]) -> Any:
        def answer(_made: Request) -> Any:
            return None if self.system.line.trouble == "busy" else serve()

        try:
            found = await self._send(what, ("", ""), record, answer, call)
        except SentNoAnswer as error:
            raise Unavailable(f"no answer came: {error}") from error
        if found is None:
            raise Unavailable("503 busy")
        return found

    async def _send(self, what: str, work: Any, record: str, serve: Callable[[Request], Any], call: Call) -> Any:
        def request() -> Request:
            made = Request(work, (work[0], record), current(), what, self.system.now())
            if work[0]:
                self.system.journal.requests.append(made)
            return made

        try:
            return await self.wire.exchange(self.system.line, request, serve, timeout=TIMEOUT, fence=call.fence)
        except NotSent as error:
            raise Unavailable(f"cannot be reached: {error}") from error
