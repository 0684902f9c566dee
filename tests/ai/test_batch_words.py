"""
What is said to the batch APIs is what the official SDKs say, and what they answer is read as the SDKs read it.
"""

from __future__ import annotations

import email
from collections.abc import Awaitable, Callable
from email.message import Message
from typing import Any

import anthropic as anthropic_sdk
import httpx
import httpx2
import openai as openai_sdk
import orjson
import pytest

from ai.models import ModelSpec
from ai.providers import anthropic_batches, batching, openai_batches
from ai.providers.batching import Line
from ai.providers.contract import Malformed
from penstock.http import Request, Response

KEY = "sk-canary-0123456789abcdef"
OPENAI = ModelSpec(name="small", provider="openai", model="gpt-4o-mini")
ANTHROPIC = ModelSpec(name="small", provider="anthropic", model="claude-haiku-4-5")
LINES = [Line(id="a1", body=b'{"model":"m"}'), Line(id="b2", body=b'{"model":"m","max_tokens":5}')]
OPENAI_BATCH = {
    "id": "batch_1",
    "object": "batch",
    "endpoint": "/v1/chat/completions",
    "errors": None,
    "input_file_id": "file-1",
    "completion_window": "24h",
    "status": "completed",
    "output_file_id": "file-2",
    "error_file_id": "file-3",
    "created_at": 1_767_225_600,
    "request_counts": {"total": 2, "completed": 1, "failed": 1},
    "metadata": {"penstock_batch": "aa" * 16},
}
ANTHROPIC_BATCH = {
    "id": "msgbatch_1",
    "type": "message_batch",
    "processing_status": "ended",
    "request_counts": {"processing": 0, "succeeded": 1, "errored": 1, "canceled": 2, "expired": 3},
    "ended_at": "2026-01-01T01:00:00Z",
    "created_at": "2026-01-01T00:00:00Z",
    "expires_at": "2026-01-02T00:00:00Z",
    "archived_at": None,
    "cancel_initiated_at": None,
    "results_url": "https://api.anthropic.com/v1/messages/batches/msgbatch_1/results",
}


class Overheard(httpx.AsyncBaseTransport):
    """
    Takes what an SDK sends, and answers with *body*.
    """

    def __init__(self, body: Any) -> None:
        self.body = body
        self.request: httpx.Request | None = None

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        await request.aread()
        self.request = request
        return httpx.Response(200, json=self.body, request=request)


async def said_by_openai(body: Any, ask: Callable[[openai_sdk.AsyncOpenAI], Awaitable[Any]]) -> httpx.Request:
    transport = Overheard(body)
    client = openai_sdk.AsyncOpenAI(api_key=KEY, http_client=httpx.AsyncClient(transport=transport))
    await ask(client)
    assert transport.request is not None
    return transport.request


async def said_by_anthropic(body: Any, ask: Callable[[anthropic_sdk.AsyncAnthropic], Awaitable[Any]]) -> httpx.Request:
    heard: list[httpx2.Request] = []

    def handle(request: httpx2.Request) -> httpx2.Response:
        heard.append(request)
        return httpx2.Response(200, json=body)

    http = httpx2.AsyncClient(transport=httpx2.MockTransport(handle))
    await ask(anthropic_sdk.AsyncAnthropic(auth_token=KEY, http_client=http))
    (one,) = heard
    return httpx.Request(one.method, str(one.url), headers=dict(one.headers), content=one.content)


def same(ours: Request, theirs: httpx.Request) -> None:
    """
    Compare method, address, key and JSON body.
    """
    assert (ours.method, str(ours.url)) == (theirs.method, str(theirs.url))
    assert ours.headers["authorization"] == theirs.headers["authorization"] == f"Bearer {KEY}"
    if theirs.content:
        assert orjson.loads(ours.content) == orjson.loads(theirs.content)
    else:
        assert ours.content == b""


