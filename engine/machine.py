"""
The engine: ingress, executor and one runner per pipeline, started and stopped together.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from zoneinfo import ZoneInfo

from ai import AI, tokens
from bus.contract import Bus
from connectors import open_call
from connectors.contract import Connector, Decision, Health
from engine.alerts import Alerts, Webhook
from engine.dispatch import LOOK_EVERY, Dispatch, Sender
from engine.executor import IN_FLIGHT, Executor
from engine.gates import Gates
from engine.heartbeat import LOOK_EVERY as LISTEN_EVERY
from engine.heartbeat import Heartbeat, Limit
from engine.holds import Holds
from engine.ingress import Ingress
from engine.letters import KIND, Letters
from engine.metrics import Metrics
from engine.patience import for_ever
from engine.runner import Runner
from engine.sources import Sources
from engine.topics import Topics
from engine.watch import Watch
from ledger.beats import SILENT
from ledger.contract import Ledger
from ledger.fuses import FUSE
from penstock.clock import Clock
from penstock.errors import EdgeError, PenstockError
from penstock.http import Http
from penstock.metrics import Instruments
from penstock.tracing import Tracing
from pipelines.plan import Plan
from schemas.events import Event

log = logging.getLogger(__name__)

HEALTH_TIMEOUT = 5.0  # seconds
PRUNE_EVERY = 3600.0  # seconds
BATCHES_EVERY = 2.0  # seconds
DRAFTS_EVERY = 5.0  # seconds
PACES_EVERY = 2.0  # seconds
WHOAMI_AGAIN = 30.0  # seconds until a system that did not say who we are is asked again


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """
    How topics are named and cut.
    """

    prefix: str = "penstock"
    partitions: int = 12

    def topic(self, connection: str) -> str:
        """
        Return the topic that carries a connection's events.
        """
        return f"{self.prefix}.events.{connection}"

    @property
    def dead(self) -> str:
        """
        The topic that tells of every death.
        """
        return f"{self.prefix}.dead"


EMBEDDED = Layout()


class Engine:
    """
    Everything that moves events.
    """

    def __init__(
        self,
        plans: Mapping[str, Plan],
        *,
        connectors: Mapping[str, Connector],
        ai: AI,
        bus: Bus,
        ledger: Ledger,
        http: Http,
        clock: Clock,
        in_flight: int = IN_FLIGHT,
        fail: Callable[[str], None] = lambda _name: None,
        layout: Layout = EMBEDDED,
        webhook: Webhook | None = None,
        instruments: Instruments | None = None,
        tracing: Tracing | None = None,
        silence: Mapping[str, Limit] = MappingProxyType({}),
    ) -> None:
        self._plans = plans
        self._connectors = connectors
        self._ai = ai
        self._ledger = ledger
        self._http = http
        self._clock = clock
        self._gates = Gates(ledger, clock)
        self._holds = Holds(ledger, clock, plans)
        instruments = instruments or Instruments()
        watch = Watch(instruments, clock, tracing)
        self.runners = {
            name: Runner(
                plan,
                connectors=connectors,
                ai=ai,
                ledger=ledger,
                http=http,
                clock=clock,
                gates=self._gates,
                holds=self._holds,
                watch=watch,
                fail=fail,
            )
            for name, plan in plans.items()
        }
        self.executor = Executor(
            list(self.runners.values()),
            bus=bus,
            ledger=ledger,
            clock=clock,
            topic=layout.topic,
            in_flight=in_flight,
            holds=self._holds,
            watch=watch,
        )
        self._topics = Topics(bus, ledger, partitions=layout.partitions, readers=_readers(layout, connectors, plans))
        self.metrics = Metrics(ledger, clock, _zone(plans), instruments)
        read = {name: connector.sources for name, connector in connectors.items()}
        self._heartbeat = Heartbeat(silence, sources=read, ledger=ledger, clock=clock)
        self.ingress = self._door(bus, layout)
        self._sources = self._opened(bus, layout, instruments, fail)
        self._partitions = layout.partitions
        self._letters = Letters(bus, layout.dead)
        self._dispatch = Dispatch(ledger, clock, self._senders(Alerts(clock, webhook)))
        self._chores: list[asyncio.Task[None]] = []

    async def start(self, *, taking: bool = True) -> None:
        """
        Learn who we are, prepare the topics, join the groups, begin to run.

        Without *taking*, no delivery will be taken: then a topic may have another partition count than it had.
        """
        await self._topics.prepare(taking=taking)
        await self._letters.prepare(self._partitions)
        for plan in self._plans.values():
            if plan.identity != plan.name and (adopted := await self._ledger.adopt(plan.identity, plan.name)):
                log.warning("pipeline %s took over %d runs of %s", plan.name, adopted, plan.identity)
            await self._ledger.remember_config(plan.config_hash, plan.config_text)
        await self._gates.load()
        await self._holds.load()
        await self._ai.paces.look()
        unknown = [name for name, ok in zip(self._connectors, await self._identify(), strict=True) if not ok]
        self._begin_chores(unknown)
        await self.executor.start()
        if taking:
            self._sources.start()

    def _senders(self, alerts: Alerts) -> Mapping[str, Sender]:
        """
        Return by kind of parcel who sends it.
        """
        told = {"alert": alerts.send, "refused": alerts.refused, FUSE: alerts.blown, SILENT: alerts.silent}
        return {KIND: self._letters.send} | told

    def _door(self, bus: Bus, layout: Layout) -> Ingress:
        return Ingress(
            self._connectors,
            bus=bus,
            http=self._http,
            clock=self._clock,
            topic=layout.topic,
            metrics=self.metrics,
            decide=self._decide,
            told=[self._heartbeat],
        )

    def _opened(self, bus: Bus, layout: Layout, instruments: Instruments, fail: Callable[[str], None]) -> Sources:
        return Sources(
            self._connectors,
            bus=bus,
            ledger=self._ledger,
            http=self._http,
            clock=self._clock,
            gates=self._gates,
            topic=layout.topic,
            decide=self._decide,
            refuse=self._refuse,
            told=[self._heartbeat],
            instruments=instruments,
            fail=fail,
        )

    def _begin_chores(self, unknown: Iterable[str]) -> None:
        """
        Begin what is done beside the events, and ask *unknown* systems who we are.
        """
        repeated: list[tuple[str, Callable[[], Awaitable[object]], float]] = [
            ("pruning", self._prune, 0.0),
            ("sending what must leave", self._dispatch.look, LOOK_EVERY),
            ("looking at paces", self._ai.paces.look, PACES_EVERY),
            ("looking for drafts that expired", self._ledger.expire_drafts, DRAFTS_EVERY),
            ("listening to sources", self._heartbeat.look, LISTEN_EVERY),
            ("looking after batches", self._ai.batches.look, BATCHES_EVERY),
        ]
        self._chores = [asyncio.create_task(self._keep_asking(name)) for name in unknown]
        for what, work, every in repeated:
            self._chores.append(asyncio.create_task(for_ever(self._clock, what, work, every=every)))
        self._chores.append(asyncio.create_task(_learn_to_count()))

    async def stop(self, grace: float = 20.0) -> None:
        """
        Let what runs finish for *grace* seconds, then leave.
        """
        await self._sources.stop()
        for task in self._chores:
            task.cancel()
        await asyncio.gather(*self._chores, return_exceptions=True)
        await self.executor.stop(grace)
        if self._chores:
            await self._hear_out()

    async def _hear_out(self) -> None:
        """
        Keep what sources sent since the last look; the ledger may be away.
        """
        try:
            async with asyncio.timeout(HEALTH_TIMEOUT):
                await self._heartbeat.keep()
        except (PenstockError, TimeoutError) as error:
            log.warning("what sources sent last could not be counted: %s", str(error) or "the ledger gave no answer")
        except Exception:  # nothing may keep the hub from leaving
            log.exception("counting what sources sent last failed unforeseen")

    async def health(self, connection: str) -> Health:
        """
        Ask a connection's system how it is; remembers who we are there.
        """
        connector = self._connectors[connection]
        call = open_call(
            connector,
            self._http,
            key=hashlib.sha256(f"health:{connection}".encode()).hexdigest(),
            slot="",
            timeout=HEALTH_TIMEOUT,
            clock=self._clock,
        )
        try:
            async with asyncio.timeout(HEALTH_TIMEOUT + 1):
                health = await connector.health(call)
        except (EdgeError, TimeoutError) as error:
            health = Health(state="down", detail=str(error) or f"no answer within {HEALTH_TIMEOUT:g} s")
        if health.acts_as:
            connector.acts_as = health.acts_as
        return health

    async def _decide(self, decisions: Sequence[Decision]) -> None:
        """
        Keep what people said of drafts; what comes twice or too late is only noted.
        """
        for one in decisions:
            taken = await self._ledger.decide_draft(one.key, one.choice, person=one.by, text=one.text)
            if taken != "taken":
                log.warning("a decision of %s about draft %s is not carried out: it is %s", one.by, one.key[:8], taken)

    async def _refuse(self, connection: str, event: Event, why: str) -> None:
        """
        Let an event that cannot travel end as a dead letter of every pipeline that wants it.

        One that came without its data is judged by its type alone: `where` and `changed` would judge what is not there.
        """
        for name, plan in self._plans.items():
            if plan.connection == connection:
                runner = self.runners[name]
                judged = runner.judge(event) if event.data or event.type not in plan.events else None
                verdict, told = judged or ("dead", f"event {event.id}: {why}")
                await self._ledger.conclude(runner.offer(event), verdict, told)

    async def _identify(self) -> list[bool]:
        found = await asyncio.gather(*(self.health(name) for name in self._connectors))
        for name, health in zip(self._connectors, found, strict=True):
            if health.state != "ok":
                log.warning("connection %s: %s (%s)", name, health.state, health.detail)
        return [health.state == "ok" for health in found]

    async def _keep_asking(self, name: str) -> None:
        """
        Ask until the system says who we are: loop net 1 compares with it.
        """
        while True:
            await self._clock.sleep(WHOAMI_AGAIN)
            try:
                if (await self.health(name)).state == "ok":
                    return
            except Exception:
                log.exception("asking %s who we are failed unforeseen", name)

    async def _prune(self) -> None:
        """
        Forget the details of runs that ended longer ago than `hub.keep`; their identities stay.
        """
        await self._ledger.prune()
        await self._clock.sleep(PRUNE_EVERY)


def _zone(plans: Mapping[str, Plan]) -> ZoneInfo:
    """
    Return the hub's time zone, which every plan knows.
    """
    return next((plan.timezone for plan in plans.values()), ZoneInfo("UTC"))


def _readers(layout: Layout, connections: Iterable[str], plans: Mapping[str, Plan]) -> dict[str, list[str]]:
    """
    Return by topic which pipelines read it.
    """
    return {
        layout.topic(connection): [plan.name for plan in plans.values() if plan.connection == connection]
        for connection in connections
    }


async def _learn_to_count() -> None:
    """
    Load the table of tokens before the first event needs it: it takes half a second.
    """
    await asyncio.to_thread(tokens.encoding)
