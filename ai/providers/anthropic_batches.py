"""
Anthropic's batch API: one request with all questions, and a stream of answers.

It keeps no id of ours: a batch whose creation nobody was told of is known by the ids of its questions.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

import orjson

from ai.providers import faults
from ai.providers.anthropic import base_of, headers_of
from ai.providers.batching import Answered, Line, Standing, object_of, word_of
from ai.providers.contract import Malformed
from penstock.http import Request, Response

if TYPE_CHECKING:
    from ai.models import ModelSpec

NAMES = False
"""No id of ours is kept with a batch."""
LISTED = 100  # batches per page
_STATUS = {
    "invalid_request_error": 400,
    "authentication_error": 401,
    "billing_error": 402,
    "permission_error": 403,
    "not_found_error": 404,
    "request_too_large": 413,
    "rate_limit_error": 429,
    "overloaded_error": 529,
}
"""The HTTP status that an error has when it is asked live; 500 for any other."""
_NEVER_ASKED = {"canceled": "it was cancelled before it was asked", "expired": "its batch expired"}


def upload(spec: ModelSpec, key: str | None, batch: str, lines: Sequence[Line]) -> Request | None:
    """
    Nothing: the questions go with the batch.
    """
    del spec, key, batch, lines
    return None


def uploaded(response: Response) -> str:
    """
    Nothing is put there first.
    """
    del response
    return ""


def create(spec: ModelSpec, key: str | None, batch: str, lines: Sequence[Line], there: str) -> Request:
    """
    Begin a batch with all its questions.
    """
    del batch, there
    requests = b",".join(b'{"custom_id":%s,"params":%s}' % (orjson.dumps(line.id), line.body) for line in lines)
    headers = headers_of(key) | {"content-type": "application/json"}
    return Request.to("POST", _at(spec), headers=headers, content=b'{"requests":[%s]}' % requests)


def look(spec: ModelSpec, key: str | None, handle: str) -> Request:
    """
    Ask how a batch stands.
    """
    return Request.to("GET", f"{_at(spec)}/{handle}", headers=headers_of(key))


def cancel(spec: ModelSpec, key: str | None, handle: str) -> Request:
    """
    End a batch early.
    """
    return Request.to("POST", f"{_at(spec)}/{handle}/cancel", headers=headers_of(key))


def listing(spec: ModelSpec, key: str | None, after: str | None) -> Request:
    """
    Ask for the newest batches, or those before *after*.
    """
    params = {"limit": LISTED} | ({"after_id": after} if after else {})
    return Request.to("GET", _at(spec), headers=headers_of(key), params=params)


def standing(response: Response) -> Standing:
    """
    Read how a batch stands; raises `Malformed`.
    """
    return _standing(object_of(response))


def standings(response: Response) -> tuple[list[Standing], bool]:
    """
    Read a page of batches, newest first, and whether there are more; raises `Malformed`.
    """
    page = object_of(response)
    data = page.get("data")
    if not isinstance(data, list):
        raise Malformed("the answer is no list of batches")
    return [_standing(one) for one in data], page.get("has_more") is True


def fetch(spec: ModelSpec, key: str | None, source: str) -> Request:
    """
    Ask for the answers of the batch *source*: at our address of the API, whatever URL it names.
    """
    return Request.to("GET", f"{_at(spec)}/{source}/results", headers=headers_of(key))


def answered(line: Any) -> Answered:
    """
    Read one line of answers; raises `Malformed`.
    """
    name, result = word_of(line, "custom_id"), line.get("result")
    kind = word_of(result, "type")
    if kind == "succeeded" and isinstance(result.get("message"), dict):
        return Answered(id=name, status=200, body=result["message"])
    if kind in _NEVER_ASKED:
        return Answered(id=name, why=_NEVER_ASKED[kind])
    error = result.get("error")
    if kind == "errored" and isinstance(error, dict):
        inner = error.get("error")
        kind = faults.word(inner if isinstance(inner, dict) else error, "type")
        return Answered(id=name, status=_STATUS.get(kind, 500), body=error)
    raise Malformed("a line of the batch has neither an answer nor an error")


def _at(spec: ModelSpec) -> str:
    return f"{base_of(spec)}/messages/batches"


def _standing(body: Any) -> Standing:
    handle, over = word_of(body, "id"), word_of(body, "processing_status") == "ended"
    counts = body.get("request_counts")
    numbers = list(counts.values()) if isinstance(counts, dict) else []
    known = all(isinstance(number, int) for number in numbers) and numbers
    return Standing(
        handle=handle,
        over=over,
        sources=(handle,) if over else (),
        size=sum(numbers) if known else None,
        at=_seconds(faults.word(body, "created_at")),
    )


def _seconds(text: str) -> float:
    try:
        return datetime.fromisoformat(text).timestamp()
    except ValueError:
        return 0.0
