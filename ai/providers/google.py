"""
Google's Gemini API: generateContent, with an API key.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from ai.errors import AIError, ErrorClass
from ai.providers import faults
from ai.providers.contract import THINKING_ROOM, FinishReason, Malformed, Question, Reading
from ai.providers.dialects import gemini, rewritten
from penstock.http import Request, Response
from schemas.entries import Usage

if TYPE_CHECKING:
    from ai.models import ModelSpec

BASE_URL = "https://generativelanguage.googleapis.com"
_BY_BUDGET = re.compile(r"^gemini-2\.5-")
_BY_LEVEL = re.compile(r"^gemini-(?![12]\.)(?!live|embedding)")
_REFUSED = frozenset(
    {
        "SAFETY", "RECITATION", "BLOCKLIST", "PROHIBITED_CONTENT", "SPII", "IMAGE_SAFETY", "IMAGE_PROHIBITED_CONTENT",
        "IMAGE_RECITATION",
    }
)  # fmt: skip
_STATUSES: dict[str, ErrorClass] = {
    "RESOURCE_EXHAUSTED": "rate_limited",
    "UNAVAILABLE": "overloaded",
    "INTERNAL": "server",
    "DEADLINE_EXCEEDED": "timeout",
    "UNAUTHENTICATED": "auth",
    "PERMISSION_DENIED": "auth",
    "NOT_FOUND": "not_found",
    "CANCELLED": "server",
}
_REASONS: dict[str, ErrorClass] = {
    "API_KEY_INVALID": "auth",
    "API_KEY_SERVICE_BLOCKED": "auth",
    "ACCESS_TOKEN_EXPIRED": "auth",
    "BILLING_DISABLED": "quota",
    "RATE_LIMIT_EXCEEDED": "rate_limited",
}
_DELAY = re.compile(r"^(\d{1,6}(?:\.\d{1,9})?)s$")


def thinks(spec: ModelSpec) -> bool:
    """
    Tell whether the model always reasons before it answers; those that need not are told not to.
    """
    return _BY_LEVEL.match(spec.model) is not None or spec.model.startswith("gemini-2.5-pro")


def request(question: Question, key: str | None) -> Request:
    """
    Build the request, with the body that the official SDK would send.
    """
    place = f"{_base(question.spec)}/models/{quote(question.spec.model, safe='')}:generateContent"
    headers = _headers(key) | {"content-type": "application/json"}
    return Request.to("POST", place, headers=headers, json=body(question))


def probe(spec: ModelSpec, key: str | None) -> Request:
    """
    Ask for what the model is.
    """
    return Request.to("GET", f"{_base(spec)}/models/{quote(spec.model, safe='')}", headers=_headers(key))


def _base(spec: ModelSpec) -> str:
    base = (spec.url or BASE_URL).rstrip("/")
    return base if base.endswith(("/v1", "/v1beta")) else f"{base}/v1"


def _headers(key: str | None) -> dict[str, str]:
    return {"accept": "application/json"} | ({"x-goog-api-key": key} if key else {})


def body(question: Question) -> dict[str, Any]:
    """
    Build the body, which is the same for Vertex AI.
    """
    config: dict[str, Any] = {
        "maxOutputTokens": question.room,
        "responseMimeType": "application/json",
        "responseJsonSchema": rewritten(gemini, question.schema),
    }
    model = question.spec.model
    if _BY_LEVEL.match(model):
        config["thinkingConfig"] = {"thinking_level": "LOW"}  # the SDK's spelling; a temperature makes these repeat
    else:
        config["temperature"] = 0.0
    if _BY_BUDGET.match(model):
        config["thinkingConfig"] = {"thinking_budget": THINKING_ROOM if thinks(question.spec) else 0}
    made: dict[str, Any] = {"contents": _turns(question), "generationConfig": config}
    if question.prompt.system:
        made["systemInstruction"] = {"parts": [{"text": question.prompt.system}], "role": "user"}
    return made


def _turns(question: Question) -> list[dict[str, Any]]:
    said = [("user", question.prompt.user)]
    if question.repair:
        said += [("model", question.repair.said), ("user", question.repair.complaint)]
    return [{"parts": [{"text": text}], "role": role} for role, text in said]


def classify(response: Response) -> AIError | None:
    """
    Return the error that *response* stands for; None for a success.
    """
    if response.status == 200:
        return None
    part = faults.error_part(response)
    message = faults.word(part, "message")
    error = faults.fault(_class(part, message, response.status), response, message)
    if error.retry_after is None:
        error.retry_after = _delay(part)
    return error


def _class(part: dict[str, Any], message: str, status: int) -> ErrorClass:
    if any("PerDay" in faults.word(violation, "quotaId") for violation in _details(part, "violations")):
        return "quota"
    for detail in _details(part):
        if found := _REASONS.get(faults.word(detail, "reason")):
            return found
    if faults.word(part, "status") == "FAILED_PRECONDITION" and "billing" in message.lower():
        return "quota"
    if "location is not supported" in message:
        return "auth"
    if status in (400, 413) and faults.says_too_long(message):
        return "context_too_long"
    return _STATUSES.get(faults.word(part, "status")) or faults.by_status(status)


def _details(part: dict[str, Any], inside: str | None = None) -> list[dict[str, Any]]:
    """
    Return the objects of an error's details, or those that they list under the name *inside*.
    """
    details = _objects(part.get("details"))
    return details if inside is None else [found for detail in details for found in _objects(detail.get(inside))]


def _objects(value: Any) -> list[dict[str, Any]]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def _delay(part: dict[str, Any]) -> float | None:
    for detail in _details(part):
        if found := _DELAY.match(faults.word(detail, "retryDelay")):
            return min(float(found[1]), faults.LONGEST_WAIT)
    return None


def read(response: Response) -> Reading:
    """
    Read a success; raises `Malformed`.
    """
    try:
        answer = response.json()
        feedback = answer.get("promptFeedback") or {}
        blocked, told = faults.word(feedback, "blockReason"), faults.word(feedback, "blockReasonMessage")
        candidates = answer.get("candidates") or []
        candidate = {} if blocked and not candidates else candidates[0]
        text, ended = _text(candidate), faults.word(candidate, "finishReason")
    except (ValueError, KeyError, IndexError, TypeError, AttributeError) as exc:
        raise Malformed("the answer is not generated content") from exc
    if not (blocked or ended or text):
        raise Malformed("the answer has no content and does not say why")
    refused = blocked or (ended if ended in _REFUSED else "")
    return Reading(
        text=text,
        finish_reason=_finish(refused, ended),
        usage=_usage(answer.get("usageMetadata")),
        refusal=told or faults.word(candidate, "finishMessage") or refused if refused else None,
        response_id=faults.word(answer, "responseId") or None,
        response_model=faults.word(answer, "modelVersion") or None,
    )


def _text(candidate: dict[str, Any]) -> str:
    """
    Return what the model says, without what it thought.
    """
    parts = (candidate.get("content") or {}).get("parts") or []
    texts = [part["text"] for part in parts if "text" in part and not part.get("thought")]
    return "".join(texts)


def _finish(refused: str, ended: str) -> FinishReason:
    return "content_filter" if refused else "length" if ended == "MAX_TOKENS" else "stop"


def _usage(usage: Any) -> Usage:
    given, all_of_it = faults.count(usage, "promptTokenCount"), faults.count(usage, "totalTokenCount")
    if given is None:
        return Usage(estimated=True)
    given += faults.count(usage, "toolUsePromptTokenCount") or 0
    thought, said = faults.count(usage, "thoughtsTokenCount") or 0, faults.count(usage, "candidatesTokenCount")
    if said is None and all_of_it is None:
        return Usage(estimated=True)
    return Usage(
        input=given,
        output=max((said or 0) + thought, (all_of_it or 0) - given),
        cache_read=faults.count(usage, "cachedContentTokenCount") or 0,
        reasoning=thought,
    )
