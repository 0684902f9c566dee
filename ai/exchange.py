"""
One question to one model: each request reserved, fenced, classified, booked and logged.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ai import batching, prices, replies, telemetry
from ai.errors import AIError, Billed
from ai.estimates import billed_input
from ai.models import ModelSpec
from ai.providers import adapter
from ai.providers.contract import Question, Reading
from ledger.pacing import Need
from penstock.clock import utc
from penstock.errors import Fenced, Invalid, Unavailable
from penstock.http import NotSent, Response, SentNoAnswer
from schemas.entries import ModelCall, Usage

if TYPE_CHECKING:
    from ai.batching import Terms
    from ai.factors import Factors
    from ai.meters import Meters
    from ai.pacing import Paces
    from ai.prices import Price
    from ledger.contract import CallSlot, Cap, Claim, Ledger, Step
    from penstock.clock import Clock
    from penstock.http import Http
    from penstock.tracing import Tracing

COUNT_ROOM = frozenset({"openai", "azure"})
"""Who counts the room of an answer against the quota of tokens, however little of it is used."""
_MIN_PATIENCE = 0.05  # seconds below which a call is not worth starting


@dataclass(frozen=True, kw_only=True)
class Tools:
    """
    What every exchange works with.
    """

    http: Http
    clock: Clock
    factors: Factors
    meters: Meters
    paces: Paces
    tracing: Tracing | None
    ledger: Ledger
    fail: Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class Allowance:
    """
    How long an ask may take and what it may cost.
    """

    deadline: float
    """Monotonic seconds."""
    caps: Callable[[], Sequence[Cap]]
    """Those that hold for a call made now: a repair after midnight is the next day's."""
    per_event: int | None
    batch: Terms | None = None
    """How the first call is left to a batch; None when it is made at once."""
    waits: bool = True
    """Whether its calls wait for their turn; what does not gives way to everybody."""

    @property
    def limited(self) -> bool:
        """
        Tell whether money is limited at all.
        """
        return bool(self.caps()) or self.per_event is not None


@dataclass(kw_only=True)
class Exchange:
    """
    The calls of one ask.
    """

    tools: Tools
    step: Step
    step_name: str
    claim: Claim
    spec: ModelSpec
    rung: int = 0
    cause: str = ""
    """Why the rung below was not enough."""
    allowance: Allowance
    cost: int = 0
    """Micro-USD booked so far."""
    attempt: int = 0
    """Calls begun so far."""
    price: Price | None = field(default=None, init=False)
    """What the model charges now; None when unknown."""

    def __post_init__(self) -> None:
        self.price = prices.find(self.spec, utc(self.tools.clock.now_ms()))
        if self.price is None and self.allowance.limited:
            message = f"model {self.spec.name!r} ({self.spec.label}) has no known price, and its cost is limited"
            raise Invalid(message, hint="set its `price`, or `price_as: provider/model`")

    async def call(self, question: Question, key: str | None, counted: int) -> Reading:
        """
        Send *question*, whose input is *counted* tokens, under a reservation of its worst case.

        Raises `AIError` for anything that is not a finished answer.
        """
        if self.allowance.batch is not None and self.rung == self.attempt == 0:
            return await batching.first(self, self.allowance.batch, question, counted)
        given = billed_input(counted, self.tools.factors.of(self.spec))
        self.check_window(given, question.room)
        amount = self.price.worst_case(given, question.room) if self.price else 0
        if self.attempt or self.rung:  # the first call of an ask has had its turn
            await self._turn(Need(input=given, output=question.room, patient=not self.allowance.waits))
        self.attempt += 1
        caps, per_event = self.allowance.caps(), self.allowance.per_event
        async with self.step.call(
            amount=amount, caps=caps, per_event=per_event, model=self.spec.name, priced=self.price is not None
        ) as slot:
            attempt = _Attempt(exchange=self, slot=slot, question=question, key=key, amount=amount, given=given)
            reading = await self._paced(attempt)
        if not reading.usage.estimated:
            self.tools.factors.observe(self.spec, counted, reading.usage.input)
        return reading

    async def _turn(self, need: Need) -> None:
        if self.tools.paces.of(self.spec.name) is not None:
            await self.tools.paces.turn(self.spec.name, need, patience=self.left if self.allowance.waits else 0.0)

    async def _paced(self, attempt: _Attempt) -> Reading:
        """
        Make the call, and give back what it did not take of the model's pace.
        """
        paces, model = self.tools.paces, self.spec.name
        paces.sent(model)
        try:
            reading = await attempt.run()
        except AIError as error:
            if error.billed == "no":
                paces.back(model, attempt.given, attempt.question.room)
            raise
        if not reading.usage.estimated:
            unused = 0 if self.spec.provider in COUNT_ROOM else attempt.question.room - reading.usage.output
            paces.back(model, attempt.given - reading.usage.input, unused)
        return reading

    @property
    def first(self) -> bool:
        """
        Whether the last call was the first of its ask.
        """
        return self.rung == 0 and self.attempt == 1

    @property
    def left(self) -> float:
        """
        Seconds that are left for the ask; below zero when it is late.
        """
        return self.allowance.deadline - self.tools.clock.monotonic()

    def check_window(self, given: int, room: int) -> None:
        """
        Raise `AIError` when *given* tokens and an answer of *room* do not fit the model's window.
        """
        window = prices.window(self.spec)
        if window is not None and given + room > window:
            message = (
                f"the prompt ({given} tokens) and the answer ({room}) do not fit the window of model "
                f"{self.spec.name!r} ({window}); lower `context.tokens` or `max_output`"
            )
            raise AIError(message, error_class="context_too_long", model=self.spec.name)


