"""
OpenTelemetry: spans and metrics under the names of its conventions, and a real exporter at a collector.
"""

from __future__ import annotations

import asyncio
import gzip
import sys
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import web
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.semconv._incubating.attributes import error_attributes, gen_ai_attributes, server_attributes
from opentelemetry.semconv._incubating.metrics import gen_ai_metrics
from opentelemetry.trace import SpanKind, StatusCode

from penstock import otel
from penstock.errors import Invalid
from penstock.otel import REUSED, Otel

CAUSE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
CALL = {
    "gen_ai.operation.name": "chat",
    "gen_ai.provider.name": "openai",
    "gen_ai.request.model": "gpt-5-mini",
    "gen_ai.usage.input_tokens": 900,
    "gen_ai.usage.output_tokens": 80,
    "server.address": "api.openai.com",
    "penstock.pipeline": "p",
    "penstock.run": "r1",
}


class Memory:
    """
    Telemetry that goes nowhere but to a test.
    """

    def __init__(self) -> None:
        self._spans = InMemorySpanExporter()
        self._metrics = InMemoryMetricReader()
        self.otel = Otel(SimpleSpanProcessor(self._spans), self._metrics)

    def spans(self) -> dict[str, Any]:
        return {span.name: span for span in self._spans.get_finished_spans()}

    def points(self) -> dict[str, list[Any]]:
        if (found := self._metrics.get_metrics_data()) is None:
            return {}
        metrics = [each for of in found.resource_metrics for scope in of.scope_metrics for each in scope.metrics]
        return {each.name: list(each.data.data_points) for each in metrics}


@pytest.fixture
def memory() -> Memory:
    return Memory()


def test_a_call_is_a_span_under_its_part_of_the_run(memory: Memory) -> None:
    """
    The event's own trace goes on: run, part, call; a call is a client's, and as long as it took.
    """
    with (
        memory.otel.consumed("run p", {"penstock.pipeline": "p"}, CAUSE) as run,
        memory.otel.part("ask", {"penstock.step": "ask"}),
    ):
        memory.otel.called(CALL, 1.5)
        run.note({"penstock.verdict": "delivered"})

    run_, part, call = (memory.spans()[name] for name in ("run p", "ask", "chat gpt-5-mini"))
    assert f"{run_.context.trace_id:032x}" == CAUSE.split("-")[1] == f"{call.context.trace_id:032x}"
    assert f"{run_.parent.span_id:016x}" == CAUSE.split("-")[2]
    assert (part.parent.span_id, call.parent.span_id) == (run_.context.span_id, part.context.span_id)
    assert (run_.kind, call.kind) == (SpanKind.CONSUMER, SpanKind.CLIENT)
    assert call.end_time - call.start_time == 1_500_000_000
    assert dict(call.attributes) == CALL
    assert run_.attributes["penstock.verdict"] == "delivered"


def test_an_answer_that_is_used_again_is_no_call(memory: Memory) -> None:
    """
    It has a span in the run's part, as long as it was looked for, with no name of the conventions and in no metric.
    """
    known = {"penstock.cache": "hit", "penstock.run": "r1", "penstock.saved_micro_usd": 400}
    with memory.otel.part("ask", {"penstock.step": "ask"}):
        memory.otel.reused(known, 0.25)

    part, hit = (memory.spans()[name] for name in ("ask", REUSED))
    assert hit.parent.span_id == part.context.span_id
    assert (hit.kind, hit.end_time - hit.start_time) == (SpanKind.INTERNAL, 250_000_000)
    assert dict(hit.attributes) == known
    assert memory.points() == {}


@pytest.mark.parametrize("cause", [None, "", "rubbish", "00-0-0-01"])
def test_an_event_without_a_trace_begins_one(memory: Memory, cause: str | None) -> None:
    """
    Whatever an event has in its place, one run is never the child of another.
    """
    with memory.otel.consumed("outer", {}), memory.otel.consumed("run p", {}, cause):
        pass

    assert memory.spans()["run p"].parent is None


def test_an_error_is_told_by_its_kind_alone(memory: Memory) -> None:
    """
    Its words may have been an event's.
    """
    with pytest.raises(ZeroDivisionError), memory.otel.consumed("run p", {}), memory.otel.part("ask", {}):
        raise ZeroDivisionError("lamp of Nadia")
    memory.otel.called(CALL | {"error.type": "timeout"}, 60.0)

    spans = memory.spans()
    assert spans["ask"].status.status_code is StatusCode.ERROR
    assert spans["ask"].attributes["error.type"] == "ZeroDivisionError"
    assert spans["chat gpt-5-mini"].status.status_code is StatusCode.ERROR
    assert "Nadia" not in "".join(span.to_json() for span in spans.values())


