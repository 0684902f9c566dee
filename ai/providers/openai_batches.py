"""
OpenAI's batch API: a file of questions, a batch over it, and a file of answers.

Our own id is in the batch's metadata, so that one whose creation nobody was told of can be found.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import orjson

from ai.providers import faults
from ai.providers.batching import Answered, Line, Standing, object_of, word_of
from ai.providers.contract import Malformed
from ai.providers.openai import base_of, headers_of
from penstock.http import Request, Response

if TYPE_CHECKING:
    from ai.models import ModelSpec

NAMES = True
"""Our own id is kept with a batch."""
ENDPOINT = "/v1/chat/completions"
OURS = "penstock_batch"
"""Under which our id is in the metadata."""
LISTED = 100  # batches per page
_OVER = frozenset({"failed", "completed", "expired", "cancelled"})
_NEVER_ASKED = frozenset({"batch_expired", "batch_cancelled"})


def upload(spec: ModelSpec, key: str | None, batch: str, lines: Sequence[Line]) -> Request | None:
    """
    Put the questions into a file.
    """
    base, boundary = base_of(spec), f"penstock-{batch}"
    jsonl = b"".join(
        b'{"custom_id":%s,"method":"POST","url":%s,"body":%s}\n'
        % (orjson.dumps(line.id), orjson.dumps(ENDPOINT), line.body)
        for line in lines
    )
    head = (
        f'--{boundary}\r\ncontent-disposition: form-data; name="purpose"\r\n\r\nbatch\r\n'
        f'--{boundary}\r\ncontent-disposition: form-data; name="file"; filename="{batch}.jsonl"\r\n'
        "content-type: application/jsonl\r\n\r\n"
    )
    content = head.encode() + jsonl + f"\r\n--{boundary}--\r\n".encode()
    headers = headers_of(base, key) | {"content-type": f"multipart/form-data; boundary={boundary}"}
    return Request.to("POST", f"{base}/files", headers=headers, content=content)


def uploaded(response: Response) -> str:
    """
    Return the file's id; raises `Malformed`.
    """
    return word_of(object_of(response), "id")


def create(spec: ModelSpec, key: str | None, batch: str, lines: Sequence[Line], there: str) -> Request:
    """
    Begin a batch over the file *there*.
    """
    del lines
    body = {
        "input_file_id": there,
        "endpoint": ENDPOINT,
        "completion_window": "24h",
        "metadata": {OURS: batch},
    }
    base = base_of(spec)
    return Request.to("POST", f"{base}/batches", headers=headers_of(base, key), json=body)


def look(spec: ModelSpec, key: str | None, handle: str) -> Request:
    """
    Ask how a batch stands.
    """
    return _get(spec, key, f"batches/{handle}")


def cancel(spec: ModelSpec, key: str | None, handle: str) -> Request:
    """
    End a batch early.
    """
    base = base_of(spec)
    return Request.to("POST", f"{base}/batches/{handle}/cancel", headers=headers_of(base, key))


def listing(spec: ModelSpec, key: str | None, after: str | None) -> Request:
    """
    Ask for the newest batches, or those before *after*.
    """
    base = base_of(spec)
    params = {"limit": LISTED} | ({"after": after} if after else {})
    return Request.to("GET", f"{base}/batches", headers=headers_of(base, key), params=params)


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
    if not isinstance(data, list) or not all(isinstance(one, dict) for one in data):
        raise Malformed("the answer is no list of batches")
    return [_standing(one) for one in data], page.get("has_more") is True


def fetch(spec: ModelSpec, key: str | None, source: str) -> Request:
    """
    Ask for a file of answers.
    """
    return _get(spec, key, f"files/{source}/content")


def answered(line: Any) -> Answered:
    """
    Read one line of a file of answers, or of errors; raises `Malformed`.
    """
    name = word_of(line, "custom_id")
    response, error = line.get("response"), line.get("error")
    if isinstance(response, dict) and isinstance(response.get("status_code"), int):
        return Answered(id=name, status=response["status_code"], body=response.get("body"))
    if isinstance(error, dict):
        code, message = faults.word(error, "code"), faults.word(error, "message")
        if code in _NEVER_ASKED:
            return Answered(id=name, why=message or code)
        return Answered(id=name, status=500, body={"error": error})
    raise Malformed("a line of the batch has neither an answer nor an error")


def _get(spec: ModelSpec, key: str | None, path: str) -> Request:
    base = base_of(spec)
    return Request.to("GET", f"{base}/{path}", headers=headers_of(base, key))


def _standing(body: dict[str, Any]) -> Standing:
    status, metadata = word_of(body, "status"), body.get("metadata")
    sources = (faults.word(body, name) for name in ("output_file_id", "error_file_id"))
    made = body.get("created_at")
    return Standing(
        handle=word_of(body, "id"),
        over=status in _OVER,
        refused=_errors(body) if status == "failed" else None,
        sources=tuple(source for source in sources if source),
        ours=faults.word(metadata, OURS) or None if isinstance(metadata, dict) else None,
        at=float(made) if isinstance(made, int | float) else 0.0,
        complete=status == "completed",
    )


def _errors(body: dict[str, Any]) -> str:
    errors = body.get("errors")
    data = errors.get("data") if isinstance(errors, dict) else None
    told = [faults.word(one, "message") for one in data or () if isinstance(one, dict)]
    return "; ".join(text for text in told if text) or "the batch failed"