async def test_openais_requests() -> None:
    """
    Begin, look, cancel and list, as OpenAI's SDK says it.
    """
    metadata = {"penstock_batch": "aa" * 16}
    create = openai_batches.create(OPENAI, KEY, "aa" * 16, LINES, "file-1")
    same(
        create,
        await said_by_openai(
            OPENAI_BATCH,
            lambda sdk: sdk.batches.create(
                input_file_id="file-1", endpoint="/v1/chat/completions", completion_window="24h", metadata=metadata
            ),
        ),
    )
    look = await said_by_openai(OPENAI_BATCH, lambda sdk: sdk.batches.retrieve("batch_1"))
    cancel = await said_by_openai(OPENAI_BATCH, lambda sdk: sdk.batches.cancel("batch_1"))
    page = {"object": "list", "data": [], "has_more": False}
    listing = await said_by_openai(page, lambda sdk: _page(sdk.batches.list(limit=100, after="batch_9")))
    fetch = await said_by_openai({}, lambda sdk: sdk.files.content("file-2"))

    same(openai_batches.look(OPENAI, KEY, "batch_1"), look)
    same(openai_batches.cancel(OPENAI, KEY, "batch_1"), cancel)
    assert httpx.URL(str(openai_batches.listing(OPENAI, KEY, "batch_9").url)).params == listing.url.params
    same(openai_batches.fetch(OPENAI, KEY, "file-2"), fetch)


async def test_openais_upload() -> None:
    """
    The form has the parts that the SDK's form has, and a line for each question.
    """
    ours = openai_batches.upload(OPENAI, KEY, "bb" * 16, LINES)
    assert ours is not None
    file = (f"{'bb' * 16}.jsonl", _parts(ours.content, ours.headers["content-type"])["file"])
    told = {"id": "file-1", "object": "file", "bytes": 1, "created_at": 1, "filename": "f", "purpose": "batch"}
    theirs = await said_by_openai(told, lambda sdk: sdk.files.create(file=file, purpose="batch"))
    lines = [orjson.loads(line) for line in file[1].splitlines()]

    assert (ours.method, str(ours.url)) == (theirs.method, str(theirs.url))
    assert _parts(ours.content, ours.headers["content-type"]) == _parts(theirs.content, theirs.headers["content-type"])
    assert [(line["custom_id"], line["method"], line["url"]) for line in lines] == [
        ("a1", "POST", "/v1/chat/completions"),
        ("b2", "POST", "/v1/chat/completions"),
    ]
    assert [line["body"] for line in lines] == [{"model": "m"}, {"model": "m", "max_tokens": 5}]


async def test_anthropics_requests() -> None:
    """
    Begin, look, cancel and list, as Anthropic's SDK says it.
    """
    requests: Any = [
        {"custom_id": "a1", "params": {"model": "m"}},
        {"custom_id": "b2", "params": {"model": "m", "max_tokens": 5}},
    ]
    create = await said_by_anthropic(ANTHROPIC_BATCH, lambda sdk: sdk.messages.batches.create(requests=requests))
    look = await said_by_anthropic(ANTHROPIC_BATCH, lambda sdk: sdk.messages.batches.retrieve("msgbatch_1"))
    cancel = await said_by_anthropic(ANTHROPIC_BATCH, lambda sdk: sdk.messages.batches.cancel("msgbatch_1"))
    page = {"data": [], "has_more": False, "first_id": None, "last_id": None}
    listing = await said_by_anthropic(
        page, lambda sdk: _page(sdk.messages.batches.list(limit=100, after_id="msgbatch_9"))
    )

    assert anthropic_batches.upload(ANTHROPIC, KEY, "x", LINES) is None
    same(anthropic_batches.create(ANTHROPIC, KEY, "x", LINES, ""), create)
    same(anthropic_batches.look(ANTHROPIC, KEY, "msgbatch_1"), look)
    same(anthropic_batches.cancel(ANTHROPIC, KEY, "msgbatch_1"), cancel)
    assert httpx.URL(str(anthropic_batches.listing(ANTHROPIC, KEY, "msgbatch_9").url)).params == listing.url.params
    assert str(anthropic_batches.fetch(ANTHROPIC, KEY, "msgbatch_1").url) == ANTHROPIC_BATCH["results_url"]


async def _page(pages: Any) -> None:
    async for _ in pages:
        raise AssertionError("the page is empty")


def _parts(content: bytes, kind: str) -> dict[str, bytes]:
    """
    Return the parts of a form by their names.
    """
    form = email.message_from_bytes(b"content-type: " + kind.encode() + b"\r\n\r\n" + content)
    parts = form.get_payload()
    assert isinstance(parts, list)
    return {str(part.get_param("name", header="content-disposition")): _bytes(part) for part in parts}  # type: ignore[union-attr]


