from __future__ import annotations

import copy
from typing import Any

import anthropic as anthropic_sdk
import openai as openai_sdk
import orjson
import pytest
from anthropic.lib._parse._transform import transform_schema
from openai.lib._pydantic import _ensure_strict_json_schema

from ai.providers import anthropic, azure, bedrock, google, openai, vertex
from ai.providers.contract import Malformed
from ai.providers.dialects import anthropic_strict, openai_strict
from penstock.http import Response
from schemas.entries import Prompt, Usage
from tests.ai.questions import LONG, PLAIN, PROMPTS, Tape, chat, question, said, spec


def message(**changes: Any) -> dict[str, Any]:
    answer = {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": "claude-haiku-4-5-20251001",
        "content": [{"type": "text", "text": '{"a":1}'}],
        "stop_reason": "end_turn",
        "stop_sequence": None,
        "usage": {"input_tokens": 176, "output_tokens": 20},
    }
    return answer | changes


@pytest.mark.parametrize("repair", [False, True])
@pytest.mark.parametrize("prompt", PROMPTS)
@pytest.mark.parametrize("model", ["gpt-5-mini", "gpt-4o-mini", "gpt-5-chat-latest", "o4-mini"])
def test_the_openai_body_is_the_sdk_s(model: str, prompt: Prompt, repair: bool) -> None:
    """
    The official SDK, asked the same, sends the same JSON to the same place with the same key.
    """
    asked = question(spec("openai", model), prompt, repair=repair)
    tape = Tape(chat())
    turns: Any = [{"role": "system", "content": prompt.system}] if prompt.system else []
    turns += [{"role": "user", "content": prompt.user}]
    if asked.repair:
        turns += [
            {"role": "assistant", "content": asked.repair.said},
            {"role": "user", "content": asked.repair.complaint},
        ]
    strict: Any = _ensure_strict_json_schema(copy.deepcopy(PLAIN), path=(), root=copy.deepcopy(PLAIN))
    reasons = model in ("gpt-5-mini", "o4-mini")
    client = openai_sdk.OpenAI(api_key="sk-1", http_client=tape.client)
    client.chat.completions.create(
        model=model,
        messages=turns,
        max_completion_tokens=300,
        response_format={"type": "json_schema", "json_schema": {"name": "ticket", "schema": strict, "strict": True}},
        **({"reasoning_effort": "low"} if reasons else {"temperature": 0}),
    )

    request = openai.request(asked, "sk-1")

    assert orjson.loads(request.content) == tape.body
    assert str(request.url) == str(tape.requests[0].url)
    assert request.headers["authorization"] == tape.requests[0].headers["authorization"]
    assert request.headers["content-type"] == tape.requests[0].headers["content-type"]


@pytest.mark.parametrize("repair", [False, True])
@pytest.mark.parametrize("prompt", PROMPTS)
@pytest.mark.parametrize(
    "model", ["claude-sonnet-4-6", "claude-haiku-4-5-20251001", "claude-opus-5", "claude-sonnet-5-5"]
)
def test_the_anthropic_body_is_the_sdk_s(model: str, prompt: Prompt, repair: bool) -> None:
    """
    The official SDK, asked the same, sends the same JSON to the same place with the same key.
    """
    asked = question(spec("anthropic", model), prompt, repair=repair)
    tape = Tape(message())
    turns: Any = [{"role": "user", "content": prompt.user}]
    if asked.repair:
        turns += [
            {"role": "assistant", "content": asked.repair.said},
            {"role": "user", "content": asked.repair.complaint},
        ]
    config: Any = {"format": {"type": "json_schema", "schema": transform_schema(copy.deepcopy(PLAIN))}}
    if model in ("claude-opus-5", "claude-sonnet-5-5"):
        config["effort"] = "low"
    system: Any = prompt.system
    if prompt is LONG:
        system = [{"type": "text", "text": prompt.system, "cache_control": {"type": "ephemeral"}}]
    client = anthropic_sdk.Anthropic(api_key="sk-1", http_client=tape.client)
    client.messages.create(
        model=model, messages=turns, max_tokens=300, output_config=config, **({"system": system} if system else {})
    )

    request = anthropic.request(asked, "sk-1")

    assert orjson.loads(request.content) == tape.body
    assert str(request.url) == str(tape.requests[0].url)
    for name in ("authorization", "anthropic-version", "content-type"):
        assert request.headers[name] == tape.requests[0].headers[name]


