"""
One step of a run between its begin and its end, and one provider call between reserve and settle.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

import orjson

from ledger import lanes, locks, money, steps
from ledger.connection import Connection, Operation
from ledger.contract import Cap, Claim
from ledger.lease import Lease
from ledger.steps import Begun, End, Found, Plan
from ledger.store import Store
from penstock.clock import Clock
from penstock.errors import PenstockError, Unavailable, UnknownOutcome
from schemas.entries import ModelCall

ID_BYTES = 16
FULL_DISK_PAUSE = 1.0  # seconds
T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Means:
    """
    What a step needs of its ledger.
    """

    store: Store
    lease: Lease
    clock: Clock
    fail: Callable[[str], None]


class OpenStep:
    """
    A step that was begun; `ledger.contract.Step`.
    """

    def __init__(self, means: Means, claim: Claim, plan: Plan, begun: Begun) -> None:
        self.found: Found = begun.found
        self.result = begun.result
        self.key = steps.key(claim, plan.name)
        self.attempts = begun.attempts
        self.first_at = begun.first_at
        self.quiet_at = begun.quiet_at
        self._means = means
        self._claim = claim
        self._plan = plan
        self._locks = locks.of(claim)
        self._ending = False
        self._over = begun.found == "done"
        self._caps: tuple[Cap, ...] = ()
        self._owed: list[Operation[None]] = []
        """What is booked together with the end of the step."""

    def local_fence(self) -> None:
        """
        Raise when this process must not send anything new.
        """
        self._means.lease.check(self._claim.fence)

    async def fence(self) -> None:
        """
        Raise `Fenced` when the ledger says that the lane's fence has moved.
        """
        self._means.lease.check(self._claim.fence)
        await self._means.store.read(lambda connection: lanes.hold(connection, self._claim))

    async def done(self, result: Any, *, receipt: Any = None, version: str | None = None) -> None:
        """
        End the step with *result*.
        """
        end = End(result=_json(result), receipt=None if receipt is None else _json(receipt), version=version)
        self._means.fail("done:before")
        self._ending = True
        now = self._means.clock.now_ms()
        keep = self._firmly if self._plan.kind == "ask" else self._pay
        ended = await keep(lambda c: steps.finish(c, self._claim, self._plan, end, now))
        self._over = True
        self._means.fail("done:after")
        if not ended:
            raise lanes.fenced(self._claim)

    async def leave(self, error: BaseException | None) -> None:
        """
        End the step without a result, as far as it has none yet.
        """
        if self._over:
            await self._pay(_nothing)
            return
        state: Literal["failed", "unknown"] = "failed" if self._without_effect(error) else "unknown"
        now = self._means.clock.now_ms()
        await self._pay(lambda c: steps.leave(c, self._claim, self._plan, state, now))

    async def _firmly(self, operation: Operation[T]) -> T | None:
        """
        Do *operation* however long the disk is full: an answer that was paid for is not asked for again.
        """
        while not self._means.store.closed:
            try:
                return await self._pay(operation)
            except Unavailable:
                await self._means.clock.sleep(FULL_DISK_PAUSE)
        return await self._pay(operation)

    async def _pay(self, operation: Operation[T]) -> T | None:
        """
        Book what is owed and do *operation*, in one transaction.
        """
        owed = tuple(self._owed)
        if not owed and operation is _nothing:
            return None

        def both(connection: Connection) -> T:
            for book in owed:
                book(connection)
            return operation(connection)

        wanted = locks.of(self._claim, self._caps) if owed else self._locks
        result = await self._means.store.write(both, wanted)
        if owed:
            del self._owed[: len(owed)]
        return result

    def call(
        self, *, amount: int, caps: Sequence[Cap], per_event: int | None = None
    ) -> AbstractAsyncContextManager[Slot]:
        """
        Reserve *amount* for one provider call.
        """
        return self._call(amount, tuple(caps), per_event)

    @asynccontextmanager
    async def _call(self, amount: int, caps: Sequence[Cap], per_event: int | None) -> AsyncIterator[Slot]:
        await self._pay(_nothing)
        self._caps = tuple({*self._caps, *caps})
        slot = Slot(self._means, self._claim, self._plan.name, amount, caps, owe=self._owed.append)
        await slot.reserve(per_event)
        try:
            yield slot
        except BaseException:
            with suppress(PenstockError):
                await slot.lose()
            raise
        await slot.lose()

    def _without_effect(self, error: BaseException | None) -> bool:
        if self._ending or isinstance(error, UnknownOutcome):
            return False
        return error is None or isinstance(error, PenstockError)


class Slot:
    """
    One provider call under a reservation; `ledger.contract.CallSlot`.
    """

    def __init__(
        self,
        means: Means,
        claim: Claim,
        step: str,
        amount: int,
        caps: Sequence[Cap],
        *,
        owe: Callable[[Operation[None]], None],
    ) -> None:
        self.call = secrets.token_hex(ID_BYTES)
        self._means = means
        self._claim = claim
        self._step = step
        self._amount = amount
        self._caps = caps
        self._locks = locks.of(claim, caps)
        self._owe = owe
        self._ended = False

    async def reserve(self, per_event: int | None) -> None:
        """
        Hold the money, or raise `OverBudget`.
        """
        now = self._means.clock.now_ms()
        await self._means.store.write(
            lambda connection: money.reserve(
                connection,
                self._claim,
                self._step,
                self.call,
                amount=self._amount,
                caps=self._caps,
                per_event=per_event,
                now=now,
            ),
            self._locks,
        )
        self._means.fail("reserve")

    async def settle(self, entry: ModelCall, *, with_step: bool = False) -> None:
        """
        Book what the call really cost.
        """
        if with_step:
            mine = self._mine(entry)
            self._owe(lambda connection: money.end(connection, mine, "settled"))
            return
        await self._end(entry, "settled")
        self._means.fail("settle")

    async def release(self, entry: ModelCall) -> None:
        """
        Give the reservation back.
        """
        await self._end(entry, "released")

    async def lose(self) -> None:
        """
        Book the whole amount of a call nobody told us the end of.
        """
        if self._ended:
            return
        now = self._means.clock.now_ms()
        entry = money.unanswered(
            call=self.call, run=self._claim.run, step=self._step, cost=self._amount, outcome="lost", now=now
        )
        await self._end(entry, "settled")

    async def _end(self, entry: ModelCall, ending: money.Ending) -> None:
        mine = self._mine(entry)
        await self._means.store.write(lambda connection: money.end(connection, mine, ending), self._locks)

    def _mine(self, entry: ModelCall) -> ModelCall:
        self._ended = True
        return entry.model_copy(update={"call": self.call, "run": self._claim.run, "step": self._step})


@asynccontextmanager
async def open_step(means: Means, claim: Claim, plan: Plan) -> AsyncIterator[OpenStep]:
    """
    Begin a step, and look after its end.
    """
    now = means.clock.now_ms()
    begun = await means.store.write(lambda connection: steps.begin(connection, claim, plan, now), locks.of(claim))
    means.fail("begin")
    step = OpenStep(means, claim, plan, begun)
    try:
        yield step
    except BaseException as error:
        with suppress(PenstockError, asyncio.CancelledError):
            await step.leave(error)
        raise
    await step.leave(None)


def _nothing(_connection: Connection) -> None:
    """
    Do nothing more than what is owed.
    """


def _json(data: Any) -> str:
    return orjson.dumps(data).decode()
