"""
The server's side of each provider's protocol: what the model double understands and says.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
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
    by_tool: bool = False
    """Whether the answer is to be the input of a tool."""


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
    reply: Callable[[Asked, Replied, str], dict[str, Any]]
    """The last is the answer's id."""
    error: Callable[[int, str], dict[str, Any]]
    no_key: int = 401
    """The status for a key that is not known."""


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


def _openai_reply(asked: Asked, replied: Replied, name: str) -> dict[str, Any]:
    refused = replied.finish == "refusal"
    message = {
        "role": "assistant",
        "content": None if refused else replied.text,
        "refusal": "I cannot help with that." if refused else None,
    }
    return {
        "id": name,
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


def _anthropic_reply(asked: Asked, replied: Replied, name: str) -> dict[str, Any]:
    stops = {"stop": "end_turn", "length": "max_tokens", "refusal": "refusal"}
    return {
        "id": name,
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


def _google_asked(body: Mapping[str, Any]) -> Asked:
    config = body["generationConfig"]
    if config["responseMimeType"] != "application/json":
        raise ValueError("the answer is not asked for as JSON")
    turns = [*body["contents"], *([body["systemInstruction"]] if "systemInstruction" in body else [])]
    texts = [{"content": part["text"]} for turn in turns for part in turn["parts"]]
    return Asked(
        model=body["model"],
        user=body["contents"][0]["parts"][0]["text"],
        schema=config["responseJsonSchema"],
        room=config["maxOutputTokens"],
        input=_input(texts, config["responseJsonSchema"]),
    )


def _google_reply(asked: Asked, replied: Replied, name: str) -> dict[str, Any]:
    ends = {"stop": "STOP", "length": "MAX_TOKENS", "refusal": "SAFETY"}
    content = {"content": {"role": "model", "parts": [{"text": replied.text}]}} if replied.text else {}
    return {
        "candidates": [{**content, "finishReason": ends[replied.finish], "index": 0}],
        "usageMetadata": {
            "promptTokenCount": replied.input,
            "candidatesTokenCount": replied.output,
            "totalTokenCount": replied.input + replied.output,
        },
        "modelVersion": f"{asked.model}-double",
        "responseId": name,
    }


def _google_error(status: int, message: str) -> dict[str, Any]:
    statuses = {
        400: "INVALID_ARGUMENT", 401: "UNAUTHENTICATED", 403: "PERMISSION_DENIED", 404: "NOT_FOUND",
        429: "RESOURCE_EXHAUSTED", 500: "INTERNAL", 503: "UNAVAILABLE", 504: "DEADLINE_EXCEEDED",
    }  # fmt: skip
    return {"error": {"code": status, "message": message, "status": statuses.get(status, "UNKNOWN")}}


def _gemini_error(status: int, message: str) -> dict[str, Any]:
    body = _google_error(status, message)
    if message.startswith("API key"):
        kind = "type.googleapis.com/google.rpc.ErrorInfo"
        body["error"]["details"] = [{"@type": kind, "reason": "API_KEY_INVALID", "domain": "googleapis.com"}]
    return body


def _bedrock_asked(body: Mapping[str, Any]) -> Asked:
    if "outputConfig" in body:
        schema = orjson.loads(body["outputConfig"]["textFormat"]["structure"]["jsonSchema"]["schema"])
    else:
        schema = body["toolConfig"]["tools"][0]["toolSpec"]["inputSchema"]["json"]
    blocks = [block for turn in body["messages"] for block in turn["content"]] + list(body.get("system", ()))
    return Asked(
        model=body["model"],
        user=body["messages"][0]["content"][0]["text"],
        schema=schema,
        room=body["inferenceConfig"]["maxTokens"],
        input=_input([{"content": block["text"]} for block in blocks if "text" in block], schema),
        by_tool="toolConfig" in body,
    )


def _bedrock_reply(asked: Asked, replied: Replied, _name: str) -> dict[str, Any]:
    stops = {"stop": "end_turn", "length": "max_tokens", "refusal": "content_filtered"}
    used = _tool_input(replied.text) if asked.by_tool and replied.finish == "stop" else None
    tool = {"toolUse": {"toolUseId": "tool-double", "name": "answer", "input": used}}
    return {
        "output": {"message": {"role": "assistant", "content": [{"text": replied.text} if used is None else tool]}},
        "stopReason": stops[replied.finish] if used is None else "tool_use",
        "usage": {
            "inputTokens": replied.input,
            "outputTokens": replied.output,
            "totalTokens": replied.input + replied.output,
        },
        "metrics": {"latencyMs": 1},
    }


def _tool_input(text: str) -> Any:
    """
    Return *text* as the input of a tool, None where it can be none.
    """
    try:
        found = orjson.loads(text)
    except ValueError:
        return None
    return found if isinstance(found, dict) else None


def _bedrock_error(status: int, message: str) -> dict[str, Any]:
    kinds = {
        400: "ValidationException", 401: "UnrecognizedClientException", 403: "UnrecognizedClientException",
        404: "ResourceNotFoundException", 408: "ModelTimeoutException", 424: "ModelErrorException",
        429: "ThrottlingException", 500: "InternalServerException", 503: "ServiceUnavailableException",
    }  # fmt: skip
    return {"message": message} | ({"__type": kinds[status]} if status in kinds else {})


def _input(turns: Sequence[Mapping[str, Any]], schema: Mapping[str, Any]) -> int:
    texts = [*(turn["content"] for turn in turns), orjson.dumps(schema).decode()]
    return sum(tokens.count(text) for text in texts)


OPENAI = Words(asked=_openai_asked, reply=_openai_reply, error=_openai_error)
ANTHROPIC = Words(asked=_anthropic_asked, reply=_anthropic_reply, error=_anthropic_error)
GEMINI = Words(asked=_google_asked, reply=_google_reply, error=_gemini_error, no_key=400)
VERTEX = Words(asked=_google_asked, reply=_google_reply, error=_google_error)
BEDROCK = Words(asked=_bedrock_asked, reply=_bedrock_reply, error=_bedrock_error, no_key=403)
