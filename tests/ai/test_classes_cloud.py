from __future__ import annotations

from typing import Any

import orjson
import pytest

from ai.errors import CLASSES
from ai.providers import azure, bedrock, google, vertex
from penstock.http import Response

INFO = "type.googleapis.com/google.rpc.ErrorInfo"
RETRY = "type.googleapis.com/google.rpc.RetryInfo"
QUOTA = "type.googleapis.com/google.rpc.QuotaFailure"


def azure_error(code: str, text: str = "no") -> Any:
    return {"error": {"code": code, "message": text}}


AZURE_ERRORS = [
    (401, {"statusCode": 401, "message": "Unauthorized. Access token is missing, invalid or expired."}, "auth"),
    (401, azure_error("401", "Access denied due to invalid subscription key or wrong API endpoint."), "auth"),
    (403, azure_error("403", "Public access is disabled. Please configure private endpoint."), "auth"),
    (429, azure_error("429", "Requests have exceeded the token rate limit of your current pricing tier."), "rate_limited"),
    (429, azure_error("RateLimitReached"), "rate_limited"),
    (429, azure_error("insufficient_quota"), "quota"),
    (402, b"", "quota"),
    (400, azure_error("context_length_exceeded"), "context_too_long"),
    (413, b"", "too_large"),
    (400, {"error": {"code": "content_filter", "status": 400, "message": "x", "innererror": {"code": "ResponsibleAIPolicyViolation"}}}, "content_policy"),
    (404, azure_error("DeploymentNotFound", "The API deployment for this resource does not exist."), "not_found"),
    (404, azure_error("404", "Resource not found"), "not_found"),
    (400, azure_error("OperationNotSupported", "The chatCompletion operation does not work with the model."), "not_found"),
    (400, azure_error("UnsupportedApiVersion"), "not_found"),
    (400, azure_error("BadRequest", "Unsupported parameter"), "bad_request"),
    (408, azure_error("Timeout", "The operation was timeout."), "timeout"),
    (500, azure_error("InternalServerError"), "server"),
    (502, b"<html>gateway</html>", "server"),
    (503, azure_error("ServiceUnavailable"), "overloaded"),
]  # fmt: skip


def google_error(status: str, text: str = "no", *details: dict[str, Any]) -> Any:
    return {"error": {"code": 1, "message": text, "status": status, "details": list(details)}}


def why(reason: str) -> dict[str, Any]:
    return {"@type": INFO, "reason": reason, "domain": "googleapis.com"}


def over(quota: str) -> dict[str, Any]:
    return {"@type": QUOTA, "violations": [{"quotaMetric": "m", "quotaId": quota}]}


GOOGLE_ERRORS = [
    (400, google_error("INVALID_ARGUMENT", "API key not valid.", why("API_KEY_INVALID")), "auth"),
    (401, google_error("UNAUTHENTICATED", "Invalid credentials", why("ACCESS_TOKEN_EXPIRED")), "auth"),
    (401, b"", "auth"),
    (403, google_error("PERMISSION_DENIED"), "auth"),
    (403, google_error("PERMISSION_DENIED", "x", why("API_KEY_SERVICE_BLOCKED")), "auth"),
    (400, google_error("FAILED_PRECONDITION", "User location is not supported for the API use."), "auth"),
    (429, google_error("RESOURCE_EXHAUSTED"), "rate_limited"),
    (429, google_error("RESOURCE_EXHAUSTED", "x", over("GenerateRequestsPerMinutePerProjectPerModel")), "rate_limited"),
    (429, b"slow down", "rate_limited"),
    (429, google_error("RESOURCE_EXHAUSTED", "x", over("GenerateRequestsPerDayPerProjectPerModel-FreeTier")), "quota"),
    (400, google_error("FAILED_PRECONDITION", "Please enable billing on project."), "quota"),
    (403, google_error("PERMISSION_DENIED", "x", why("BILLING_DISABLED")), "quota"),
    (402, b"", "quota"),
    (503, google_error("UNAVAILABLE", "The model is overloaded."), "overloaded"),
    (500, google_error("INTERNAL"), "server"),
    (502, b"<html>", "server"),
    (499, google_error("CANCELLED"), "server"),
    (504, google_error("DEADLINE_EXCEEDED"), "timeout"),
    (408, b"", "timeout"),
    (400, google_error("INVALID_ARGUMENT", "The input token count (1048577) exceeds the maximum number of tokens allowed (1048576)."), "context_too_long"),
    (413, b"", "too_large"),
    (404, google_error("NOT_FOUND", "models/gemini-9 is not found for API version v1"), "not_found"),
    (404, b"<html>", "not_found"),
    (400, google_error("INVALID_ARGUMENT", "Invalid JSON payload received."), "bad_request"),
    (400, [google_error("PERMISSION_DENIED")], "auth"),
    (400, {"error": {"details": [1, {"violations": "x"}, {"reason": 1}]}}, "bad_request"),
    (400, {"error": {"details": {"x": 1}}}, "bad_request"),
    (400, b"null", "bad_request"),
    (400, b"[]", "bad_request"),
    (520, b"", "server"),
]  # fmt: skip


