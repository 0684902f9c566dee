"""
Each kind of fault, carried out.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from random import Random

from ai.double import Fault as ModelFault
from connectors.double_faults import Fault as DeskFault
from tests.crash.crew import Life, Slot, now, stop
from tests.crash.desk import Desk
from tests.crash.faults import Fault
from tests.crash.ground import Ground
from tests.crash.journal import Journal
from tests.crash.model import Model

OUTAGE = 3.0  # seconds a model, desk or disk is away
AFTERLIFE = 3.0  # seconds a stopped process works on beside its replacement
BURST = 3  # calls that fail of themselves; fewer than what a run tries


@dataclass(kw_only=True)
class Strikes:
    """
    What can be done to a scene.
    """

    slots: list[Slot]
    ground: Ground
    desk: Desk
    model: Model
    journal: Journal
    lease: float
    random: Random
    stopped: list[Life] = field(default_factory=list)
    """Processes that do not run now, though they are not dead."""
    _server: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def carry_out(self, fault: Fault) -> None:
        """
        Do what *fault* says, and return when it is over.
        """
        await self._ways[fault.kind](fault)

    @property
    def _ways(self) -> dict[str, Callable[[Fault], Awaitable[None]]]:
        return {
            "kill": self._kill,
            "stop": self._stop,
            "zombie": self._zombie,
            "broker-stop": self._broker,
            "broker-kill": self._broker,
            "ledger-cut": self._ledger_cut,
            "commit-cut-before": self._commit_cut,
            "commit-cut-after": self._commit_cut,
            "ledger-away": self._ledger_away,
            "ledger-stop": self._ledger_stop,
            "disk-full": self._disk_full,
            "model-out": self._model_out,
            "model-drops": self._model_fails,
            "model-garbles": self._model_fails,
            "desk-out": self._desk_out,
            "desk-drops": self._desk_drops,
        }

    # ---- processes ------------------------------------------------------------------------

    def _free(self) -> Slot:
        free = [slot for slot in self.slots if not slot.busy.locked()]
        return self.random.choice(free or self.slots)

    async def _kill(self, fault: Fault) -> None:
        slot = self._free()
        async with slot.busy:
            life = await slot.steady()
            slot.arm, life.expected = fault.point, "kill"
            self.journal.fault("kill", worker=life.name)
            life.hub.kill_at_once()
            await life.gone.wait()
            await slot.steady()

    async def _stop(self, fault: Fault) -> None:
        slot = self._free()
        async with slot.busy:
            life = await slot.steady()
            slot.arm = fault.point
            if await stop(life, self.journal):
                self.journal.fault("stop", worker=life.name, until=now())
            await life.gone.wait()
            await slot.steady()

    async def _zombie(self, _fault: Fault) -> None:
        """
        Stop a process for longer than its lease, let a replacement work, and wake it beside it.
        """
        slot = self._free()
        async with slot.busy:
            life = await slot.steady()
            since = now()
            life.expected = "zombie"
            life.hub.send(signal.SIGSTOP)
            self.stopped.append(life)
            life.gone.set()
            with self.ground.away():  # it may have stopped in its turn at a file that others wait for
                replaced = asyncio.create_task(slot.steady())
                await asyncio.sleep(self.lease * self.random.uniform(1.2, 2.0))
                await asyncio.wait({replaced}, timeout=self.lease)
                life.hub.send(signal.SIGCONT)
                self.journal.fault("zombie", worker=life.name, since=since, until=now())
                await asyncio.sleep(AFTERLIFE)
            self.stopped.remove(life)
            if life.hub.alive:
                await self._end_zombie(life)
            await replaced

    async def _end_zombie(self, life: Life) -> None:
        if self.random.random() < 0.5:
            await stop(life, self.journal)
            return
        self.journal.fault("kill", worker=life.name)
        await life.hub.kill()

    # ---- servers --------------------------------------------------------------------------

    async def _broker(self, fault: Fault) -> None:
        broker = self.ground.broker
        assert broker is not None
        number = signal.SIGKILL if fault.kind == "broker-kill" else signal.SIGTERM
        async with self._server:
            with self.ground.away():
                since = now()
                await asyncio.to_thread(broker.stop, number)
                await asyncio.sleep(self.random.uniform(0.0, 2.0))
                await asyncio.to_thread(broker.start)
                self.journal.fault(fault.kind, since=since, until=now())
                await asyncio.sleep(1.0)

    async def _ledger_cut(self, fault: Fault) -> None:
        assert self.ground.proxy is not None
        with self.ground.away():
            self.ground.proxy.cut()
            self.journal.fault(fault.kind, until=now())
            await asyncio.sleep(0.5)

    async def _commit_cut(self, fault: Fault) -> None:
        proxy = self.ground.proxy
        assert proxy is not None
        async with self._server:
            with self.ground.away():
                before = len(proxy.done)
                proxy.cuts.append("before" if fault.kind.endswith("before") else "after")
                while len(proxy.done) == before:
                    await asyncio.sleep(0.02)
                self.journal.fault(fault.kind, until=now())
                await asyncio.sleep(0.5)

    async def _ledger_away(self, fault: Fault) -> None:
        """
        Take the ledger away for two leases.
        """
        proxy = self.ground.proxy
        assert proxy is not None
        async with self._server:
            with self.ground.away():
                since, proxy.away = now(), True
                proxy.cut()
                await asyncio.sleep(2 * self.lease)
                proxy.away = False
                self.journal.fault(fault.kind, since=since, until=now(), ledger=True)
                await asyncio.sleep(self.lease)

    async def _ledger_stop(self, fault: Fault) -> None:
        server = self.ground.server
        assert server is not None
        async with self._server:
            with self.ground.away():
                since = now()
                await asyncio.to_thread(server.stop)
                await asyncio.sleep(self.random.uniform(0.0, 2.0))
                await asyncio.to_thread(server.start)
                self.journal.fault(fault.kind, since=since, until=now(), ledger=True)
                await asyncio.sleep(1.0)

    async def _disk_full(self, fault: Fault) -> None:
        async with self._server:
            with self.ground.away():
                since = now()
                ballast = await asyncio.to_thread(self.ground.fill)
                await asyncio.sleep(OUTAGE)
                ballast.unlink()
                ledger = self.ground.server is None  # else it lies elsewhere
                self.journal.fault(fault.kind, since=since, until=now(), ledger=ledger)
                await asyncio.sleep(1.0)

    # ---- systems --------------------------------------------------------------------------

    async def _model_out(self, fault: Fault) -> None:
        since, until = now(), now() + OUTAGE
        while now() < until:
            self.model.faults.clear()
            self.model.faults.extend([ModelFault(kind="status", status=503)] * 50)
            await asyncio.sleep(0.1)
        self.model.faults.clear()
        self.journal.fault(fault.kind, since=since, until=now())

    async def _model_fails(self, fault: Fault) -> None:
        kind = "reset-after" if fault.kind == "model-drops" else self.random.choice(["malformed", "not-json", "empty"])
        times = 1 if kind == "not-json" else BURST  # a run whose repair is prose as well is rightly dead
        self.model.faults.extend([ModelFault(kind=kind)] * times)  # type: ignore[arg-type]  # one of them
        self.journal.fault(fault.kind, until=now())

    async def _desk_out(self, fault: Fault) -> None:
        since = now()
        self.desk.faults.add(DeskFault(kind="status", match="POST|PUT|GET", times=1_000_000))
        await asyncio.sleep(OUTAGE)
        self.desk.faults.clear()
        self.journal.fault(fault.kind, since=since, until=now())

    async def _desk_drops(self, fault: Fault) -> None:
        self.desk.faults.add(DeskFault(kind="drop-after", match="(POST|PUT) /items", times=BURST))
        self.journal.fault(fault.kind, until=now())
