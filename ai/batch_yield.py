"""
What an answer of a batch comes to: what it cost, and whether its run can use it or asks by itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import orjson

from ai import prices, replies, telemetry
from ai.errors import AIError
from ai.providers.contract import Reading
from ledger.batching import Entry, ItemEnd
from penstock.clock import utc
from penstock.http import Response
from schemas.entries import ModelCall, Usage

if TYPE_CHECKING:
    from ai.exchange import Tools
    from ai.models import ModelSpec
    from ai.providers.batching import Answered

UNASKED = "withdrawn"
"""The outcome of a call that was never made."""


class Yield:
    """
    Turns answers into ends of items, and tells of them.
    """

    def __init__(self, tools: Tools) -> None:
        self._clock = tools.clock
        self._tools = tools

    def end(self, spec: ModelSpec, entry: Entry, answered: Answered | None, *, sure: bool) -> ItemEnd:
        """
        Return the end of an item; *sure* says that one without an answer was never asked.
        """
        if answered is None:
            return self.without(spec, entry, lost=not sure, why="its batch has no answer to it")
        if answered.status is None:
            return self.without(spec, entry, lost=False, why=answered.why)
        response = Response(status=answered.status, body=orjson.dumps(answered.body))
        outcome = replies.heard(spec, response)
        if isinstance(outcome, AIError):
            return self._failed(spec, entry, answered, outcome)
        reading = replies.counted(outcome, entry.asked["given"])
        error = replies.unfinished(reading, entry.asked["room"])
        kept = {"status": answered.status, "body": answered.body}
        call = self._call(spec, entry, error.error_class if error else "ok", reading)
        return ItemEnd(call=entry.call, state="answered", entry=call, answer=kept)

    def without(self, spec: ModelSpec | None, entry: Entry, *, lost: bool, why: str) -> ItemEnd:
        """
        Return the end of an item without an answer; a *lost* one is booked in full.
        """
        if lost or spec is None:
            return ItemEnd(call=entry.call, state="lost" if lost else "free", why=why)
        return ItemEnd(call=entry.call, state="free", entry=self._call(spec, entry, UNASKED), why=why)

    def record(self, spec: ModelSpec, entries: Sequence[Entry], ends: Sequence[ItemEnd]) -> None:
        """
        Tell of every call, as of a live one.
        """
        for entry, end in zip(entries, ends, strict=True):
            if end.entry is not None:
                self._tools.meters.record(end.entry, entry.claim)
                telemetry.record(end.entry, entry.claim, spec, entry.asked["room"], self._tools.tracing)

    def _failed(self, spec: ModelSpec, entry: Entry, answered: Answered, error: AIError) -> ItemEnd:
        """
        Return the end of an item that was answered with an error: one that may pass is not the run's.
        """
        why = str(replies.scrubbed(error, spec))
        if error.billed != "no":
            return ItemEnd(call=entry.call, state="lost", why=why)
        call = self._call(spec, entry, error.error_class)
        if error.advice in ("gate", "retry"):
            return ItemEnd(call=entry.call, state="free", entry=call, why=why)
        kept = {"status": answered.status, "body": answered.body}
        return ItemEnd(call=entry.call, state="answered", entry=call, answer=kept, why=why)

    def _call(self, spec: ModelSpec, entry: Entry, outcome: str, reading: Reading | None = None) -> ModelCall:
        price, now = prices.find(spec, utc(entry.at)), self._clock.now_ms()
        return ModelCall(
            call=entry.call,
            run=entry.claim.run,
            step=entry.step,
            model=spec.name,
            provider=spec.provider,
            request_model=spec.model,
            response_model=reading.response_model if reading else None,
            response_id=reading.response_id if reading else None,
            outcome=outcome,
            finish_reason=reading.finish_reason if reading else None,
            usage=reading.usage if reading else Usage(),
            cost=price.halved().cost(reading.usage) if price and reading else 0,
            priced=price is not None or reading is None,
            latency_ms=max(now - entry.at, 0),
            at=now,
        )
