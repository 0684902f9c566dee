"""
The engine: ingress, executor and one runner per pipeline, started and stopped together.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections.abc import Callable, Mapping

from ai import AI
from bus.contract import Bus
from connectors import open_call
from connectors.contract import Connector, Health
from engine.executor import IN_FLIGHT, Executor
from engine.gates import Gates
from engine.ingress import Ingress
from engine.patience import for_ever
from engine.runner import Runner
from ledger.contract import Ledger
from penstock.clock import Clock
from penstock.errors import EdgeError
from penstock.http import Http
from pipelines.plan import Plan

log = logging.getLogger(__name__)

PREFIX = "penstock"
PARTITIONS = 12
HEALTH_TIMEOUT = 5.0  # seconds
PRUNE_EVERY = 3600.0  # seconds
WHOAMI_AGAIN = 30.0  # seconds until a system that did not say who we are is asked again


def topic(connection: str) -> str:
    """
    Return the topic that carries a connection's events.
    """
    return f"{PREFIX}.events.{connection}"


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
    ) -> None:
        self._plans = plans
        self._connectors = connectors
        self._bus = bus
        self._ledger = ledger
        self._http = http
        self._clock = clock
        self._gates = Gates(ledger, clock)
        self.runners = {
            name: Runner(
                plan, connectors=connectors, ai=ai, ledger=ledger, http=http, clock=clock, gates=self._gates, fail=fail
            )
            for name, plan in plans.items()
        }
        self.executor = Executor(
            list(self.runners.values()), bus=bus, ledger=ledger, clock=clock, topic=topic, in_flight=in_flight
        )
        self.ingress = Ingress(connectors, bus=bus, clock=clock, topic=topic)
        self._chores: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """
        Learn who we are, prepare the topics, join the groups, begin to run.
        """
        for connection in self._connectors:
            await self._bus.ensure_topic(topic(connection), PARTITIONS)
        for plan in self._plans.values():
            await self._ledger.remember_config(plan.config_hash, plan.config_text)
        await self._gates.load()
        unknown = [name for name, ok in zip(self._connectors, await self._identify(), strict=True) if not ok]
        self._chores = [asyncio.create_task(self._keep_asking(name)) for name in unknown]
        self._chores.append(asyncio.create_task(for_ever(self._clock, "pruning", self._prune)))
        await self.executor.start()

    async def stop(self, grace: float = 20.0) -> None:
        """
        Let what runs finish for *grace* seconds, then leave.
        """
        for task in self._chores:
            task.cancel()
        await asyncio.gather(*self._chores, return_exceptions=True)
        await self.executor.stop(grace)

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