def bedrock_error(kind: str, text: str = "no") -> Any:
    return {"__type": f"com.amazon.coral.service#{kind}", "message": text}


BEDROCK_ERRORS = [
    (403, bedrock_error("AccessDeniedException", "You don't have access to the model with the specified model ID."), "auth"),
    (403, bedrock_error("ExpiredTokenException", "The security token included in the request is expired"), "auth"),
    (403, bedrock_error("UnrecognizedClientException"), "auth"),
    (403, bedrock_error("InvalidSignatureException", "Signature expired"), "auth"),
    (403, {"Message": "Missing Authentication Token"}, "auth"),
    (400, bedrock_error("IncompleteSignatureException"), "auth"),
    (429, bedrock_error("ThrottlingException", "Too many requests, please wait before trying again."), "rate_limited"),
    (429, b"", "rate_limited"),
    (429, bedrock_error("ThrottlingException", "Too many tokens per day, please wait before trying again."), "quota"),
    (400, bedrock_error("ServiceQuotaExceededException"), "quota"),
    (403, bedrock_error("AccessDeniedException", "Model access is denied due to INVALID_PAYMENT_INSTRUMENT"), "quota"),
    (503, bedrock_error("ServiceUnavailableException"), "overloaded"),
    (429, bedrock_error("ModelNotReadyException"), "overloaded"),
    (500, bedrock_error("InternalServerException"), "server"),
    (424, bedrock_error("ModelErrorException"), "server"),
    (424, bedrock_error("ModelStreamErrorException"), "server"),
    (502, b"<html>", "server"),
    (408, bedrock_error("ModelTimeoutException"), "timeout"),
    (400, bedrock_error("ValidationException", "Input is too long for requested model."), "context_too_long"),
    (400, bedrock_error("ValidationException", "Input Tokens Exceeded: Number of input tokens exceeds maximum length."), "context_too_long"),
    (400, bedrock_error("ValidationException", "prompt is too long: 210000 tokens > 200000 maximum"), "context_too_long"),
    (413, b"", "too_large"),
    (404, bedrock_error("ResourceNotFoundException", "Could not resolve the foundation model"), "not_found"),
    (400, bedrock_error("ValidationException", "The provided model identifier is invalid."), "not_found"),
    (400, bedrock_error("ValidationException", "Invocation of model ID x with on-demand throughput isn’t supported."), "not_found"),
    (404, bedrock_error("ResourceNotFoundException", "This model version has reached the end of its life."), "not_found"),
    (400, bedrock_error("ValidationException", "Malformed input request"), "bad_request"),
    (400, b"null", "bad_request"),
    (400, {"__type": 4}, "bad_request"),
    (418, b"", "bad_request"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("adapter", "status", "body", "error_class"),
    [
        *((azure, *row) for row in AZURE_ERRORS),
        *((adapter, *row) for row in GOOGLE_ERRORS for adapter in (google, vertex)),
        *((bedrock, *row) for row in BEDROCK_ERRORS),
    ],
)
def test_an_error_has_its_class(adapter: Any, status: int, body: Any, error_class: str) -> None:
    """
    Every way a provider fails has the class of the table, with its advice, and its message says the status.
    """
    content = body if isinstance(body, bytes) else orjson.dumps(body)

    error = adapter.classify(Response(status=status, body=content))

    assert error.error_class == error_class
    assert error.advice == CLASSES[error.error_class][1]
    assert f"HTTP {status}" in str(error)


@pytest.mark.parametrize(("kind", "error_class"), [(kind, found) for kind, found in bedrock._TYPES.items()])
def test_bedrock_names_the_error_in_a_header(kind: str, error_class: str) -> None:
    """
    AWS's name of an error counts wherever it stands, also with the place of its definition behind it.
    """
    place = "http://internal.amazon.com/coral/com.amazon.bedrock/"
    for name in (kind, f"{kind}:{place}"):
        error = bedrock.classify(Response(status=400, headers={"x-amzn-errortype": name}, body=b'{"message":"x"}'))

        assert error is not None
        assert error.error_class == error_class


@pytest.mark.parametrize(
    ("delay", "headers", "seconds"),
    [
        ("37s", {}, 37.0),
        ("0.5s", {}, 0.5),
        ("999999s", {}, 86400.0),
        ("37s", {"retry-after": "7"}, 7.0),
        ("soon", {}, None),
        ("-3s", {}, None),
        (None, {}, None),
    ],
)
def test_google_says_when_to_come_back(delay: str | None, headers: dict[str, str], seconds: float | None) -> None:
    """
    The wait stands in the body; a header goes first, and nonsense is none.
    """
    body = google_error("RESOURCE_EXHAUSTED", "no", {"@type": RETRY, "retryDelay": delay})

    error = google.classify(Response(status=429, headers=headers, body=orjson.dumps(body)))

    assert error is not None
    assert error.retry_after == seconds


@pytest.mark.parametrize("adapter", [azure, google, vertex, bedrock])
def test_a_success_is_no_error(adapter: Any) -> None:
    """
    A finished answer is classified as none.
    """
    assert adapter.classify(Response(status=200, body=b"{}")) is None