def _bytes(part: Message) -> bytes:
    found = part.get_payload(decode=True)
    assert isinstance(found, bytes)
    return found


def response(body: Any) -> Response:
    return Response(status=200, body=orjson.dumps(body))


@pytest.mark.parametrize(
    ("status", "over", "complete"),
    [
        ("validating", False, False),
        ("in_progress", False, False),
        ("finalizing", False, False),
        ("cancelling", False, False),
        ("completed", True, True),
        ("expired", True, False),
        ("cancelled", True, False),
        ("failed", True, False),
    ],
)
def test_how_openais_batch_stands(status: str, over: bool, complete: bool) -> None:
    """
    Every status of OpenAI's, and whether a question without an answer was surely not asked.
    """
    standing = openai_batches.standing(response(OPENAI_BATCH | {"status": status}))

    assert (standing.handle, standing.over, standing.complete) == ("batch_1", over, complete)
    assert standing.sources == ("file-2", "file-3")
    assert standing.ours == "aa" * 16
    assert (standing.refused is not None) is (status == "failed")


def test_why_openai_refused_a_batch() -> None:
    """
    The words of its errors are kept.
    """
    errors = {"object": "list", "data": [{"code": "token_limit_exceeded", "message": "Enqueued token limit reached."}]}
    standing = openai_batches.standing(response(OPENAI_BATCH | {"status": "failed", "errors": errors}))

    assert standing.refused == "Enqueued token limit reached."


def test_how_anthropics_batch_stands() -> None:
    """
    It is over when it ended, and its size is the sum of its counts.
    """
    ended = anthropic_batches.standing(response(ANTHROPIC_BATCH))
    running = anthropic_batches.standing(response(ANTHROPIC_BATCH | {"processing_status": "canceling"}))

    assert (ended.over, ended.size, ended.sources, ended.at) == (True, 7, ("msgbatch_1",), 1_767_225_600.0)
    assert (running.over, running.sources) == (False, ())


@pytest.mark.parametrize(
    ("line", "status", "why"),
    [
        ({"custom_id": "a", "response": {"status_code": 200, "body": {"id": "x"}}, "error": None}, 200, ""),
        ({"custom_id": "a", "response": {"status_code": 400, "body": {"error": {}}}, "error": None}, 400, ""),
        ({"custom_id": "a", "response": None, "error": {"code": "batch_expired", "message": "late"}}, None, "late"),
        (
            {"custom_id": "a", "response": None, "error": {"code": "batch_cancelled", "message": ""}},
            None,
            "batch_cancelled",
        ),
        ({"custom_id": "a", "response": None, "error": {"code": "other", "message": "x"}}, 500, ""),
    ],
)
def test_openais_lines(line: dict[str, Any], status: int | None, why: str) -> None:
    """
    An answer, an error, or a question that was never asked.
    """
    found = openai_batches.answered(line)

    assert (found.id, found.status, found.why) == ("a", status, why)


@pytest.mark.parametrize(
    ("result", "status"),
    [
        ({"type": "succeeded", "message": {"id": "m"}}, 200),
        ({"type": "errored", "error": {"type": "error", "error": {"type": "invalid_request_error"}}}, 400),
        ({"type": "errored", "error": {"type": "error", "error": {"type": "overloaded_error"}}}, 529),
        ({"type": "errored", "error": {"type": "error", "error": {"type": "new_error"}}}, 500),
        ({"type": "canceled"}, None),
        ({"type": "expired"}, None),
    ],
)
def test_anthropics_lines(result: dict[str, Any], status: int | None) -> None:
    """
    Every type of result.
    """
    assert anthropic_batches.answered({"custom_id": "a", "result": result}).status == status


@pytest.mark.parametrize("words", [openai_batches, anthropic_batches])
@pytest.mark.parametrize(
    "line", [None, 5, [], {}, {"custom_id": 5}, {"custom_id": "a"}, {"custom_id": "a", "result": {"type": "errored"}}]
)
def test_lines_that_are_none(words: batching.Batcher, line: Any) -> None:
    """
    What no provider promises is `Malformed`, whatever it is.
    """
    with pytest.raises(Malformed):
        words.answered(line)
    for body in (line, {"data": [line]}):
        with pytest.raises(Malformed):
            words.standing(response(body))
        with pytest.raises(Malformed):
            words.standings(response(body))
