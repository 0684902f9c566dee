"""
What is counted and timed of calls to models.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from penstock.units import MICRO

if TYPE_CHECKING:
    from ledger.caching import Hit
    from ledger.contract import Claim
    from penstock.metrics import Instruments
    from schemas.entries import ModelCall

_WHOSE = ("pipeline", "model")


class Meters:
    """
    Counts calls, their errors, tokens and money by pipeline and model, and times them.
    """

    def __init__(self, made_by: Instruments) -> None:
        self._seconds = made_by.histogram(
            "penstock_call_seconds", "Time of a call to a model, until its answer or its error.", _WHOSE
        )
        self._turns = made_by.histogram(
            "penstock_pace_wait_seconds", "Time a request waited for its turn at its model's pace.", ("model",)
        )
        self._calls = made_by.counter("penstock_calls", "Calls to models: ok, or the error.", (*_WHOSE, "outcome"))
        self._cost = made_by.counter("penstock_cost_usd", "Money booked for calls.", _WHOSE)
        self._unpriced = made_by.counter(
            "penstock_calls_unpriced", "Calls whose cost is unknown, and counts nowhere else.", _WHOSE
        )
        self._tokens_in = made_by.counter("penstock_tokens_in", "Input tokens, cached ones included.", _WHOSE)
        self._tokens_out = made_by.counter("penstock_tokens_out", "Output tokens.", _WHOSE)
        self._tokens_cached = made_by.counter("penstock_tokens_cached", "Input tokens from a provider's cache.", _WHOSE)
        self._hits = made_by.counter("penstock_cache_hits", "Answers taken from the cache, by who gave them.", _WHOSE)
        self._misses = made_by.counter(
            "penstock_cache_misses", "Questions that had to be asked although their pipeline has a cache.", _WHOSE[:1]
        )
        self._saved = made_by.counter("penstock_cache_saved_usd", "What the answers taken had cost before.", _WHOSE)

    def paced(self, seconds: float, model: str) -> None:
        """
        Note how long a request waited for its turn.
        """
        self._turns(seconds, model)

    def hit(self, claim: Claim, hit: Hit) -> None:
        """
        Count an answer that was taken from the cache.
        """
        self._hits(1, claim.pipeline, hit.model)
        if hit.saved:
            self._saved(hit.saved / MICRO, claim.pipeline, hit.model)

    def missed(self, claim: Claim) -> None:
        """
        Count a question that was not found there.
        """
        self._misses(1, claim.pipeline)

    def record(self, call: ModelCall, claim: Claim) -> None:
        """
        Count *call*.
        """
        whose = (claim.pipeline, call.model)
        self._seconds(call.latency_ms / 1000, *whose)
        self._calls(1, *whose, call.outcome)
        for add, amount in (
            (self._cost, call.cost / MICRO),
            (self._tokens_in, call.usage.input),
            (self._tokens_out, call.usage.output),
            (self._tokens_cached, call.usage.cache_read),
            (self._unpriced, int(not call.priced)),
        ):
            if amount:
                add(amount, *whose)
