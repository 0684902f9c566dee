"""
One structured log entry per model call, and one span where spans are wanted, in OpenTelemetry's GenAI names. Never a prompt or an answer.
"""

from __future__ import annotations

import logging
from functools import lru_cache
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from ai.models import ModelSpec
    from ledger.contract import Claim
    from penstock.tracing import Tracing
    from schemas.entries import ModelCall

log = logging.getLogger("penstock.ai")

_PORTS = {"http": 80, "https": 443}
NAMES = {"azure": "azure.ai.openai", "google": "gcp.gemini", "vertex": "gcp.vertex_ai", "bedrock": "aws.bedrock"}
"""What OpenTelemetry calls providers that we call otherwise."""


def record(call: ModelCall, claim: Claim, spec: ModelSpec, room: int, tracing: Tracing | None = None) -> None:
    """
    Tell of *call*.
    """
    known = attributes(call, claim, spec, room)
    level = logging.INFO if call.outcome == "ok" else logging.WARNING
    log.log(level, "model call %s: %s", spec.label, call.outcome, extra=known)
    if tracing is not None:
        tracing.called(known, call.latency_ms / 1000)


def attributes(call: ModelCall, claim: Claim, spec: ModelSpec, room: int) -> dict[str, Any]:
    """
    Return what is known of *call* under its public names; what is not known is absent.
    """
    host, port = _server(spec.url) if spec.url else (None, None)
    known = {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": NAMES.get(call.provider, call.provider),
        "gen_ai.request.model": call.request_model,
        "gen_ai.request.max_tokens": room,
        "gen_ai.output.type": "json",
        "gen_ai.response.id": call.response_id,
        "gen_ai.response.model": call.response_model,
        "gen_ai.response.finish_reasons": [call.finish_reason] if call.finish_reason else None,
        "gen_ai.usage.input_tokens": call.usage.input,
        "gen_ai.usage.output_tokens": call.usage.output,
        "gen_ai.usage.cache_read.input_tokens": call.usage.cache_read or None,
        "gen_ai.usage.cache_creation.input_tokens": call.usage.cache_write or None,
        "gen_ai.usage.reasoning.output_tokens": call.usage.reasoning or None,
        "error.type": None if call.outcome == "ok" else call.outcome,
        "server.address": host,
        "server.port": port,
        "penstock.pipeline": claim.pipeline,
        "penstock.run": claim.run,
        "penstock.step": call.step,
        "penstock.model": call.model,
        "penstock.call": call.call,
        "penstock.attempt": call.attempt,
        "penstock.latency_ms": call.latency_ms,
        "penstock.cost_micro_usd": call.cost if call.priced else None,
        "penstock.late": call.late or None,
    }
    return {name: value for name, value in known.items() if value is not None}


@lru_cache(maxsize=256)
def _server(url: str) -> tuple[str | None, int | None]:
    server = urlsplit(url)
    return server.hostname, server.port or _PORTS.get(server.scheme)
