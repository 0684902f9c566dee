"""
An office: pipelines of one desk that hear of each other's writes.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from types import MappingProxyType
from typing import Any

from engine import Runner
from pipelines.declaration import Declaration
from pipelines.plan import compile_pipeline
from schemas.events import Event

CREATED = {"events": ["ticket.created"]}
UPDATED = {"events": ["ticket.updated"]}
BOTH = {"events": ["ticket.created", "ticket.updated"]}


class Office:
    """
    Pipelines of one desk, which tells of every write to a ticket and does not say whose it was.
    """

    def __init__(self, world: Any, *, to: Mapping[str, str] = MappingProxyType({}), **triggers: dict[str, Any]) -> None:
        """
        Let pipelines of these triggers write notes, but for those that do what *to* says.
        """
        self.world = world
        self.to = to
        self.runners = {name: self._runner(name, triggers) for name in triggers}
        self.happened: list[Event] = []
        self.ended: list[tuple[str, str, str | None]] = []
        """Id of the event, pipeline, verdict or state."""
        self.said = 0
        self.actor: str | None = None
        self.changed: list[str] | None = None
        self._write, world.desk._write = world.desk._write, self._tell

    def _runner(self, name: str, triggers: dict[str, Any]) -> Runner:
        usual = {
            "context": {"tokens": 500, "sections": {"ticket": {"from": "event.data"}}},
            "ask": {"model": "small", "template": "ask.j2", "output": "out.json"},
        }
        declared = {
            "version": 1,
            "connections": {"desk": {"connector": "desk"}},
            "models": {"small": {"provider": "offline", "model": "extractive"}},
            "pipelines": {
                each: {
                    **usual,
                    "trigger": {"connection": "desk"} | triggers[each],
                    "deliver": [{"to": self.to.get(each, "desk.note"), "template": "note.j2"}],
                }
                for each in triggers
            },
        }
        world = self.world
        return Runner(
            compile_pipeline(Declaration.model_validate(declared), name, world.root),
            connectors={"desk": world.desk},
            ai=world.model,
            ledger=world.ledger,
            http=None,  # type: ignore[arg-type]
            clock=world.clock,
            gates=world.gates,
        )

    async def _tell(self, record: str, args: Any, mode: Any, call: Any) -> Any:
        written = await self._write(record, args, mode, call)
        self.change(record)
        return written

    def change(self, record: str = "35", *, after: float = 0.0, kind: str = "ticket.updated", **more: Any) -> Event:
        """
        Let something happen to a ticket, by whom it does not say.
        """
        self.said += 1
        data = {"id": record, "text": f"change {self.said}"}
        event = Event(
            id=str(self.said),
            source="https://desk.example",
            type=kind,
            subject=record,
            time=datetime.fromtimestamp(self.world.clock.now_ms() / 1000 + after, UTC),
            data=data if self.changed is None else data | {"changed": self.changed},
            **{"actor": self.actor} | more,
        )
        self.happened.append(event)
        return event

    async def settle(self, most: int = 40) -> dict[tuple[str, str], str | None]:
        """
        Let every pipeline hear of everything, until nothing happens any more; return how each run ended.
        """
        while self.happened and most:
            event, most = self.happened.pop(0), most - 1
            self.world.model.says = {"summary": f"On {event.id}.", "confidence": 0.9}
            for name, runner in self.runners.items():
                detail = await self.world.run(runner, event)
                self.ended.append((event.id, name, detail.run.verdict or detail.run.state))
        return {(event, name): end for event, name, end in self.ended}

    async def detail(self, event: str, name: str) -> Any:
        found = Event(
            id=event, source="https://desk.example", type="a.b", subject="35", time=datetime.now(UTC), data={}
        )
        return await self.world.ledger.detail(self.runners[name].offer(found).run)


def valued(office: Office, event: Event, **data: Any) -> Event:
    found = event.model_copy(update={"data": event.data | data})
    office.happened[office.happened.index(event)] = found
    return found


def later(event: Event, seconds: float, **more: Any) -> Event:
    return event.model_copy(update={"time": event.time + timedelta(seconds=seconds)} | more)
