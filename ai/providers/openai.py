"""
OpenAI chat completions, and every server that speaks them (vLLM, Ollama, llama.cpp, …).
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from ai.errors import AIError, ErrorClass
from ai.providers import faults
from ai.providers.contract import FinishReason, Malformed, Question, Reading
from ai.providers.dialects import openai_strict, rewritten
from penstock.http import Request, Response
from schemas.entries import Usage

if TYPE_CHECKING:
    from ai.models import ModelSpec

BASE_URL = "https://api.openai.com/v1"
_OWN_HOSTS = re.compile(r"^https://([\w.-]+\.)?(openai\.com|openai\.azure\.com)(/|$)")
_REASONS = re.compile(r"^(o[1-9]|gpt-[5-9])(?!.*chat)")
_FINISH: dict[str, FinishReason] = {"length": "length", "content_filter": "content_filter"}
_CODES: dict[str, ErrorClass] = {
    "insufficient_quota": "quota",
    "billing_hard_limit_reached": "quota",
    "billing_not_active": "quota",
    "rate_limit_exceeded": "rate_limited",
    "invalid_api_key": "auth",
    "account_deactivated": "auth",
    "model_not_found": "not_found",
    "DeploymentNotFound": "not_found",
    "OperationNotSupported": "not_found",
    "UnsupportedApiVersion": "not_found",
    "context_length_exceeded": "context_too_long",
    "string_above_max_length": "too_large",
    "content_filter": "content_policy",
    "content_policy_violation": "content_policy",
    "invalid_prompt": "content_policy",
}


def thinks(spec: ModelSpec) -> bool:
    """
    Tell whether the model always reasons before it answers.
    """
    return _own(spec) and reasons(spec.family)


def _own(spec: ModelSpec) -> bool:
    return not spec.url or _OWN_HOSTS.match(spec.url) is not None


def reasons(model: str) -> bool:
    """
    Tell whether OpenAI's *model* always reasons.
    """
    return _REASONS.match(model) is not None


def request(question: Question, key: str | None) -> Request:
    """
    Build the request, byte for byte what the official SDK would send as a body.
    """
    base = base_of(question.spec)
    headers = headers_of(base, key) | {"content-type": "application/json"}
    body = chat(question, own=_own(question.spec), thinking=thinks(question.spec))
    return Request.to("POST", f"{base}/chat/completions", headers=headers, json=body)


def probe(spec: ModelSpec, key: str | None) -> Request:
    """
    Ask for the list of models.
    """
    base = base_of(spec)
    return Request.to("GET", f"{base}/models", headers=headers_of(base, key))


def base_of(spec: ModelSpec) -> str:
    """
    Return where the API is.
    """
    return (spec.url or BASE_URL).rstrip("/")


def headers_of(base: str, key: str | None) -> dict[str, str]:
    """
    Return what every request says, the key among it.
    """
    headers = {"accept": "application/json"}
    if not key:
        return headers
    return headers | ({"api-key": key} if ".openai.azure.com" in base else {"authorization": f"Bearer {key}"})


def chat(question: Question, *, own: bool, thinking: bool) -> dict[str, Any]:
    """
    Build the body. A server that is not OpenAI's *own* gets the older words that all of them know.
    """
    output = {
        "name": question.schema_name,
        "schema": rewritten(openai_strict, question.schema),
        "strict": True,
    }
    body: dict[str, Any] = {
        "model": question.spec.model,
        "messages": _messages(question),
        "response_format": {"type": "json_schema", "json_schema": output},
    }
    if not own:
        return body | {"max_tokens": question.room, "temperature": 0}
    body["max_completion_tokens"] = question.room
    return body | ({"reasoning_effort": "low"} if thinking else {"temperature": 0})


def _messages(question: Question) -> list[dict[str, str]]:
    messages = [{"role": "system", "content": question.prompt.system}] if question.prompt.system else []
    messages.append({"role": "user", "content": question.prompt.user})
    if question.repair:
        messages.append({"role": "assistant", "content": question.repair.said})
        messages.append({"role": "user", "content": question.repair.complaint})
    return messages


def classify(response: Response) -> AIError | None:
    """
    Return the error that *response* stands for; None for a success.
    """
    if response.status == 200:
        return None
    part = faults.error_part(response)
    message = faults.word(part, "message") or faults.word(part, "detail")
    code = _CODES.get(faults.word(part, "code")) or _CODES.get(faults.word(part, "type"))
    if code is None and response.status in (400, 413, 422) and faults.says_too_long(message):
        code = "context_too_long"
    return faults.fault(code or faults.by_status(response.status), response, message)


def read(response: Response) -> Reading:
    """
    Read a success; raises `Malformed`.
    """
    try:
        body = response.json()
        choice = body["choices"][0]
        message = choice["message"]
        refusal = message.get("refusal")
        text = _text(message.get("content"))
    except (ValueError, KeyError, IndexError, TypeError, AttributeError) as exc:
        raise Malformed("the answer is not a chat completion") from exc
    finish = "content_filter" if refusal else _FINISH.get(faults.word(choice, "finish_reason"), "stop")
    return Reading(
        text=text,
        finish_reason=finish,
        usage=_usage(body.get("usage")),
        refusal=refusal if isinstance(refusal, str) else None,
        response_id=faults.word(body, "id") or None,
        response_model=faults.word(body, "model") or None,
    )


def _text(content: Any) -> str:
    if content is None or isinstance(content, str):
        return content or ""
    return "".join(part["text"] for part in content if part.get("type") == "text")


def _usage(usage: Any) -> Usage:
    given, made = faults.count(usage, "prompt_tokens"), faults.count(usage, "completion_tokens")
    if given is None or made is None:
        return Usage(estimated=True)
    return Usage(
        input=given,
        output=made,
        cache_read=faults.count(usage, "prompt_tokens_details", "cached_tokens") or 0,
        cache_write=faults.count(usage, "prompt_tokens_details", "cache_write_tokens") or 0,
        reasoning=faults.count(usage, "completion_tokens_details", "reasoning_tokens") or 0,
    )
