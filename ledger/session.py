"""
One step of a run between its begin and its end.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from dataclasses import replace
from functools import partial
from typing import Any, Literal, TypeVar

import orjson

from ledger import asks, lanes, locks, steps
from ledger.batching import NewItem
from ledger.caching import Hit
from ledger.connection import Connection, Operation
from ledger.contract import Cap, Claim
from ledger.pairing import Pair
from ledger.slots import Intend, Means, Slot, Terms
from ledger.steps import Begun, End, Found, Plan
from penstock.errors import PenstockError, Unavailable, UnknownOutcome

FULL_DISK_PAUSE = 1.0  # seconds
T = TypeVar("T")


class OpenStep:
    """
    A step that was begun; `ledger.contract.Step`.
    """

    def __init__(self, means: Means, claim: Claim, plan: Plan, begun: Begun, *, intend: Intend | None = None) -> None:
        """
        Look after what was *begun*; *intend* stores it with whatever is written first.
        """
        self.found: Found = begun.found
        self.result = begun.result
        self.key = steps.key(claim, plan.name)
        self.attempts = begun.attempts
        self.first_at = begun.first_at
        self.quiet_at = begun.quiet_at
        self.last = begun.last
        self._means = means
        self._claim = claim
        self._plan = plan
        self._ending = False
        self._over = begun.found == "done"
        self._caps: tuple[Cap, ...] = ()
        self._intend = intend
        self._owed: list[Slot] = []
        """Calls that are booked together with the end of the step."""

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
        await self._means.store.look(lambda connection: lanes.hold(connection, self._claim))

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
        End the step with *result*.
        """
        end = replace(_end(result, receipt, version), hit=hit, pair=pair)
        self._means.fail("done:before")
        self._ending = True
        now = self._means.clock.now_ms()
        keep = self._firmly if self._plan.kind == "ask" else self._pay
        ended = await keep(lambda c: steps.finish(c, self._claim, self._plan, end, now))
        self._over = True
        self._means.fail("done:after")
        if not ended:
            raise lanes.fenced(self._claim)

    def ending(self, result: Any, *, receipt: Any = None, version: str | None = None) -> steps.Ending:
        """
        Return the end of a write with *result*: `finish` keeps it.
        """
        self._means.fail("done:before")
        self._over = True
        end, now = _end(result, receipt, version), self._means.clock.now_ms()
        return steps.Ending(claim=self._claim, plan=self._plan, end=end, now=now)

    async def leave(self, error: BaseException | None) -> None:
        """
        End the step without a result, as far as it has none yet.
        """
        if self._over:
            await self._pay(_nothing)
            return
        if self._intend is not None:
            return  # nothing was stored, and nothing was sent
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
        owed, intend = tuple(self._owed), self._intend
        if not owed and operation is _nothing:
            return None

        def both(connection: Connection) -> T:
            if intend is not None:
                intend(connection, False)
            for slot in owed:
                slot.book(connection)
            return operation(connection)

        def asked() -> tuple[locks.Ask, ...]:
            return asks.step(self._plan.named(self._claim)) + tuple(ask for slot in owed for ask in slot.asks())

        wanted = locks.of(self._claim, self._caps if owed else (), asks=asked)
        result = await self._means.store.write(both, wanted)
        self._intend = None
        if owed:
            del self._owed[: len(owed)]
        return result

    def call(
        self,
        *,
        amount: int,
        caps: Sequence[Cap],
        per_event: int | None = None,
        model: str = "",
        priced: bool = True,
    ) -> AbstractAsyncContextManager[Slot]:
        """
        Reserve *amount* for one provider call.
        """
        return self._call(Terms(amount=amount, caps=tuple(caps), model=model, priced=priced), per_event)

    @asynccontextmanager
    async def _call(self, terms: Terms, per_event: int | None) -> AsyncIterator[Slot]:
        await self._pay(_nothing)
        self._caps = tuple({*self._caps, *terms.caps})
        slot = Slot(self._means, self._claim, self._plan, terms, owe=self._owed.append, doubted=self.found == "unknown")
        intend, self._intend = self._intend, None  # from here on it may be stored, whatever we are told
        await slot.reserve(per_event, intend)
        try:
            yield slot
        except BaseException:
            with suppress(PenstockError):
                await slot.lose()
            raise
        await slot.lose()

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
        Reserve *amount* for one provider call, and leave it to the next batch.
        """
        terms = Terms(amount=amount, caps=tuple(caps), model=item.model, priced=priced, item=item)
        slot = Slot(self._means, self._claim, self._plan, terms, owe=self._owed.append, doubted=self.found == "unknown")
        intend, self._intend = self._intend, None
        await slot.reserve(per_event, intend)

    def _without_effect(self, error: BaseException | None) -> bool:
        if self._ending or isinstance(error, UnknownOutcome):
            return False
        return error is None or isinstance(error, PenstockError)


@asynccontextmanager
async def open_step(means: Means, claim: Claim, plan: Plan, *, new: bool) -> AsyncIterator[OpenStep]:
    """
    Begin a step, and look after its end. The intent of a *new* one goes with its first reservation.
    """
    now = means.clock.now_ms()

    def begin(connection: Connection) -> Begun:
        return steps.begin(connection, claim, plan, now)

    if new:
        intend = partial(steps.intend, claim=claim, plan=plan, now=now)
        step = OpenStep(means, claim, plan, steps.first(plan, now), intend=intend)
    else:
        needs = locks.of(claim, asks=lambda: asks.step(plan.named(claim), plan.write))
        step = OpenStep(means, claim, plan, await means.store.write(begin, needs))
        means.fail("begin")
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


def _end(result: Any, receipt: Any, version: str | None) -> End:
    return End(result=_json(result), receipt=None if receipt is None else _json(receipt), version=version)


def _json(data: Any) -> str:
    return orjson.dumps(data).decode()
