from __future__ import annotations

from typing import Any

import orjson
import pytest
from google import genai
from google.genai import types
from google.oauth2.credentials import Credentials

from ai.models import ModelSpec
from ai.providers import google, vertex
from ai.providers.contract import Question
from ai.providers.dialects import gemini
from schemas.entries import Usage
from tests.ai.questions import PROMPTS, Tape, question, said, spec, turns

TOKEN = "ya29.made-up-token-of-a-test"
MODELS = [
    "gemini-2.0-flash",
    "gemini-2.5-flash",
    "gemini-2.5-pro",
    "gemini-3.8-flash",
    "gemini-flash-latest",
    "gemma-3",
]
REGIONS = [None, "global", "europe-west4", "us", "eu"]


def generated(**changes: Any) -> dict[str, Any]:
    answer = {
        "candidates": [
            {"content": {"role": "model", "parts": [{"text": '{"a":1}'}]}, "finishReason": "STOP", "index": 0}
        ],
        "usageMetadata": {"promptTokenCount": 1200, "candidatesTokenCount": 90, "totalTokenCount": 1290},
        "modelVersion": "gemini-2.5-flash",
        "responseId": "resp-1",
    }
    return answer | changes


def client_for(which: ModelSpec, tape: Tape) -> genai.Client:
    options = types.HttpOptions(api_version="v1", httpx_client=tape.client)
    if which.provider == "google":
        return genai.Client(api_key="k", http_options=options)
    return genai.Client(
        vertexai=True,
        project=which.project,
        location=which.region or "global",
        credentials=Credentials(TOKEN),  # type: ignore[no-untyped-call]
        http_options=options,
    )


def asked_by_sdk(asked: Question, tape: Tape) -> None:
    model = asked.spec.model
    config: dict[str, Any] = {
        "max_output_tokens": 300,
        "response_mime_type": "application/json",
        "response_json_schema": gemini(asked.schema),
    }
    if asked.prompt.system:
        config["system_instruction"] = asked.prompt.system
    if model in ("gemini-3.8-flash", "gemini-flash-latest"):
        config["thinking_config"] = types.ThinkingConfig(thinking_level=types.ThinkingLevel.LOW)
    else:
        config["temperature"] = 0
    if "2.5" in model:
        config["thinking_config"] = types.ThinkingConfig(thinking_budget=1024 if "pro" in model else 0)
    contents: Any = [
        types.Content(role=role, parts=[types.Part(text=text)]) for role, text in turns(asked, answering="model")
    ]
    client_for(asked.spec, tape).models.generate_content(
        model=model, contents=contents, config=types.GenerateContentConfig(**config)
    )


@pytest.mark.parametrize("repair", [False, True])
@pytest.mark.parametrize("prompt", PROMPTS)
@pytest.mark.parametrize("model", MODELS)
def test_the_gemini_request_is_the_sdk_s(model: str, prompt: Any, repair: bool) -> None:
    """
    The official SDK, asked the same, sends the same JSON to the same place with the same key.
    """
    asked, tape = question(spec("google", model), prompt, repair=repair), Tape(generated())
    asked_by_sdk(asked, tape)

    request = google.request(asked, "k")

    assert orjson.loads(request.content) == tape.body
    assert str(request.url) == str(tape.requests[0].url)
    assert request.headers["x-goog-api-key"] == tape.requests[0].headers["x-goog-api-key"]


@pytest.mark.parametrize("region", REGIONS)
@pytest.mark.parametrize("model", MODELS)
def test_the_vertex_request_is_the_sdk_s(model: str, region: str | None) -> None:
    """
    In every kind of region the official SDK sends the same JSON to the same place with the same token.
    """
    asked = question(spec("vertex", model, project="acme-4711", region=region), repair=True)
    tape = Tape(generated())
    asked_by_sdk(asked, tape)

    request = vertex.request(asked, TOKEN)

    assert orjson.loads(request.content) == tape.body
    assert str(request.url) == str(tape.requests[0].url)
    assert request.headers["authorization"] == tape.requests[0].headers["authorization"]


def test_a_name_leads_nowhere_else() -> None:
    """
    A model's name stays one part of the path, and a private endpoint takes the place of the public one.
    """
    place = vertex.request(question(spec("vertex", "../x", "https://p.example/v1/", project="a")), None).url

    assert str(place) == (
        "https://p.example/v1/projects/a/locations/global/publishers/google/models/..%2Fx:generateContent"
    )
    assert str(google.request(question(spec("google", "m", "http://h:1/v1beta")), None).url).startswith(
        "http://h:1/v1beta/models/m:"
    )


def candidate(text: str | None = '{"a":1}', **changes: Any) -> list[dict[str, Any]]:
    content = {"role": "model", "parts": [{"text": text}]} if text is not None else {"role": "model"}
    return [{"content": content, "finishReason": "STOP", "index": 0} | changes]


def counts(**changes: int) -> dict[str, int]:
    return {"promptTokenCount": 1200, "candidatesTokenCount": 90, "totalTokenCount": 1290} | changes


