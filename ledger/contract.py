"""
What happened and what it cost: the ledger's promises, kept by every implementation.

The unit of claim is the lane (tenant, pipeline, key). Five invariants, each one condition of a
statement and each a test:

- I1  An offset may be passed only when its run is final, or its body is in the ledger.
- I2  At most one run per lane is `running`; every later transition of it is conditional on the fence.
- I3  Only the lane's head (lowest `seq` of its non-final runs that hold the lane) may start.
- I4  A run's row and body stay until the transaction that makes it final.
- I5  Expiry ends nothing; only a moved fence does.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from schemas.entries import (
    ActionClass,
    AsideReason,
    GateEntry,
    ModelCall,
    Run,
    RunDetail,
    State,
    StepKind,
    Verdict,
    WaitReason,
    WriteEntry,
)


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

    @property
    def run(self) -> str:
        """
        The run's id.
        """
        return run_id(self.tenant, self.pipeline, self.source, self.event_id)


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Cap:
    """
    Money at most for one scope in one period.
    """

    scope: str
    """`pipeline:<name>`, later also hub, label, tenant, user, key."""
    period: str
    """`2026-11-24`, `2026-11` or `-`."""
    limit: int
    """Micro-USD."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WriteIntent:
    """
    What a write step is about to change; stored before the request, so that an echo is recognised.
    """

    connection: str
    record: str
    fields: Mapping[str, str]
    """Name of each field its echo reports as changed, and the hash of the value written to it."""
    value_hash: str
    """Hash of the rendered arguments."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunQuery:
    """
    Which runs to list, newest first; every field narrows.
    """

    pipeline: str | None = None
    subject: str | None = None
    verdict: Verdict | None = None
    state: State | None = None
    since: int | None = None
    """UTC milliseconds, on `created_at`."""
    until: int | None = None
    limit: int = 50


class CallSlot(Protocol):
    """
    One provider call under a reservation: held, then settled, released or (after a crash) swept.
    """

    call: str

    async def settle(self, entry: ModelCall, *, with_step: bool = False) -> None:
        """
        Book what the call really cost (`entry.cost`, also above the reservation) and keep the entry.

        *with_step* books it in the transaction that ends the step, or before its next call: a crash
        in between finds either a call without an end or an answer that is kept.
        """
        ...

    async def release(self, entry: ModelCall) -> None:
        """
        Give the reservation back: no byte left us.
        """
        ...


class Step(Protocol):
    """
    One step of a run between its begin and its end.
    """

    found: Literal["fresh", "done", "unknown"]
    """`done`: use `result`, do nothing. `unknown`: an earlier attempt may have taken effect."""
    result: Any
    """What the done step ended with; JSON data."""
    key: str
    """Idempotency key = sha256(run, step, generation), 64 hex digits: stable over attempts."""
    attempts: int
    """Begins so far, this one included."""
    first_at: int
    """UTC ms of the first begin: how long the other system may have had our key."""
    quiet_at: int
    """`unknown` only: UTC ms after which the earlier request can no longer arrive."""

    def local_fence(self) -> None:
        """
        Raise `Fenced` when this worker has lost its lease, `Unavailable` when the ledger could not be
        written for a whole lease (nothing new may leave); no input or output.
        """
        ...

    async def fence(self) -> None:
        """
        Raise `Fenced` when the ledger says the lane's fence has moved; a read past the queue.
        """
        ...

    async def done(self, result: Any, *, receipt: Any = None, version: str | None = None) -> None:
        """
        End the step: keep its result, close its write. Raises `Fenced` when the fence moved; the
        result of an `ask` is kept even then, and waited with while the disk is full.
        """
        ...

    def call(
        self, *, amount: int, caps: Sequence[Cap], per_event: int | None = None
    ) -> AbstractAsyncContextManager[CallSlot]:
        """
        Reserve *amount* micro-USD under every cap, then give a slot for one provider call.

        Raises `OverBudget` before anything is sent. Left without settle or release, the whole
        amount is settled: what may have been billed is booked.
        """
        ...


class Ledger(Protocol):
    """
    Lanes, runs, steps, writes, answers, calls and money.
    """

    secret: bytes
    """32 random bytes made with the ledger: nonces derive from it."""

    @property
    def worker(self) -> str:
        """
        This process' lease; empty for a ledger opened to read.
        """
        ...

    # ---- runs -------------------------------------------------------------------------------

    async def recognise(self, runs: Sequence[str]) -> dict[str, Known]:
        """
        Return what is known of these run ids; unknown ones are absent. One query.
        """
        ...

    async def conclude(self, run: NewRun, verdict: Verdict, why: str | None, *, body: bytes | None = None) -> None:
        """
        Make a run final that never started (filtered, own-write, dead on arrival, stale …).

        A run that exists already is counted as redelivered and left alone.
        """
        ...

    async def redelivered(self, runs: Sequence[str]) -> None:
        """
        Count one more delivery of each of these runs.
        """
        ...

    async def claim(self, run: NewRun) -> Claim | Known | Busy:
        """
        Take the run's lane for it. `Known` when the run is already final, aside or waiting in the
        ledger (counted as redelivered); `Busy` when the lane is held.
        """
        ...

    async def admit(
        self, run: NewRun, body: bytes, *, reason: WaitReason, due_at: int | None = None, gate: str | None = None
    ) -> None:
        """
        Put a run that cannot start now into the ledger with its body; then its offset may be passed.

        A run that exists and is not final only gets its body (adoption).
        """
        ...

    async def pick_up(self, pipelines: Sequence[str], most: int) -> list[PickedUp]:
        """
        Claim up to *most* waiting heads: due ones, ones behind an open gate (oldest first), and one
        probe per gate whose `probe_at` has come.
        """
        ...

    async def next_due(self, pipelines: Sequence[str]) -> int | None:
        """
        Return the earliest UTC ms at which `pick_up` could find something new; None when never.
        """
        ...

    async def wait(
        self,
        claim: Claim,
        reason: WaitReason,
        body: bytes,
        *,
        why: str,
        due_at: int | None = None,
        gate: str | None = None,
        attempt: bool = False,
    ) -> None:
        """
        Give the run's place up but keep its lane: it waits for *due_at* or at *gate*.

        *attempt* counts this as a failed attempt of the event itself. Raises `Fenced`.
        """
        ...

    async def aside(self, claim: Claim, reason: AsideReason, body: bytes, *, why: str) -> None:
        """
        Put the run aside for a person; later events of the lane may run. Raises `Fenced`.
        """
        ...

    async def finish(
        self, claim: Claim, verdict: Verdict, *, why: str | None = None, body: bytes | None = None
    ) -> None:
        """
        Make the run final and free its lane, in one transaction. Raises `Fenced`.

        *body* is kept with the details, for people and for replay.
        """
        ...

    async def give_up(self, claim: Claim) -> None:
        """
        Leave the lane to whoever comes, as if this worker had died: no end of the run could be kept.
        """
        ...

    # ---- steps ------------------------------------------------------------------------------

    def step(
        self,
        claim: Claim,
        name: str,
        *,
        kind: StepKind,
        action_class: ActionClass | Literal["ai"],
        timeout: float,
        input_hash: str = "",
        write: WriteIntent | None = None,
        anew: bool = False,
    ) -> AbstractAsyncContextManager[Step]:
        """
        Begin the step, and look after its end: the only protocol for paying and writing.

        *timeout* covers everything from here to the last byte of the request. A done ask is found
        `fresh` when *input_hash* is another and no delivery was begun, or when *anew* says that the
        kept answer no longer fits.

        A block left by `UnknownOutcome`, cancellation or an unforeseen exception leaves the step
        `unknown`; left by any other `PenstockError`, `failed` (surely without effect: may begin
        again); left without `done()` and without an exception, `failed`. Raises `Fenced`.
        """
        ...

    async def answer(self, run: str, step: str, generation: int) -> tuple[Any, bool] | None:
        """
        Return the kept result of an `ask` step (also a late one), and whether the run has begun a
        delivery since; None when there is none.
        """
        ...

    async def last_write(self, pipeline: str, connection: str, record: str, step: str) -> WriteEntry | None:
        """
        Return the newest `done` write of this pipeline's step on the record.
        """
        ...

    async def writes_of(self, connection: str, record: str, since: int) -> list[WriteEntry]:
        """
        Return our writes on a record since UTC ms, newest first, open ones included.
        """
        ...

    # ---- gates ------------------------------------------------------------------------------

    async def shut(self, gate: str, reason: str, *, probe_at: int) -> None:
        """
        Shut *gate*, or put its next probe off.
        """
        ...

    async def reopen(self, gate: str) -> None:
        """
        Open *gate*: a probe got through. Runs that wait at it become due, oldest first.
        """
        ...

    async def gates(self) -> list[GateEntry]:
        """
        Return the gates that are not open.
        """
        ...

    # ---- positions, cursors, facts ----------------------------------------------------------

    async def positions(self, pipeline: str, topic: str) -> dict[int, int]:
        """
        Return how far the pipeline had read each partition of *topic*: next offset by partition number.
        """
        ...

    async def keep_positions(self, pipeline: str, topic: str, positions: Mapping[int, int]) -> None:
        """
        Keep next offsets per partition, beside the bus that may forget them.
        """
        ...

    async def remember_config(self, config_hash: str, body: str) -> None:
        """
        Keep the text of a configuration under its hash.
        """
        ...

    async def horizon(self) -> int:
        """
        Return the UTC ms before which an event without a run may have been known and forgotten: `stale`.
        """
        ...

    async def prune(self, now: int | None = None) -> int:
        """
        Forget details of runs that have been final long enough, and identities much later.

        Returns how many runs lost their details. Never touches a run that is not final.
        """
        ...

    # ---- reading ----------------------------------------------------------------------------

    async def runs(self, query: RunQuery) -> list[Run]:
        """
        List runs, newest first.
        """
        ...

    async def detail(self, run: str) -> RunDetail | None:
        """
        Return everything known of a run, by its id or an unambiguous prefix of at least 6 digits.
        """
        ...

    async def spent(self, scope: str, period: str) -> tuple[int, int]:
        """
        Return (spent, reserved) in micro-USD.
        """
        ...

    async def counts(self, pipelines: Sequence[str] | None = None) -> dict[tuple[str, str], int]:
        """
        Return how many runs each (pipeline, verdict or state) has.
        """
        ...

    async def close(self) -> None:
        """
        Finish queued commits, give the lease back, close.
        """
        ...