CHATS = [
    chat(),
    chat(usage={"prompt_tokens": 1200, "completion_tokens": 90, "total_tokens": 1290, "prompt_tokens_details": {"cached_tokens": 1024, "cache_write_tokens": 100}}),
    chat(usage={"prompt_tokens": 10, "completion_tokens": 900, "total_tokens": 910, "completion_tokens_details": {"reasoning_tokens": 850}}),
    chat(choices=[{"index": 0, "message": {"role": "assistant", "content": '{"a":', "refusal": None}, "finish_reason": "length"}]),
    chat(choices=[{"index": 0, "message": {"role": "assistant", "content": None, "refusal": "I cannot."}, "finish_reason": "stop"}]),
    chat(choices=[{"index": 0, "message": {"role": "assistant", "content": ""}, "finish_reason": "content_filter"}]),
    chat(usage=None),
    chat(system_fingerprint="fp", service_tier="default", unknown={"x": 1}),
]  # fmt: skip


@pytest.mark.parametrize("body", CHATS)
def test_an_openai_answer_reads_as_the_sdk_reads_it(body: dict[str, Any]) -> None:
    """
    Text, refusal, ids and token counts are those the official SDK finds in the same bytes.
    """
    client = openai_sdk.OpenAI(api_key="sk-1", http_client=Tape(body).client)
    theirs = client.chat.completions.create(model="m", messages=[{"role": "user", "content": "x"}])

    ours = openai.read(said(body))

    choice, usage = theirs.choices[0], theirs.usage
    assert (ours.text, ours.refusal) == (choice.message.content or "", choice.message.refusal)
    assert (ours.response_id, ours.response_model) == (theirs.id, theirs.model)
    refused = choice.message.refusal or choice.finish_reason == "content_filter"
    assert ours.finish_reason == ("content_filter" if refused else choice.finish_reason)
    if usage is None:
        assert ours.usage == Usage(estimated=True)
        return
    given, made = usage.prompt_tokens_details, usage.completion_tokens_details
    assert (ours.usage.input, ours.usage.output) == (usage.prompt_tokens, usage.completion_tokens)
    assert ours.usage.cache_read == ((given.cached_tokens if given else 0) or 0)
    assert ours.usage.cache_write == ((given.cache_write_tokens if given else 0) or 0)
    assert ours.usage.reasoning == ((made.reasoning_tokens if made else 0) or 0)


MESSAGES = [
    message(),
    message(usage={"input_tokens": 176, "output_tokens": 20, "cache_read_input_tokens": 1024, "cache_creation_input_tokens": 50}),
    message(usage={"input_tokens": 10, "output_tokens": 700, "output_tokens_details": {"thinking_tokens": 650}}),
    message(content=[{"type": "thinking", "thinking": "", "signature": "s"}, {"type": "text", "text": "{"}, {"type": "text", "text": "}"}]),
    message(stop_reason="max_tokens", content=[{"type": "text", "text": '{"a":'}]),
    message(stop_reason="refusal", content=[], stop_details={"type": "refusal", "category": "bio", "explanation": "No."}),
    message(stop_reason="model_context_window_exceeded"),
    message(stop_reason="stop_sequence", stop_sequence="x"),
]  # fmt: skip


@pytest.mark.parametrize("body", MESSAGES)
def test_an_anthropic_answer_reads_as_the_sdk_reads_it(body: dict[str, Any]) -> None:
    """
    Text, ids and token counts are those the official SDK finds in the same bytes; input is the sum.
    """
    client = anthropic_sdk.Anthropic(api_key="sk-1", http_client=Tape(body).client)
    theirs = client.messages.create(model="m", max_tokens=1, messages=[{"role": "user", "content": "x"}])

    ours = anthropic.read(said(body))

    usage = theirs.usage
    read, written = usage.cache_read_input_tokens or 0, usage.cache_creation_input_tokens or 0
    finish = {"max_tokens": "length", "refusal": "content_filter", "model_context_window_exceeded": "context"}
    assert ours.text == "".join(block.text for block in theirs.content if block.type == "text")
    assert (ours.response_id, ours.response_model) == (theirs.id, theirs.model)
    assert ours.finish_reason == finish.get(theirs.stop_reason or "", "stop")
    assert ours.refusal == (theirs.stop_details.explanation if theirs.stop_details else None)
    assert ours.usage.input == usage.input_tokens + read + written
    assert (ours.usage.cache_read, ours.usage.cache_write, ours.usage.output) == (read, written, usage.output_tokens)
    assert ours.usage.reasoning == (usage.output_tokens_details.thinking_tokens if usage.output_tokens_details else 0)


