"""
The executor over the real memory bus and the real ledger, with a runner whose work is a script.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any, ClassVar

from ai import Pacer
from bus.contract import Bus, Outgoing
from engine import Executor, Runner
from ledger.contract import Claim, Ledger
from penstock.clock import Clock, SystemClock
from penstock.units import NOW, DurationRange, StartingPoint
from schemas.entries import Verdict
from schemas.events import Event

Work = Callable[["ScriptedRunner", Claim, Event], Awaitable[None]]


def planned(name: str = "p", *, settle: DurationRange | None = None, start: StartingPoint = NOW) -> Any:
    """
    Return what the executor wants to know of a plan.
    """
    return SimpleNamespace(
        name=name,
        identity=name,
        connection="desk",
        config_hash="c",
        tenant=lambda _event: "",
        user=lambda _event: "",
        key=lambda event: event.key,
        settle=settle,
        start=start,
        give_up_after=86_400.0,
    )


@dataclass
class ScriptedRunner:
    """
    A runner that does what the test says and ends the run as delivered.
    """

    ledger: Ledger
    work: Work | None = None
    name: str = "p"
    log: list[tuple[str, str]] = field(default_factory=list)
    active: dict[str, int] = field(default_factory=dict)
    overlaps: int = 0
    most: int = 0
    unwanted: Callable[[Event], tuple[Verdict, str] | None] = lambda _event: None
    settle: DurationRange | None = None
    start: StartingPoint = NOW
    echoes: Callable[[Event], str | None] = lambda _event: None
    pace: Pacer | None = None
    """That of the model it would ask."""

    @property
    def plan(self) -> Any:
        return planned(self.name, settle=self.settle, start=self.start)

    offer: ClassVar[Any] = Runner.offer
    unreadable: ClassVar[Any] = Runner.unreadable

    def judge(self, event: Event) -> tuple[Verdict, str] | None:
        return self.unwanted(event)

    async def echo(self, event: Event) -> str | None:
        return self.echoes(event)

    def opened(self, gate: str) -> None:
        """
        Remember no gates.
        """

    def pacer(self) -> Pacer | None:
        return self.pace

    async def handle(
        self, claim: Claim, event: Event, body: bytes, *, probing: str | None = None, **_more: Any
    ) -> None:
        self.active[claim.lane] = self.active.get(claim.lane, 0) + 1
        self.overlaps += self.active[claim.lane] > 1
        self.most = max(self.most, sum(self.active.values()))
        try:
            if self.work is not None:
                await self.work(self, claim, event)
            self.log.append((claim.lane, event.id))
            await self.ledger.finish(claim, "delivered", body=body)
        finally:
            self.active[claim.lane] -= 1


def event(number: int, subject: str) -> Event:
    return Event(
        id=f"e{number}",
        source="https://desk.example",
        type="ticket.created",
        subject=subject,
        time=datetime(2026, 1, 5, tzinfo=UTC),
        data={"id": subject},
    )


def outgoing(item: Event) -> Outgoing:
    key, headers, value = item.to_kafka()
    return Outgoing(topic="t.desk", key=key, value=value, headers=headers)


@dataclass
class Bench:
    bus: Bus
    ledger: Ledger
    clock: Clock = field(default_factory=SystemClock)

    @contextlib.asynccontextmanager
    async def running(self, *runners: Any, in_flight: int = 50, ledger: Any = None) -> AsyncIterator[Executor]:
        executor = Executor(
            runners,  # type: ignore[arg-type]
            bus=self.bus,
            ledger=ledger or self.ledger,
            clock=self.clock,
            topic=lambda name: f"t.{name}",
            in_flight=in_flight,
        )
        await executor.start()
        try:
            yield executor
        finally:
            await executor.stop(5.0)

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(30):
            while not condition():
                await asyncio.sleep(0.005)

    async def committed(self, group: str = "p") -> int:
        subscription = await self.bus.subscribe("t.desk", group)
        positions = await subscription.committed()
        await subscription.close()
        return sum(positions.values())


class Flaky:
    """
    A ledger that fails when a test says so, before it does anything.
    """

    def __init__(self, ledger: Ledger, **fails: Any) -> None:
        self._ledger = ledger
        self.fails: dict[str, list[Exception]] = fails

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._ledger, name)
        if name not in self.fails:
            return found

        async def failing(*args: Any, **keywords: Any) -> Any:
            if self.fails[name]:
                raise self.fails[name].pop(0)
            return await found(*args, **keywords)

        return failing
