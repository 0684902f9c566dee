"""
The server's side of each provider's protocol: what the model double understands and says.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import orjson

from ai import tokens


@dataclass(frozen=True, kw_only=True)
class Asked:
    """
    What a request asks.
    """

    model: str
    user: str
    """The first user turn."""
    schema: Mapping[str, Any]
    room: int
    input: int


@dataclass(frozen=True, kw_only=True)
class Replied:
    """
    What the model makes of it.
    """

    text: str
    finish: Literal["stop", "length", "refusal"]
    input: int
    output: int


@dataclass(frozen=True, kw_only=True)
class Words:
    """
    One protocol, from the server's side.
    """

    asked: Callable[[Mapping[str, Any]], Asked]
    """Raises `KeyError`, `TypeError`, `IndexError` or `ValueError` for a body the vendor refuses."""
    reply: Callable[[Asked, Replied], dict[str, Any]]
    error: Callable[[int, str], dict[str, Any]]


def _openai_asked(body: Mapping[str, Any]) -> Asked:
    output = body["response_format"]["json_schema"]
    if not output["strict"] or output["schema"]["additionalProperties"] is not False:
        raise ValueError("the schema is not strict")
    turns = [turn for turn in body["messages"] if turn["role"] == "user"]
    return Asked(
        model=body["model"],
        user=turns[0]["content"],
        schema=output["schema"],
        room=body["max_completion_tokens"] if "max_completion_tokens" in body else body["max_tokens"],
        input=_input(body["messages"], output["schema"]),
    )


def _openai_reply(asked: Asked, replied: Replied) -> dict[str, Any]:
    refused = replied.finish == "refusal"
    message = {
        "role": "assistant",
        "content": None if refused else replied.text,
        "refusal": "I cannot help with that." if refused else None,
    }
    return {
        "id": "chatcmpl-double",
        "object": "chat.completion",
        "created": 1_767_225_600,
        "model": f"{asked.model}-double",
        "choices": [{"index": 0, "message": message, "finish_reason": "stop" if refused else replied.finish}],
        "usage": {
            "prompt_tokens": replied.input,
            "completion_tokens": replied.output,
            "total_tokens": replied.input + replied.output,
        },
    }


def _openai_error(status: int, message: str) -> dict[str, Any]:
    codes = {401: "invalid_api_key", 404: "model_not_found", 429: "rate_limit_exceeded"}
    return {"error": {"message": message, "type": "invalid_request_error", "param": None, "code": codes.get(status)}}


def _anthropic_asked(body: Mapping[str, Any]) -> Asked:
    output = body["output_config"]["format"]
    if output["type"] != "json_schema" or output["schema"]["additionalProperties"] is not False:
        raise ValueError("the schema is not closed")
    system = body.get("system", "")
    turns = [{"role": "system", "content": system if isinstance(system, str) else system[0]["text"]}, *body["messages"]]
    return Asked(
        model=body["model"],
        user=body["messages"][0]["content"],
        schema=output["schema"],
        room=body["max_tokens"],
        input=_input(turns, output["schema"]),
    )


def _anthropic_reply(asked: Asked, replied: Replied) -> dict[str, Any]:
    stops = {"stop": "end_turn", "length": "max_tokens", "refusal": "refusal"}
    return {
        "id": "msg_double",
        "type": "message",
        "role": "assistant",
        "model": f"{asked.model}-double",
        "content": [{"type": "text", "text": replied.text}] if replied.text else [],
        "stop_reason": stops[replied.finish],
        "stop_sequence": None,
        "usage": {"input_tokens": replied.input, "output_tokens": replied.output},
    }


def _anthropic_error(status: int, message: str) -> dict[str, Any]:
    kinds = {
        401: "authentication_error", 403: "permission_error", 404: "not_found_error", 413: "request_too_large",
        429: "rate_limit_error", 500: "api_error", 504: "timeout_error", 529: "overloaded_error",
    }  # fmt: skip
    return {"type": "error", "error": {"type": kinds.get(status, "invalid_request_error"), "message": message}}


def _input(turns: list[Mapping[str, Any]], schema: Mapping[str, Any]) -> int:
    texts = [*(turn["content"] for turn in turns), orjson.dumps(schema).decode()]
    return sum(tokens.count(text) for text in texts)


OPENAI = Words(asked=_openai_asked, reply=_openai_reply, error=_openai_error)
ANTHROPIC = Words(asked=_anthropic_asked, reply=_anthropic_reply, error=_anthropic_error)