def test_metrics_have_the_conventions_names_and_few_labels(memory: Memory) -> None:
    """
    Time and tokens of a call; a run is no label.
    """
    memory.otel.called(CALL, 1.5)
    memory.otel.called(CALL | {"error.type": "timeout"}, 60.0)

    points = memory.points()
    assert set(points) == {gen_ai_metrics.GEN_AI_CLIENT_OPERATION_DURATION, gen_ai_metrics.GEN_AI_CLIENT_TOKEN_USAGE}
    seconds = {point.attributes.get("error.type"): point for point in points["gen_ai.client.operation.duration"]}
    assert (seconds[None].sum, seconds["timeout"].sum) == (1.5, 60.0)
    assert seconds[None].explicit_bounds[0] == 0.01
    tokens = {point.attributes["gen_ai.token.type"]: point.sum for point in points["gen_ai.client.token.usage"]}
    assert tokens == {"input": 1800, "output": 160}
    assert not any("penstock.run" in point.attributes for found in points.values() for point in found)


def test_every_name_is_one_of_the_conventions() -> None:
    """
    What a call says of itself under `gen_ai.`, `server.` and `error.` stands in the conventions.
    """
    from pathlib import Path

    import ai.telemetry

    known = {
        value
        for module in (gen_ai_attributes, server_attributes, error_attributes)
        for value in vars(module).values()
        if isinstance(value, str)
    }
    text = Path(ai.telemetry.__file__).read_text("utf-8")
    names = {word for word in text.split('"') if word.startswith(("gen_ai.", "server.", "error."))}

    assert names > {"gen_ai.operation.name", "gen_ai.usage.input_tokens", "server.address", "error.type"}
    assert names - known == set()
    assert set(otel._OF_METRICS) - known == {"penstock.pipeline"}


# ---- the way out -----------------------------------------------------------------------------


class Collector:
    """
    What takes OTLP over HTTP.
    """

    def __init__(self) -> None:
        self.spans: list[Any] = []
        self.metrics: list[Any] = []
        self.headers: list[Any] = []
        self.url = ""

    async def take(self, request: web.Request) -> web.Response:
        body = await request.read()
        if request.headers.get("Content-Encoding") == "gzip" and body[:2] == b"\x1f\x8b":
            body = gzip.decompress(body)
        self.headers.append(request.headers)
        if request.path == "/v1/traces":
            told = ExportTraceServiceRequest.FromString(body)
            self.spans += [
                (of.resource, span) for of in told.resource_spans for s in of.scope_spans for span in s.spans
            ]
        else:
            found = ExportMetricsServiceRequest.FromString(body)
            self.metrics += [each for of in found.resource_metrics for s in of.scope_metrics for each in s.metrics]
        return web.Response(body=b"", content_type="application/x-protobuf")


@pytest.fixture
async def collector() -> AsyncIterator[Collector]:
    here = Collector()
    app = web.Application()
    app.router.add_post("/v1/{signal}", here.take)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    here.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    yield here
    await runner.cleanup()


@pytest.mark.parametrize("by", ["url", "environment"])
async def test_everything_arrives_at_a_collector(
    collector: Collector, monkeypatch: pytest.MonkeyPatch, by: str
) -> None:
    """
    Over OTLP/HTTP, with its headers, when the hub stops at the latest.
    """
    if by == "environment":
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url)
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "x-key=k-1")
        monkeypatch.setenv("OTEL_SERVICE_NAME", "desk-hub")
        assert otel.wanted()
        opened = otel.open()
    else:
        opened = otel.open(collector.url + "/", {"x-key": "k-1"})
    with opened.consumed("run p", {}, CAUSE):
        opened.called(CALL, 0.2)
    await asyncio.to_thread(opened.close)

    assert {span.name for _, span in collector.spans} == {"run p", "chat gpt-5-mini"}
    assert {each.name for each in collector.metrics} == {
        "gen_ai.client.operation.duration",
        "gen_ai.client.token.usage",
    }
    assert {headers["x-key"] for headers in collector.headers} == {"k-1"}
    resource = {each.key: each.value.string_value for each in collector.spans[0][0].attributes}
    assert resource["service.name"] == ("desk-hub" if by == "environment" else "penstock")
    assert resource["service.instance.id"]


async def test_a_collector_that_is_down_holds_nothing_up() -> None:
    """
    Calls go on, and the hub ends soon.
    """
    opened = otel.open("http://127.0.0.1:9")
    began = time.monotonic()
    for _ in range(100):
        opened.called(CALL, 0.2)
    assert time.monotonic() - began < 2
    await asyncio.to_thread(opened.close)

    assert time.monotonic() - began < 2 + 2 * otel.FLUSH


def test_the_extra_is_named_where_it_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    """
    A hub that should tell and cannot says what to install.
    """
    monkeypatch.setitem(sys.modules, "opentelemetry.exporter.otlp.proto.http.trace_exporter", None)
    with pytest.raises(Invalid, match="OpenTelemetry") as caught:
        otel.open("http://127.0.0.1:4318")

    assert "penstock[otel]" in str(caught.value.hint)


def test_the_environment_can_forbid_it() -> None:
    """
    `OTEL_SDK_DISABLED` ends all of it; nothing is on by itself.
    """
    assert not otel.wanted({})
    assert otel.wanted({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://c:4318/v1/traces"})
    assert otel.disabled({"OTEL_SDK_DISABLED": "TRUE"})
    assert not otel.disabled({})
