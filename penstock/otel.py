"""
OpenTelemetry: spans and GenAI metrics over OTLP/HTTP, with the extra `otel`.

Names are those of semantic conventions 1.44, where those for GenAI are in development.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from penstock import __version__
from penstock.errors import Invalid
from penstock.tracing import Attributes

if TYPE_CHECKING:
    from opentelemetry.metrics import Histogram
    from opentelemetry.sdk.metrics import MeterProvider
    from opentelemetry.sdk.metrics.export import MetricReader
    from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
    from opentelemetry.trace import Span

SCHEMA = "https://opentelemetry.io/schemas/1.44.0"
FLUSH = 3.0  # seconds at the end for what has not left yet
REUSED = "cached answer"
_NAME = "penstock"
_ENDPOINTS = tuple(f"OTEL_EXPORTER_OTLP{which}_ENDPOINT" for which in ("", "_TRACES", "_METRICS"))
_SECONDS = (0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92)
_TOKENS = tuple(4**power for power in range(14))
_OF_METRICS = (
    "gen_ai.operation.name",
    "gen_ai.provider.name",
    "gen_ai.request.model",
    "gen_ai.response.model",
    "server.address",
    "server.port",
    "penstock.pipeline",
)
"""The attributes that have few values."""


def wanted(environ: Mapping[str, str] = os.environ) -> bool:
    """
    Say whether the environment names a place for telemetry.
    """
    return any(environ.get(name) for name in _ENDPOINTS)


def disabled(environ: Mapping[str, str] = os.environ) -> bool:
    """
    Say whether the environment forbids all telemetry.
    """
    return environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true"


def open(url: str | None = None, headers: Mapping[str, str] | None = None) -> Otel:  # noqa: A001 - as rooms are opened
    """
    Return telemetry that leaves for the collector at *url*; what is not given is the environment's. Raises `Invalid`.
    """
    try:
        from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError:
        raise Invalid("telemetry needs OpenTelemetry's SDK", hint="pip install 'penstock[otel]'") from None

    base = url.rstrip("/") if url else None
    spans = OTLPSpanExporter(endpoint=f"{base}/v1/traces" if base else None, headers=headers)
    metrics = OTLPMetricExporter(endpoint=f"{base}/v1/metrics" if base else None, headers=headers)
    exporters = (spans.shutdown, metrics.shutdown)
    return Otel(BatchSpanProcessor(spans), PeriodicExportingMetricReader(metrics), exporters)


class Otel:
    """
    Tells of spans and metrics; `penstock.tracing.Tracing`.
    """

    def __init__(
        self, spans: SpanProcessor, metrics: MetricReader, exporters: Sequence[Callable[[], None]] = ()
    ) -> None:
        """
        Tell *spans* and *metrics*; calling *exporters* ends what they have under way.
        """
        from opentelemetry.sdk.metrics import MeterProvider
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        self._exporters = exporters
        resource = _resource()
        self._spans: TracerProvider = TracerProvider(resource=resource, shutdown_on_exit=False)
        self._spans.add_span_processor(spans)
        self._metrics: MeterProvider = MeterProvider([metrics], resource=resource, shutdown_on_exit=False)
        self._tracer = self._spans.get_tracer(_NAME, __version__, schema_url=SCHEMA)
        self._propagator = TraceContextTextMapPropagator()
        meter = self._metrics.get_meter(_NAME, __version__, schema_url=SCHEMA)
        self._duration: Histogram = meter.create_histogram(
            "gen_ai.client.operation.duration",
            unit="s",
            description="GenAI operation duration.",
            explicit_bucket_boundaries_advisory=_SECONDS,
        )
        self._tokens: Histogram = meter.create_histogram(
            "gen_ai.client.token.usage",
            unit="{token}",
            description="Number of input and output tokens used.",
            explicit_bucket_boundaries_advisory=_TOKENS,
        )

    @contextlib.contextmanager
    def consumed(self, name: str, attributes: Attributes, traceparent: str | None = None) -> Iterator[_Note]:
        """
        Handle one event, caused by *traceparent*.
        """
        from opentelemetry.context import Context
        from opentelemetry.trace import SpanKind

        parent = self._propagator.extract({"traceparent": traceparent} if traceparent else {}, context=Context())
        with self._tracer.start_as_current_span(
            name, context=parent, kind=SpanKind.CONSUMER, attributes=attributes, **_QUIET
        ) as span:
            yield _Note(span)

    @contextlib.contextmanager
    def part(self, name: str, attributes: Attributes) -> Iterator[_Note]:
        """
        Be a part of the present span; an error is told by its kind, never by its words.
        """
        with self._tracer.start_as_current_span(name, attributes=attributes, **_QUIET) as span:
            note = _Note(span)
            try:
                yield note
            except BaseException as error:
                note.note({"error.type": type(error).__name__}, failed=True)
                raise

    def called(self, attributes: Attributes, seconds: float) -> None:
        """
        Tell of a call to a model that ended now.
        """
        from opentelemetry.trace import SpanKind

        end = time.time_ns()
        span = self._tracer.start_span(
            f"{attributes['gen_ai.operation.name']} {attributes['gen_ai.request.model']}",
            kind=SpanKind.CLIENT,
            attributes=attributes,
            start_time=end - int(seconds * 1e9),
        )
        if "error.type" in attributes:
            _Note(span).note({}, failed=True)
        span.end(end)
        few = {name: attributes[name] for name in _OF_METRICS if name in attributes}
        error = {"error.type": attributes["error.type"]} if "error.type" in attributes else {}
        self._duration.record(seconds, few | error)
        for kind in ("input", "output"):
            if tokens := attributes.get(f"gen_ai.usage.{kind}_tokens"):
                self._tokens.record(tokens, few | {"gen_ai.token.type": kind})

    def reused(self, attributes: Attributes, seconds: float) -> None:
        """
        Tell of an answer that was used again. The conventions have no operation for that, so it has none of their
        names and no metrics: who counts calls, tokens or money by them does not count it.
        """
        end = time.time_ns()
        span = self._tracer.start_span(REUSED, attributes=attributes, start_time=end - int(seconds * 1e9))
        span.end(end)

    def close(self) -> None:
        """
        Let what has not left yet leave, for a moment.
        """
        ends = [threading.Timer(FLUSH, end) for end in self._exporters]  # else they try again for long
        for timer in ends:
            timer.start()
        try:
            self._spans.shutdown()
            self._metrics.shutdown()
        finally:
            for timer in ends:
                timer.cancel()


_QUIET: dict[str, Any] = {"record_exception": False, "set_status_on_exception": False}
"""An error's words may have an event's words in them."""


class _Note:
    """
    A span under way; `penstock.tracing.Span`.
    """

    def __init__(self, span: Span) -> None:
        self._span = span

    def note(self, attributes: Attributes, *, failed: bool = False) -> None:
        """
        Add what is known by now.
        """
        from opentelemetry.trace import Status, StatusCode

        self._span.set_attributes(attributes)
        if failed:
            self._span.set_status(Status(StatusCode.ERROR))


def _resource() -> Any:
    """
    Return who tells: each process is one of its own.
    """
    from opentelemetry.sdk.resources import Resource

    named = os.environ.get("OTEL_SERVICE_NAME") or "service.name=" in os.environ.get("OTEL_RESOURCE_ATTRIBUTES", "")
    ours = {"service.version": __version__, "service.instance.id": str(uuid.uuid4())}
    return Resource.create(ours if named else ours | {"service.name": _NAME})