@dataclass(kw_only=True)
class _Attempt:
    """
    One request, from its reservation to its entry.
    """

    exchange: Exchange
    slot: CallSlot
    question: Question
    key: str | None = field(repr=False)
    amount: int
    """Micro-USD reserved."""
    given: int
    """Input tokens at most."""
    _began: float = 0.0

    async def run(self) -> Reading:
        tools = self.exchange.tools
        self._began = tools.clock.monotonic()
        tools.fail("ai:before-send")
        outcome = await self._outcome()
        tools.fail("ai:after-answer")
        if isinstance(outcome, Reading):
            reading, error = self._counted(outcome), replies.unfinished(outcome, self.question.room)
        else:
            reading, error = None, outcome
        await self._book(reading, error)
        if error is not None:
            raise replies.scrubbed(error, self.exchange.spec, self.key)
        assert reading is not None
        return reading

    async def _outcome(self) -> Reading | AIError:
        if self.exchange.spec.provider == "offline":
            from ai.providers import offline

            return offline.answer(self.question)
        try:
            return replies.heard(self.exchange.spec, await self._send(), self.key)
        except (Fenced, Unavailable) as exc:
            await self._release("fenced" if isinstance(exc, Fenced) else "ledger")
            raise
        except NotSent as exc:
            await self._release("connection")
            error = AIError(f"the model cannot be reached: {exc}", error_class="connection")
            raise replies.scrubbed(error, self.exchange.spec, self.key) from exc
        except SentNoAnswer as exc:
            message = f"the model was asked and did not answer: {exc}"
            return AIError(message, error_class="timeout" if exc.timeout else "connection", billed="maybe")

    async def _send(self) -> Response:
        left = self.exchange.left
        if left < _MIN_PATIENCE:
            raise NotSent("no time is left for this ask")
        request = adapter(self.exchange.spec.provider).request(self.question, self.key)
        tools = self.exchange.tools
        response = await tools.http.send(request, timeout=left, fence=self.exchange.step.local_fence)
        await tools.paces.heard(self.exchange.spec.name, response.headers)
        return response

    def _counted(self, reading: Reading) -> Reading:
        return reading if self.exchange.spec.provider == "offline" else replies.counted(reading, self.given)

    async def _book(self, reading: Reading | None, error: AIError | None) -> None:
        price = self.exchange.price
        cost = price.cost(reading.usage) if reading and price else self._due(error.billed if error else "yes")
        free = error is not None and error.billed == "no"
        entry = self._entry(reading, error.error_class if error else "ok", cost, priced=free or price is not None)
        self.exchange.cost += cost
        await self.slot.settle(entry, with_step=error is None)  # a paid answer and its price are kept together
        self._record(entry)

    def _due(self, billed: Billed) -> int:
        return 0 if billed == "no" else self.amount

    async def _release(self, outcome: str) -> None:
        entry = self._entry(None, outcome, 0)
        await self.slot.release(entry)
        self._record(entry)

    def _record(self, entry: ModelCall) -> None:
        exchange = self.exchange
        exchange.tools.meters.record(entry, exchange.claim)
        telemetry.record(entry, exchange.claim, exchange.spec, self.question.room, exchange.tools.tracing)

    def _entry(self, reading: Reading | None, outcome: str, cost: int, *, priced: bool = True) -> ModelCall:
        exchange, clock = self.exchange, self.exchange.tools.clock
        return ModelCall(
            call=self.slot.call,
            run=exchange.claim.run,
            step=exchange.step_name,
            model=exchange.spec.name,
            provider=exchange.spec.provider,
            request_model=exchange.spec.model,
            response_model=reading.response_model if reading else None,
            response_id=reading.response_id if reading else None,
            rung=exchange.rung,
            cause=exchange.cause,
            attempt=exchange.attempt - 1,
            outcome=outcome,
            finish_reason=reading.finish_reason if reading else None,
            usage=reading.usage if reading else Usage(),
            cost=cost,
            priced=priced,
            latency_ms=round((clock.monotonic() - self._began) * 1000),
            late=self._late(),
            at=clock.now_ms(),
        )

    def _late(self) -> bool:
        try:
            self.exchange.step.local_fence()
        except (Fenced, Unavailable):
            return True
        return False
