"""
Runs as they are offered to the ledger, and what it answers.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field

from ledger.bursts import Burst
from schemas.entries import State, Verdict


def run_id(tenant: str, pipeline: str, source: str, event_id: str) -> str:
    """
    Return the identity of one event through one pipeline: never the offset, key or configuration.
    """
    text = f"{tenant}\x00{pipeline}\x00{source}\x00{event_id}"
    return hashlib.sha256(text.encode()).hexdigest()[:32]


@dataclass(frozen=True, slots=True, kw_only=True)
class NewRun:
    """
    A run as the executor offers it to the ledger.
    """

    tenant: str = ""
    pipeline: str
    lane: str
    """The key that keeps order; `event:<id>` for a keyless event."""
    source: str
    event_id: str
    subject: str
    body_hash: str
    config_hash: str
    topic: str
    partition: int
    offset: int
    bus_time: int
    user: str = ""
    """Whose event it is; empty for nobody."""
    identity: str | None = None
    """The pipeline's first name, when it has another now: ids are made of it."""

    @property
    def run(self) -> str:
        """
        The run's id.
        """
        return run_id(self.tenant, self.identity or self.pipeline, self.source, self.event_id)


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """
    What the ledger already knows of a run.
    """

    state: State
    verdict: Verdict | None
    body_hash: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """
    The right to work on one run: void as soon as the lane's fence moves.
    """

    run: str
    tenant: str
    pipeline: str
    lane: str
    fence: int
    generation: int
    attempts: int
    """Failed attempts of the event itself so far."""
    reason: str | None = None
    """Why it waited before this claim; None on the first."""
    new: bool = field(default=False, compare=False)
    """True when this claim brought the run into the ledger: nothing of it can be there yet."""
    came_back: bool = False
    """Whether it came back to its lane after it had ended, or stood aside."""
    insist: bool = False
    """Whether it runs also when a newer run of its lane was delivered meanwhile."""
    began_at: int | None = None
    """UTC ms of its first claim; None when that is not known."""
    queued_at: int | None = None
    """UTC ms at which the bus had it, when it starts for the first time and was not put off on purpose."""
    burst: Burst | None = None
    """What it stands for besides its own event; None when it never settled."""

    @property
    def overtakable(self) -> bool:
        """
        Whether it gives way to such a run.
        """
        return self.came_back and not self.insist


@dataclass(frozen=True, slots=True, kw_only=True)
class Busy:
    """
    The lane is held by another run or worker: admit the run, then pass its offset.
    """


@dataclass(frozen=True, slots=True, kw_only=True)
class PickedUp:
    """
    A waiting run that is due now, claimed, with its event.
    """

    claim: Claim
    body: bytes
    """The event in structured JSON form."""
    gate: str | None = None
    """The gate it waited at; it is that gate's probe when *probe* is true."""
    probe: bool = False
