"""
Steps: the only protocol for paying and writing, from the intent to the end.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol

from ledger.batching import NewItem
from ledger.caching import Hit
from ledger.offer import Claim
from ledger.pairing import Pair
from schemas.entries import ActionClass, ModelCall, StepKind, WriteEntry

if TYPE_CHECKING:
    from ledger.connection import Connection
    from ledger.locks import Ask

_NEVER = 2**62  # UTC ms


@dataclass(frozen=True, slots=True, kw_only=True)
class Cap:
    """
    Money at most for one scope in one period.
    """

    scope: str
    """`pipeline:<name>` or `budget:<name>`, which may go on as in `/user=42`: of its several, that one's."""
    period: str
    """`2026-11-24`, `2026-11` or `-`."""
    limit: int
    """Micro-USD."""
    ends_at: int = _NEVER
    """UTC ms at which the next period begins."""
    alert_at: tuple[float, ...] = ()
    """Shares of *limit* at which people are told, 0.5 for a half; the whole always is one of them."""
    at_limit: Literal["hold", "drop"] = "drop"
    """Whether a run that does not fit waits for the next period."""


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


class Ending(Protocol):
    """
    The end of a run's last write, not yet kept: `Ledger.finish` keeps it in the run's own transaction.
    """

    def keep(self, connection: Connection) -> None:
        """
        Keep it. Raises `Fenced`.
        """
        ...

    def asks(self) -> tuple[Ask, ...]:
        """
        Return what it will ask of the ledger.
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
    last: WriteEntry | None
    """Of a write: the newest `done` one before, by this pipeline's step on this record."""

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

    async def done(
        self,
        result: Any,
        *,
        receipt: Any = None,
        version: str | None = None,
        hit: Hit | None = None,
        pair: Pair | None = None,
    ) -> None:
        """
        End the step: keep its result, close its write. Raises `Fenced` when the fence moved; the
        result of an `ask` is kept even then, and waited with while the disk is full.

        *hit* says that the result was taken from the cache; *pair* is kept beside it, unless the fence moved.
        """
        ...

    def ending(self, result: Any, *, receipt: Any = None, version: str | None = None) -> Ending:
        """
        Return the end of a write that is its run's last, for `Ledger.finish`; nothing is kept yet.

        When it never is, the step is as one whose process died before `done()`.
        """
        ...

    def call(
        self,
        *,
        amount: int,
        caps: Sequence[Cap],
        per_event: int | None = None,
        model: str = "",
        priced: bool = True,
    ) -> AbstractAsyncContextManager[CallSlot]:
        """
        Reserve *amount* micro-USD under every cap, then give a slot for one provider call to *model*;
        not *priced* when nobody knows what it charges.

        Raises `OverBudget` before anything is sent. Left without settle or release, the whole
        amount is settled: what may have been billed is booked.
        """
        ...

    async def put(
        self,
        item: NewItem,
        *,
        amount: int,
        caps: Sequence[Cap],
        per_event: int | None = None,
        priced: bool = True,
    ) -> None:
        """
        Reserve *amount* micro-USD under every cap for one provider call, and put its question down for
        the next batch, in one transaction. The item owns the reservation from then on, whatever becomes
        of the lane. Raises `OverBudget`.
        """
        ...


class Stepping(Protocol):
    """
    Begins steps, and remembers what they ended with.
    """

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
        new: bool = False,
    ) -> AbstractAsyncContextManager[Step]:
        """
        Begin the step, and look after its end: the only protocol for paying and writing.

        *timeout* covers everything from here to the last byte of the request. A done ask is found
        `fresh` when *input_hash* is another and no delivery was begun, or when *anew* says that the
        kept answer no longer fits.

        *new* says that nothing can be known of this step: it is found `fresh` without a look, and its
        intent is stored together with its first reservation, or its end.

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

    async def writes_of(self, connection: str, record: str, since: int) -> list[WriteEntry]:
        """
        Return our writes on a record since UTC ms, newest first, open ones included.
        """
        ...
