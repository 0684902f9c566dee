"""
Batches: questions that a provider answers within hours, for less.

A question is an item: put down in one transaction with its reservation, which it owns until it has an end, whatever
becomes of its run's lane. One worker at a time looks after the items of all. A batch is written under our own id before
a provider hears of it, so that whoever comes after a crash can find it again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from ledger.offer import Claim
from schemas.entries import ModelCall

ItemState = Literal["open", "sealed", "answered", "free", "lost"]
"""`free` costs nothing, `lost` was booked in full: in both its run asks by itself."""
BatchState = Literal["sealed", "sending", "running", "cancelling", "ended"]


@dataclass(frozen=True, slots=True, kw_only=True)
class NewItem:
    """
    A question for the next batch.
    """

    model: str
    """The name in `models`."""
    within: float
    """Seconds an answer may take; items of one batch share it."""
    due_at: int
    """UTC ms at which its run asks by itself."""
    ask_hash: str
    body: bytes
    """The provider's request, JSON."""
    asked: Any
    """JSON data: what the answer is read against."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """
    What became of a run's question.
    """

    call: str
    model: str
    ask_hash: str
    asked: Any
    state: ItemState
    answer: Any = None
    """Of an answered one: `status` and `body` of what the provider said."""
    cost: int = 0
    """Micro-USD booked for it."""
    why: str | None = None
    due_at: int = 0
    """UTC ms."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """
    One question of a batch that was sealed.
    """

    call: str
    claim: Claim
    """Whose question it is; it holds no lane."""
    step: str
    body: bytes
    asked: Any
    at: int
    """UTC ms at which it was put down: the prices of that moment hold."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """
    A batch that is not over.
    """

    batch: str
    """Our own id."""
    model: str
    state: BatchState
    handle: str | None
    """The provider's id, once we were told."""
    items: int
    sent_at: int | None
    """UTC ms of the last try to create it."""
    at: int
    due_at: int
    """UTC ms: the earliest of its items."""
    looks: int
    """How often it was looked at in vain."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """
    When open items become a batch: when there are enough of them, or the first has waited long enough.
    """

    items: int
    size: int
    """Bytes."""
    age: float
    """Seconds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ItemEnd:
    """
    What became of one item.
    """

    call: str
    state: Literal["answered", "free", "lost"]
    entry: ModelCall | None = None
    """What is kept of the call; the ledger's own when None."""
    answer: Any = None
    why: str | None = None


class Batching(Protocol):
    """
    Keeps items and batches. Times are UTC ms.
    """

    async def item(self, claim: Claim, step: str) -> Item | None:
        """
        Return the newest item of a run's step; None when its question is in no batch.
        """
        ...

    async def spend_item(self, call: str, why: str) -> None:
        """
        Note that a run has heard the error that an item was answered with.
        """
        ...

    async def lead(self, what: str, *, lasts: float) -> bool:
        """
        Say whether this worker does the work *what* for all, for *lasts* seconds from now.
        """
        ...

    async def has_batches(self) -> bool:
        """
        Say whether there is any item to be sealed, or any batch to be looked at.
        """
        ...

    async def withdraw(self) -> int:
        """
        Free the open items that are due, or whose run is over; return how many.
        """
        ...

    async def seal(self, limits: Limits) -> int:
        """
        Make batches of open items; return how many.
        """
        ...

    async def due_batches(self) -> list[Batch]:
        """
        Return batches that are to be looked at now.
        """
        ...

    async def entries(self, batch: str) -> list[Entry]:
        """
        Return the items of a batch that have no end yet, in one order every time.
        """
        ...

    async def known_handle(self, handle: str) -> bool:
        """
        Say whether a provider's batch belongs to one of ours.
        """
        ...

    async def move_batch(
        self,
        batch: Batch,
        state: BatchState,
        *,
        look_at: int,
        looks: int = 0,
        handle: str | None = None,
        sent_at: int | None = None,
        why: str | None = None,
    ) -> bool:
        """
        Put *batch* into *state*; False when somebody else moved it since it was read.
        """
        ...

    async def end_items(self, ends: Sequence[ItemEnd]) -> int:
        """
        Book what became of items and wake their runs; return how many had no end before.
        """
        ...
