"""
A hub that tells a collector what it does, and nothing of what it reads or writes.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from ai.double import ModelDouble
from connectors.double import serving
from connectors.zendesk.double import AGENT_EMAIL, TOKEN, ZendeskDouble
from console.testing import HubProcess, overlay
from penstock import HOUSE

WITHIN = 120.0  # seconds: a machine may be slow
KEY = "sk-test-0123456789abcdef"
SECRETS = {
    "ZENDESK_TOKEN": TOKEN,
    "ZENDESK_HOOK": "hook",
    "ZENDESK_HOOK_OLD": "older",
    "OPENAI_API_KEY": KEY,
    "OTLP_TOKEN": "let-me-in",
}


class Collector:
    """
    What takes OTLP over HTTP, and keeps it as it came.
    """

    def __init__(self) -> None:
        self.url = ""
        self.bodies: dict[str, list[bytes]] = {"traces": [], "metrics": []}
        self.tokens: set[str | None] = set()

    async def take(self, request: web.Request) -> web.Response:
        self.bodies[request.match_info["signal"]].append(await request.read())
        self.tokens.add(request.headers.get("authorization"))
        return web.Response(content_type="application/x-protobuf")

    def spans(self) -> dict[str, Any]:
        told = [ExportTraceServiceRequest.FromString(body) for body in self.bodies["traces"]]
        return {s.name: s for one in told for of in one.resource_spans for sc in of.scope_spans for s in sc.spans}


@pytest.fixture
async def collector() -> AsyncIterator[Collector]:
    here = Collector()
    app = web.Application()
    app.router.add_post("/v1/{signal}", here.take)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    here.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    yield here
    await runner.cleanup()


@pytest.mark.parametrize("by", ["hub.otel", "environment", "nobody"])
async def test_a_run_is_told_from_the_event_to_the_note(tmp_path: Path, collector: Collector, by: str) -> None:
    """
    With its parts and its call to the model, where `hub.otel` or the environment says; else nothing leaves.
    """
    desk = ZendeskDouble(email=AGENT_EMAIL)
    async with ModelDouble(keys={"main": KEY}) as model, serving(desk) as url:
        changes: dict[str, Any] = {
            "connections.helpdesk.url": url,
            "models.small.url": model.openai_url,
            "models.small.price_as": "openai/gpt-5-mini",
        }
        env = dict(SECRETS)
        if by == "hub.otel":
            changes["hub.otel"] = {"url": collector.url, "headers": {"authorization": "${env:OTLP_TOKEN}"}}
        elif by == "environment":
            env |= {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.url}
        folder = overlay(HOUSE, tmp_path / "hub", changes, pipelines=["ticket-summary"])
        hub = HubProcess(folder, env=env)
        await hub.start()
        desk.hooks.subscribe(f"{hub.url}/in/helpdesk", "hook")
        desk.opened(subject="Where is order A-10001?", description="The parcel of Nadia is lost.")
        async with hub.ledger() as ledger, asyncio.timeout(WITHIN):
            while not dict(await ledger.counts()).get(("ticket-summary", "delivered")):
                await asyncio.sleep(0.1)
        assert 0 == await hub.stop()

    if by == "nobody":
        assert not any(collector.bodies.values())
        return
    spans = collector.spans()
    run, ask, call, note = (
        spans[name] for name in ("run ticket-summary", "ask", "chat gpt-5-mini", "helpdesk.internal_note")
    )
    assert {ask.parent_span_id, note.parent_span_id} == {run.span_id}
    assert call.parent_span_id == ask.span_id
    assert {each.key: each.value.string_value for each in run.attributes}["penstock.verdict"] == "delivered"
    assert collector.tokens == ({"let-me-in"} if by == "hub.otel" else {None})
    told = b"".join(body for bodies in collector.bodies.values() for body in bodies)
    assert b"gen_ai.client.operation.duration" in told
    assert not any(word in told for word in (b"Nadia", b"A-10001", b"lost", KEY.encode()))
