"""
Anthropic messages.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from ai.errors import AIError, ErrorClass
from ai.providers import faults
from ai.providers.contract import FinishReason, Malformed, Question, Reading
from ai.providers.dialects import anthropic_strict, rewritten
from penstock.http import Request, Response
from schemas.entries import Usage

if TYPE_CHECKING:
    from ai.models import ModelSpec

BASE_URL = "https://api.anthropic.com"
VERSION = "2026-10-21"
CACHEABLE = 4096  # characters of a stable prefix from which writing it to the provider's cache can pay
_THINKS = re.compile(r"^claude-[a-z]+-([5-9]|\d{2})(?!\d)")
_FINISH: dict[str, FinishReason] = {
    "max_tokens": "length",
    "refusal": "content_filter",
    "model_context_window_exceeded": "context",
}
_TYPES: dict[str, ErrorClass] = {
    "authentication_error": "auth",
    "permission_error": "auth",
    "billing_error": "quota",
    "rate_limit_error": "rate_limited",
    "overloaded_error": "overloaded",
    "request_too_large": "too_large",
    "not_found_error": "not_found",
    "timeout_error": "timeout",
    "api_error": "server",
}


def thinks(spec: ModelSpec) -> bool:
    """
    Tell whether the model always reasons before it answers.
    """
    return always_thinks(spec.model)


def always_thinks(model: str) -> bool:
    """
    Tell whether Anthropic's *model* always reasons.
    """
    return _THINKS.match(model) is not None


def request(question: Question, key: str | None) -> Request:
    """
    Build the request, byte for byte what the official SDK would send as a body.
    """
    headers = headers_of(key) | {"content-type": "application/json"}
    return Request.to("POST", f"{base_of(question.spec)}/messages", headers=headers, json=_body(question))


def probe(spec: ModelSpec, key: str | None) -> Request:
    """
    Ask for the list of models.
    """
    return Request.to("GET", f"{base_of(spec)}/models", headers=headers_of(key))


def base_of(spec: ModelSpec) -> str:
    """
    Return where the API is.
    """
    return (spec.url or BASE_URL).rstrip("/").removesuffix("/v1") + "/v1"


def headers_of(key: str | None) -> dict[str, str]:
    """
    Return what every request says, the key among it.
    """
    headers = {"accept": "application/json", "anthropic-version": VERSION}
    return headers | ({"authorization": f"Bearer {key}"} if key else {})


def _body(question: Question) -> dict[str, Any]:
    config: dict[str, Any] = {"format": {"type": "json_schema", "schema": rewritten(anthropic_strict, question.schema)}}
    if thinks(question.spec):
        config["effort"] = "low"
    body: dict[str, Any] = {
        "model": question.spec.model,
        "max_tokens": question.room,
        "messages": _messages(question),
        "output_config": config,
    }
    if system := question.prompt.system:
        body["system"] = _cached(system) if len(system) >= CACHEABLE else system
    return body


def _cached(system: str) -> list[dict[str, Any]]:
    return [{"type": "text", "text": system, "cache_control": {"type": "ephemeral"}}]


def _messages(question: Question) -> list[dict[str, str]]:
    messages = [{"role": "user", "content": question.prompt.user}]
    if question.repair:
        messages.append({"role": "assistant", "content": question.repair.said})
        messages.append({"role": "user", "content": question.repair.complaint})
    return messages


def classify(response: Response) -> AIError | None:
    """
    Return the error that *response* stands for; None for a success.
    """
    part = faults.error_part(response)
    if response.status == 200 and part.get("type") not in _TYPES:
        return None
    message = faults.word(part, "message")
    code = _TYPES.get(faults.word(part, "type"))
    if "credit balance is too low" in message:
        code = "quota"
    elif code is None and faults.says_too_long(message):
        code = "context_too_long"
    return faults.fault(code or faults.by_status(response.status), response, message)


def read(response: Response) -> Reading:
    """
    Read a success; raises `Malformed`.
    """
    try:
        body = response.json()
        blocks = body["content"]
        text = "".join(block["text"] for block in blocks if block["type"] == "text")
        stop = faults.word(body, "stop_reason")
    except (ValueError, KeyError, TypeError, AttributeError) as exc:
        raise Malformed("the answer is not a message") from exc
    details = body.get("stop_details")
    finish = _FINISH.get(stop, "stop")
    return Reading(
        text=text,
        finish_reason=finish,
        usage=_usage(body.get("usage")),
        refusal=faults.word(details, "explanation") or None if isinstance(details, dict) else None,
        response_id=faults.word(body, "id") or None,
        response_model=faults.word(body, "model") or None,
    )


def _usage(usage: Any) -> Usage:
    plain, made = faults.count(usage, "input_tokens"), faults.count(usage, "output_tokens")
    if plain is None or made is None:
        return Usage(estimated=True)
    read_tokens = faults.count(usage, "cache_read_input_tokens") or 0
    write_tokens = faults.count(usage, "cache_creation_input_tokens") or 0
    return Usage(
        input=plain + read_tokens + write_tokens,
        output=made,
        cache_read=read_tokens,
        cache_write=write_tokens,
        reasoning=faults.count(usage, "output_tokens_details", "thinking_tokens") or 0,
    )