BROKEN = [b"", b"null", b"[]", b"{}", b'"text"', b"<html>", b'{"choices":[]}', b'{"choices":[{}]}', b'{"choices":{}}',
          b'{"choices":[{"message":null}]}', b'{"choices":[{"message":{"content":[1]}}]}', b'{"content":null}',
          b'{"content":[{}]}', b'{"content":[{"type":"text"}]}', b'{"content":"x"}', b'{"choices":[{"message":',
          b"\xff\xfe", b"[" * 5000, b'{"content":[[]]}', b'{"choices":[{"message":{"content":{"a":1}}}]}',
          b'{"candidates":[]}', b'{"candidates":null}', b'{"candidates":[{}]}', b'{"candidates":[{"content":{"parts":[{"text":1}]}}]}',
          b'{"candidates":[{"content":"x"}]}', b'{"promptFeedback":[]}', b'{"candidates":{"0":1}}', b'{"candidates":[null]}',
          b'{"output":null}', b'{"output":{"message":{"content":null}}}', b'{"output":{"message":{"content":["x"]}}}',
          b'{"output":{"message":{"content":[{"toolUse":null}]}}}', b'{"output":{"message":{"content":[{"text":2}]}}}']  # fmt: skip


@pytest.mark.parametrize("adapter", [openai, azure, anthropic, google, vertex, bedrock])
@pytest.mark.parametrize("body", BROKEN)
def test_a_broken_success_is_malformed(adapter: Any, body: bytes) -> None:
    """
    Whatever a broken server sends as a success, reading it is `Malformed` and nothing else.
    """
    with pytest.raises(Malformed):
        adapter.read(Response(status=200, body=body))


@pytest.mark.parametrize(
    ("url", "place", "limit"),
    [
        (None, "https://api.openai.com/v1/chat/completions", "max_completion_tokens"),
        ("http://localhost:11434/v1", "http://localhost:11434/v1/chat/completions", "max_tokens"),
        ("http://vllm:8000/v1/", "http://vllm:8000/v1/chat/completions", "max_tokens"),
        ("https://acme.openai.azure.com/openai/v1", "https://acme.openai.azure.com/openai/v1/chat/completions", "max_completion_tokens"),
        ("https://openai.com.evil.example/v1", "https://openai.com.evil.example/v1/chat/completions", "max_tokens"),
    ],
)  # fmt: skip
def test_compatible_servers(url: str | None, place: str, limit: str) -> None:
    """
    A compatible server is asked at its own address, in the older words that all of them know.
    """
    request = openai.request(question(spec("openai", "gpt-4o-mini", url)), "k")

    assert str(request.url) == place
    assert orjson.loads(request.content)[limit] == 300
    assert ("api-key" in request.headers) == ("azure" in place)


def test_what_openai_refuses_is_told_in_words() -> None:
    """
    Lengths go into the description, optional becomes nullable, type lists become alternatives.
    """
    strict = openai_strict(
        {
            "$schema": "x",
            "type": "object",
            "required": ["a"],
            "properties": {
                "a": {"type": "string", "maxLength": 9, "description": "Short."},
                "b": {"type": ["integer", "null"], "minimum": 1},
                "c": {"type": "string"},
            },
        }
    )

    assert strict == {
        "type": "object",
        "required": ["a", "b", "c"],
        "additionalProperties": False,
        "properties": {
            "a": {"type": "string", "description": "Short.\n\n{maxLength: 9}"},
            "b": {"anyOf": [{"type": "integer", "minimum": 1}, {"type": "null"}]},
            "c": {"anyOf": [{"type": "string"}, {"type": "null"}]},
        },
    }


def test_what_anthropic_refuses_is_told_in_words() -> None:
    """
    Bounds and lengths go into the description as the SDK puts them; type lists become alternatives.
    """
    schema: dict[str, Any] = {
        "type": "object",
        "required": ["a"],
        "properties": {
            "a": {"type": "string", "maxLength": 9, "description": "Short.", "format": "phone"},
            "n": {"type": "number", "minimum": 0, "multipleOf": 0.5},
            "l": {"type": "array", "items": {"enum": ["x"]}, "minItems": 2, "maxItems": 3},
            "o": {"oneOf": [{"type": "string"}, {"type": "integer", "maximum": 3}]},
        },
    }

    assert anthropic_strict(schema) == transform_schema(copy.deepcopy(schema))
    assert anthropic_strict({"type": ["string", "null"]}) == {"anyOf": [{"type": "string"}, {"type": "null"}]}
