"""
Watch: what is counted and timed of runs, from the bus to their end.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from types import TracebackType

from ledger.contract import Claim
from penstock.clock import Clock
from penstock.metrics import SLOW, Instruments
from penstock.tracing import Span, Tracing
from schemas.entries import Verdict
from schemas.events import Event

_NOTHING: AbstractContextManager[None] = nullcontext()


class Watch:
    """
    Looks at the runs of one process.
    """

    def __init__(self, made_by: Instruments, clock: Clock, tracing: Tracing | None = None) -> None:
        self._clock = clock
        self._tracing = tracing
        self._runs = made_by.counter("penstock_runs", "Runs that are final.", ("pipeline", "verdict"))
        self._waits = made_by.counter(
            "penstock_runs_put_off", "How often a run was put off, or aside.", ("pipeline", "reason")
        )
        self._stored = made_by.counter(
            "penstock_answers_stored", "Answers taken from the ledger, and not paid again.", ("pipeline",)
        )
        self._queue = made_by.histogram(
            "penstock_queue_seconds", "Time from the bus to the first start of a run.", ("pipeline",), SLOW
        )
        self._took = made_by.histogram(
            "penstock_run_seconds", "Time of a run from its first start to its end.", ("pipeline",), SLOW
        )
        self._step = made_by.histogram(
            "penstock_step_seconds", "Time of a part of a run: context, ask, or a delivery.", ("pipeline", "step")
        )

    def began(self, claim: Claim) -> None:
        """
        Take note that a run starts.
        """
        if claim.queued_at is not None:
            waited = self._clock.now_ms() - claim.queued_at
            self._queue(max(0, waited) / 1000, claim.pipeline)  # the bus may have another clock

    def run(self, claim: Claim, event: Event) -> AbstractContextManager[Span | None]:
        """
        Return a block in which a run goes as far as it can, caused by whatever caused its event.
        """
        if self._tracing is None:
            return _NOTHING
        known = {
            "penstock.pipeline": claim.pipeline,
            "penstock.run": claim.run,
            "penstock.attempt": claim.attempts,
            "cloudevents.event_id": event.id,
            "cloudevents.event_type": event.type,
        }
        return self._tracing.consumed(f"run {claim.pipeline}", known, event.traceparent)

    def ended(self, claim: Claim, verdict: Verdict, span: Span | None = None) -> None:
        """
        Take note that a run is final, and with it those it stands for.
        """
        self._runs(1, claim.pipeline, verdict)
        if span is not None:
            span.note({"penstock.verdict": verdict}, failed=verdict == "dead")
        if claim.burst is not None and claim.burst.count > 1:
            self._runs(claim.burst.count - 1, claim.pipeline, "superseded")
        if claim.began_at is not None:
            self._took(max(0, self._clock.now_ms() - claim.began_at) / 1000, claim.pipeline)

    def put_off(self, claim: Claim, reason: str, span: Span | None = None) -> None:
        """
        Take note that a run waits or stands aside.
        """
        self._waits(1, claim.pipeline, reason)
        if span is not None:
            span.note({"penstock.reason": reason})

    def concluded(self, pipeline: str, verdict: Verdict) -> None:
        """
        Take note of an event that had its verdict before it could start.
        """
        self._runs(1, pipeline, verdict)

    def recalled(self, pipeline: str) -> None:
        """
        Take note of an answer that was there already.
        """
        self._stored(1, pipeline)

    def step(self, pipeline: str, name: str) -> Timed:
        """
        Return a block whose time is that of a part of a run.
        """
        span = None if self._tracing is None else self._tracing.part(name, {"penstock.step": name})
        return Timed(self._step, pipeline, name, span=span)


class Timed:
    """
    A block whose time is told.
    """

    def __init__(
        self, tell: Callable[..., None], *labels: str, span: AbstractContextManager[Span] | None = None
    ) -> None:
        self._tell = tell
        self._labels = labels
        self._span = span
        self._began = 0.0

    def __enter__(self) -> None:
        if self._span is not None:
            self._span.__enter__()
        self._began = time.perf_counter()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        self._tell(time.perf_counter() - self._began, *self._labels)
        if self._span is not None:
            self._span.__exit__(kind, error, where)
