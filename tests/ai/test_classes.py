from __future__ import annotations

from typing import Any

import orjson
import pytest

from ai.providers import anthropic, openai
from penstock.http import Response


def openai_error(code: str | None = None, text: str = "no", kind: str = "invalid_request_error") -> Any:
    return {"error": {"message": text, "type": kind, "param": None, "code": code}}


OPENAI_ERRORS = [
    (401, openai_error("invalid_api_key"), "auth"),
    (403, openai_error("unsupported_country_region_territory"), "auth"),
    (400, openai_error("invalid_api_key"), "auth"),
    (402, {}, "quota"),
    (429, openai_error("insufficient_quota", kind="insufficient_quota"), "quota"),
    (429, openai_error(None, kind="insufficient_quota"), "quota"),
    (429, openai_error("billing_hard_limit_reached"), "quota"),
    (403, openai_error("billing_not_active"), "quota"),
    (429, openai_error("rate_limit_exceeded", kind="tokens"), "rate_limited"),
    (429, b"slow down", "rate_limited"),
    (400, openai_error("context_length_exceeded"), "context_too_long"),
    (400, {"object": "error", "message": "This model's maximum context length is 4096 tokens.", "code": 400}, "context_too_long"),
    (400, {"error": {"code": 400, "message": "the request exceeds the available context size", "type": "x"}}, "context_too_long"),
    (413, b"", "too_large"),
    (400, openai_error("string_above_max_length"), "too_large"),
    (400, openai_error("invalid_prompt"), "content_policy"),
    (400, openai_error("content_filter"), "content_policy"),
    (400, openai_error("content_policy_violation"), "content_policy"),
    (404, openai_error("model_not_found"), "not_found"),
    (404, {"error": {"code": "DeploymentNotFound", "message": "x"}}, "not_found"),
    (404, {"error": "model 'llama9' not found, try pulling it first"}, "not_found"),
    (404, b"<html>nginx</html>", "not_found"),
    (307, b"", "not_found"),
    (400, openai_error("unsupported_parameter"), "bad_request"),
    (422, {"detail": [{"loc": ["body"], "msg": "x"}]}, "bad_request"),
    (400, {"error": None}, "bad_request"),
    (400, [], "bad_request"),
    (408, b"", "timeout"),
    (409, openai_error(), "server"),
    (500, openai_error(kind="server_error"), "server"),
    (502, b"<html>", "server"),
    (504, b"", "server"),
    (520, b"", "server"),
    (503, openai_error(), "overloaded"),
    (503, {"error": {"message": "Loading model", "type": "unavailable_error", "code": 503}}, "overloaded"),
]  # fmt: skip


def anthropic_error(kind: str, text: str = "no") -> Any:
    return {"type": "error", "error": {"type": kind, "message": text}, "request_id": "req_1"}


ANTHROPIC_ERRORS = [
    (401, anthropic_error("authentication_error", "invalid x-api-key"), "auth"),
    (403, anthropic_error("permission_error"), "auth"),
    (402, anthropic_error("billing_error"), "quota"),
    (400, anthropic_error("invalid_request_error", "Your credit balance is too low to access the API."), "quota"),
    (429, anthropic_error("rate_limit_error"), "rate_limited"),
    (429, b"", "rate_limited"),
    (529, anthropic_error("overloaded_error"), "overloaded"),
    (200, anthropic_error("overloaded_error"), "overloaded"),
    (503, b"upstream", "overloaded"),
    (500, anthropic_error("api_error"), "server"),
    (502, b"<html>", "server"),
    (504, anthropic_error("timeout_error"), "timeout"),
    (408, b"", "timeout"),
    (400, anthropic_error("invalid_request_error", "prompt is too long: 212345 tokens > 200000 maximum"), "context_too_long"),
    (400, anthropic_error("invalid_request_error", "input length and `max_tokens` exceed context limit: 9 + 9 > 10"), "context_too_long"),
    (413, anthropic_error("request_too_large"), "too_large"),
    (413, b"", "too_large"),
    (404, anthropic_error("not_found_error", "model: claude-nope"), "not_found"),
    (404, b"<html>", "not_found"),
    (301, b"", "not_found"),
    (400, anthropic_error("invalid_request_error", "messages: at least one message is required"), "bad_request"),
    (422, b"{}", "bad_request"),
    (400, {"type": "error", "error": "text"}, "bad_request"),
    (400, {"type": "error"}, "bad_request"),
    (400, b"null", "bad_request"),
    (418, b"", "bad_request"),
    (520, b"", "server"),
    (521, b"\xff", "server"),
    (401, b"", "auth"),
    (403, b"<html>proxy</html>", "auth"),
    (402, b"", "quota"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("adapter", "status", "body", "error_class"),
    [(openai, *row) for row in OPENAI_ERRORS] + [(anthropic, *row) for row in ANTHROPIC_ERRORS],
)
def test_an_error_has_its_class(adapter: Any, status: int, body: Any, error_class: str) -> None:
    """
    Every way a provider fails has the class of the table, and its message says the status.
    """
    content = body if isinstance(body, bytes) else orjson.dumps(body)

    error = adapter.classify(Response(status=status, body=content))

    assert error.error_class == error_class
    assert f"HTTP {status}" in str(error)


@pytest.mark.parametrize("adapter", [openai, anthropic])
def test_a_success_is_no_error(adapter: Any) -> None:
    """
    A finished answer is classified as none.
    """
    assert adapter.classify(Response(status=200, body=b'{"type":"message","choices":[]}')) is None


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"retry-after": "7"}, 7.0),
        ({"retry-after": "0.5"}, 0.5),
        ({"retry-after-ms": "1500", "retry-after": "9"}, 1.5),
        ({"retry-after": "Fri, 31 Dec 1999 23:59:59 GMT"}, 0.0),
        ({"retry-after": "Fri, 31 Dec 9999 23:59:59 GMT"}, 86400.0),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "-3"}, None),
        ({"retry-after": "1e999"}, None),
        ({"retry-after": "nan"}, None),
    ],
)
def test_when_to_come_back(headers: dict[str, str], seconds: float | None) -> None:
    """
    Seconds, milliseconds and dates are understood, nonsense is not, and nothing asks for more than a day.
    """
    error = openai.classify(Response(status=429, headers=headers))

    assert error is not None
    assert error.retry_after == seconds
