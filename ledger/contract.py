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

from collections.abc import Sequence
from typing import Protocol

from ledger.batching import Batching
from ledger.beats import Beats
from ledger.caching import Caching
from ledger.drafting import Drafting
from ledger.estate import Estates
from ledger.facts import Facts, Loss, TopicEntry
from ledger.fuses import Fuses
from ledger.gating import Gating
from ledger.limits import Limits
from ledger.lineage import Lineage
from ledger.offer import Busy, Claim, Known, NewRun, PickedUp, run_id
from ledger.pacing import Pacing
from ledger.pausing import Pausing
from ledger.questions import Questions, RunQuery
from ledger.returning import Failure, Returning
from ledger.sending import Sending
from ledger.sourcing import CursorEntry, Sourcing
from ledger.stepping import CallSlot, Cap, Ending, Step, Stepping, WriteIntent
from schemas.entries import AsideReason, Verdict, WaitReason

__all__ = [
    "Busy",
    "CallSlot",
    "Cap",
    "Claim",
    "CursorEntry",
    "Ending",
    "Known",
    "Ledger",
    "Loss",
    "NewRun",
    "PickedUp",
    "RunQuery",
    "Step",
    "TopicEntry",
    "WriteIntent",
    "run_id",
]


class Ledger(
    Stepping,
    Gating,
    Facts,
    Sending,
    Questions,
    Limits,
    Returning,
    Pausing,
    Pacing,
    Caching,
    Batching,
    Estates,
    Sourcing,
    Drafting,
    Lineage,
    Fuses,
    Beats,
    Protocol,
):
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

    async def recognise(self, runs: Sequence[str]) -> dict[str, Known]:
        """
        Return what is known of these run ids; unknown ones are absent. One query.
        """
        ...

    async def conclude(self, run: NewRun, verdict: Verdict, why: str | None, *, body: bytes | None = None) -> None:
        """
        Make a run final that never started (filtered, own-write, dead on arrival, stale …).

        A run that exists already is counted as redelivered and left alone. A dead one leaves its dead letter.
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

    async def settle(self, run: NewRun, body: bytes, *, quiet: float, most: float, changed: Sequence[str] = ()) -> None:
        """
        Let a run stand for the burst of its lane; then its offset may be passed.

        It is due after *quiet* seconds without another, *most* seconds after the burst's first event at
        the latest. Members that still settle and have begun no step end `superseded`. A run that exists
        keeps its time, and only gets its body.
        """
        ...

    async def hurry(self, pipeline: str, *, within: float) -> None:
        """
        Let what settles in *pipeline* be due in *within* seconds at the latest: its `settle` was shortened.
        """
        ...

    async def pick_up(self, pipelines: Sequence[str], most: int) -> list[PickedUp]:
        """
        Claim up to *most* waiting heads: due ones, ones behind an open gate (oldest first), and one
        probe per gate whose `probe_at` has come.
        """
        ...

    async def pick_up_late(self, pipeline: str, *, began_before: int, most: int) -> list[PickedUp]:
        """
        Claim up to *most* heads that wait for an outage to end and were first tried before UTC ms
        *began_before*: they are to be given up.
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

    async def rerun(self, claim: Claim, body: bytes, *, why: str) -> None:
        """
        Let the run begin anew at once, in a further generation: it is asked about again, and keeps its lane.

        It is kept as the decision `changed`, of nobody. Raises `Fenced`.
        """
        ...

    async def aside(self, claim: Claim, reason: AsideReason, body: bytes, *, why: str) -> None:
        """
        Put the run aside for a person; later events of the lane may run. Raises `Fenced`.
        """
        ...

    async def finish(
        self,
        claim: Claim,
        verdict: Verdict,
        *,
        why: str | None = None,
        body: bytes | None = None,
        failed: Failure | None = None,
        superseded_by: str | None = None,
        ending: Ending | None = None,
    ) -> bool:
        """
        Make the run final and free its lane, in one transaction; return whether no other waits in it. Raises `Fenced`.

        *body* is kept with the details, for people and for replay. A dead run leaves its dead letter in
        the same transaction; *failed* says where it died. *superseded_by* is the run that took its place,
        *ending* the end of its last step, kept together with it.
        """
        ...

    async def give_up(self, claim: Claim) -> None:
        """
        Leave the lane to whoever comes, as if this worker had died: no end of the run could be kept.
        """
        ...

    async def close(self) -> None:
        """
        Finish queued commits, give the lease back, close.
        """
        ...
