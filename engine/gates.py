"""
Gates: what runs wait at while a connection or a model cannot be used.

An outage is not an attempt of an event. The first run that meets it shuts the gate; the others wait
there without a call; one probe at a time finds out whether it can open again.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass

from engine.patience import firmly
from ledger.contract import Ledger
from penstock.clock import Clock
from penstock.errors import Unavailable, UnknownOutcome

log = logging.getLogger(__name__)

FIRST_PROBE = 1.0  # seconds after a gate was shut
LAST_PROBE = 60.0  # seconds between probes at most, unless the system asks for more
AUTH_PROBE = 30.0  # seconds: a refused credential needs a person first
LONGEST_WAIT = 3600.0  # seconds a Retry-After may keep a gate shut


class AtGate(Unavailable):
    """
    The run cannot go on now, through no fault of its event.
    """

    def __init__(self, gate: str, why: str) -> None:
        super().__init__(why)
        self.gate = gate


class InDoubtAtGate(AtGate, UnknownOutcome):
    """
    The same of a write that may have taken effect, and is safe to send again.
    """


@dataclass(slots=True)
class _Shut:
    reason: str
    probe_at: int
    failures: int = 1
    refused: bool = False
    """Whether a person has to see to it."""


class Gates:
    """
    This process' view of the gates; the ledger's word is final.
    """

    def __init__(self, ledger: Ledger, clock: Clock) -> None:
        self._ledger = ledger
        self._clock = clock
        self._shut: dict[str, _Shut] = {}

    async def load(self) -> None:
        """
        Read the gates an earlier process left shut.
        """
        for entry in await self._ledger.gates():
            self._shut[entry.gate] = _Shut(entry.reason, entry.probe_at)

    def check(self, gate: str, *, probing: str | None) -> None:
        """
        Raise `AtGate` when *gate* is shut and this run is not its probe.
        """
        shut = self._shut.get(gate)
        if shut is not None and probing != gate:
            raise AtGate(gate, shut.reason)

    async def shut(self, gate: str, reason: str, *, retry_after: float | None = None, auth: bool = False) -> None:
        """
        Shut *gate*, or put its probe off further each time it fails again.
        """
        shut = self._shut.get(gate)
        failures = shut.failures + 1 if shut else 1
        pause = AUTH_PROBE if auth else min(FIRST_PROBE * 2.0 ** (failures - 1), LAST_PROBE)
        pause = min(max(pause, retry_after or 0.0), LONGEST_WAIT)
        now = self._clock.now_ms()
        if shut and shut.probe_at > now:  # a straggler sent before the gate was shut tells nothing new
            failures = shut.failures
            pause = max((shut.probe_at - now) / 1000, min(retry_after or 0.0, LONGEST_WAIT))
        self._shut[gate] = _Shut(reason, now + int(pause * 1000), failures, refused=auth)
        if shut is None:
            level = logging.ERROR if auth else logging.WARNING  # a refused credential does not mend itself
            log.log(level, "gate %s shut: %s", gate, reason, extra={"penstock.gate": gate})
        await self._tell(gate)

    async def worked(self, gate: str) -> None:
        """
        Open *gate* when it was shut: something got through.
        """
        if self._shut.pop(gate, None) is not None:
            log.warning("gate %s open again", gate, extra={"penstock.gate": gate})
            await self._tell(gate)

    def opened(self, gate: str) -> None:
        """
        Believe the ledger that *gate* is open: another process got through.
        """
        if self._shut.pop(gate, None) is not None:
            log.warning("gate %s open again: another process got through", gate, extra={"penstock.gate": gate})

    async def _tell(self, gate: str) -> None:
        """
        Let the ledger know how *gate* is now, however long that takes.

        Both must say the same: runs that wait here for a gate that is open there would never rest,
        and an error here would make a write look undone that is done.
        """

        async def tell() -> None:
            shut = self._shut.get(gate)
            if shut is None:
                await self._ledger.reopen(gate)
            else:
                await self._ledger.shut(gate, shut.reason, probe_at=shut.probe_at, refused=shut.refused)

        await firmly(self._clock, tell)