THOUGHT = [{"content": {"role": "model", "parts": [{"text": "hm", "thought": True}, {"text": "{"}, {"text": "}"}]}, "finishReason": "STOP"}]  # fmt: skip
ANSWERS = [
    generated(),
    generated(usageMetadata=counts(cachedContentTokenCount=1024)),
    generated(usageMetadata=counts(thoughtsTokenCount=850, totalTokenCount=2140)),
    generated(usageMetadata=counts(toolUsePromptTokenCount=7, totalTokenCount=1297)),
    generated(usageMetadata=None),
    generated(candidates=THOUGHT),
    generated(candidates=candidate('{"a":', finishReason="MAX_TOKENS")),
    generated(candidates=candidate(None, finishReason="MAX_TOKENS"), usageMetadata={"promptTokenCount": 9, "thoughtsTokenCount": 300, "totalTokenCount": 309}),
    generated(candidates=candidate(None, finishReason="SAFETY", finishMessage="Unsafe.")),
    generated(candidates=candidate(None, finishReason="RECITATION")),
    generated(candidates=candidate(None, finishReason="PROHIBITED_CONTENT")),
    generated(candidates=[], promptFeedback={"blockReason": "SAFETY", "blockReasonMessage": "The prompt was blocked."}, usageMetadata={"promptTokenCount": 5, "totalTokenCount": 5}),
    generated(candidates=None, promptFeedback={"blockReason": "OTHER"}),
    generated(promptFeedback={"safetyRatings": []}, unknown=1),
]  # fmt: skip
REFUSED = {"SAFETY", "RECITATION", "PROHIBITED_CONTENT"}


@pytest.mark.parametrize("adapter", [google, vertex])
@pytest.mark.parametrize("body", ANSWERS)
def test_an_answer_reads_as_the_sdk_reads_it(adapter: Any, body: dict[str, Any]) -> None:
    """
    Text, blocks, ids and token counts are those the official SDK finds in the same bytes; output is all that is billed.
    """
    provider = adapter.__name__.rpartition(".")[2]
    which = spec(provider, "gemini-2.5-flash", project="acme" if provider == "vertex" else None)
    theirs = client_for(which, Tape(body)).models.generate_content(model="gemini-2.5-flash", contents="x")

    ours = adapter.read(said(body))

    ended = theirs.candidates[0].finish_reason.value if theirs.candidates else None
    block = theirs.prompt_feedback.block_reason if theirs.prompt_feedback else None
    texts = [part.text for part in (theirs.parts or []) if part.text and not part.thought]
    assert ours.text == "".join(texts)
    assert (ours.response_id, ours.response_model) == (theirs.response_id, theirs.model_version)
    refused = bool(block) or ended in REFUSED
    assert ours.finish_reason == ("content_filter" if refused else "length" if ended == "MAX_TOKENS" else "stop")
    assert bool(ours.refusal) is refused
    usage = theirs.usage_metadata
    if usage is None:
        assert ours.usage == Usage(estimated=True)
        return
    assert ours.usage.input == usage.prompt_token_count + (usage.tool_use_prompt_token_count or 0)
    assert ours.usage.output == (usage.candidates_token_count or 0) + (usage.thoughts_token_count or 0)
    assert ours.usage.input + ours.usage.output == usage.total_token_count
    assert ours.usage.cache_read == (usage.cached_content_token_count or 0)
    assert ours.usage.reasoning == (usage.thoughts_token_count or 0)


def test_what_gemini_refuses_is_told_in_words() -> None:
    """
    Constants become a choice of one, lengths go into the description, type lists become alternatives.
    """
    schema: dict[str, Any] = {
        "$schema": "x",
        "title": "Ticket",
        "type": "object",
        "additionalProperties": False,
        "required": ["a"],
        "properties": {
            "a": {"type": "string", "maxLength": 9, "description": "Short.", "default": "x"},
            "b": {"type": ["integer", "null"], "minimum": 1},
            "c": {"const": "yes"},
            "d": {"oneOf": [{"type": "string", "format": "date"}, {"type": "string", "format": "email"}]},
            "e": {"$ref": "#/definitions/e", "description": "gone"},
        },
        "definitions": {"e": {"type": "array", "items": {"const": 1}, "uniqueItems": True}},
    }

    assert gemini(schema) == {
        "type": "object",
        "additionalProperties": False,
        "required": ["a"],
        "properties": {
            "a": {"type": "string", "description": "Short.\n\n{maxLength: 9}"},
            "b": {"anyOf": [{"type": "integer", "minimum": 1}, {"type": "null"}]},
            "c": {"enum": ["yes"]},
            "d": {
                "anyOf": [{"type": "string", "format": "date"}, {"type": "string", "description": "{format: email}"}]
            },
            "e": {"$ref": "#/$defs/e"},
        },
        "$defs": {"e": {"type": "array", "items": {"enum": [1]}, "description": "{uniqueItems: True}"}},
    }
