"""
What the tests of providers ask, and where an official SDK's requests are caught.
"""

from __future__ import annotations

from typing import Any

import httpx2
import orjson

from ai.models import ModelSpec
from ai.providers.contract import Question, Repair
from penstock.http import Response
from schemas.entries import Prompt

PLAIN: dict[str, Any] = {
    "type": "object",
    "properties": {
        "summary": {"type": "string", "description": "Two sentences."},
        "mood": {"type": "string", "enum": ["calm", "angry"]},
        "score": {"type": "integer", "minimum": 1, "maximum": 5},
        "tags": {"type": "array", "items": {"type": "string"}, "minItems": 1},
        "who": {"type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"]},
        "due": {"anyOf": [{"type": "string", "format": "date"}, {"type": "null"}]},
        "part": {"$ref": "#/$defs/part"},
    },
    "required": ["summary", "mood", "score", "tags", "who", "due", "part"],
    "$defs": {"part": {"type": "object", "properties": {"n": {"type": "number"}}, "required": ["n"]}},
}
PROMPT = Prompt(system="Summarise.", user="<ticket>\nIch bin müde 😴\n</ticket>", tokens=9)
LONG = Prompt(system="Summarise. " * 500, user="text", tokens=1000)
BARE = PROMPT.model_copy(update={"system": ""})
PROMPTS = [PROMPT, LONG, BARE]


def spec(provider: Any, model: str, url: str | None = None, **more: Any) -> ModelSpec:
    return ModelSpec(name="m", provider=provider, model=model, url=url, **more)


def question(which: ModelSpec, prompt: Prompt = PROMPT, *, repair: bool = False) -> Question:
    turn = Repair(said='{"summary": 1}', complaint="summary: 1 is not a string") if repair else None
    return Question(spec=which, prompt=prompt, schema_name="ticket", schema=PLAIN, room=300, repair=turn)


def turns(asked: Question, answering: str = "assistant") -> list[tuple[str, str]]:
    """
    Return role and text of each turn; the model's role is called *answering*.
    """
    said = [("user", asked.prompt.user)]
    if asked.repair:
        said += [(answering, asked.repair.said), ("user", asked.repair.complaint)]
    return said


def said(body: Any, **headers: str) -> Response:
    return Response(status=200, headers=headers, body=orjson.dumps(body))


class Tape:
    """
    An HTTP transport that keeps the request and plays one answer.
    """

    def __init__(self, answer: dict[str, Any]) -> None:
        self.answer = answer
        self.requests: list[httpx2.Request] = []
        self.client = httpx2.Client(transport=httpx2.MockTransport(self._play))

    def _play(self, request: httpx2.Request) -> httpx2.Response:
        self.requests.append(request)
        return httpx2.Response(200, json=self.answer)

    @property
    def body(self) -> Any:
        return orjson.loads(self.requests[0].content)


def chat(**changes: Any) -> dict[str, Any]:
    """
    Return a chat completion.
    """
    message = {"role": "assistant", "content": '{"a":1}', "refusal": None}
    answer = {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1,
        "model": "gpt-5-mini-2025-08-07",
        "choices": [{"index": 0, "message": message, "finish_reason": "stop", "logprobs": None}],
        "usage": {"prompt_tokens": 1200, "completion_tokens": 90, "total_tokens": 1290},
    }
    return answer | changes
