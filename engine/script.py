"""
A model's words, written beforehand and spoken at the HTTP seam, so that the real adapter reads them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import orjson

from ai import tokens
from penstock.http import MAX_ANSWER, NotSent, Request, Response

Words = Mapping[str, Any]


class Script:
    """
    An `Http` that answers every request to a model with the next words; the last ones are repeated.
    """

    def __init__(self, says: Words | Sequence[Words] | None) -> None:
        self._says: list[Words] = [] if says is None else [says] if isinstance(says, Mapping) else list(says)
        self._spoken = 0

    @property
    def speaks(self) -> bool:
        """
        Whether it has any words at all.
        """
        return bool(self._says)

    async def send(
        self,
        request: Request,
        *,
        timeout: float,
        fence: Callable[[], None] | None = None,
        max_body: int = MAX_ANSWER,
    ) -> Response:
        """
        Answer in the words of the provider that *request* is for.
        """
        del timeout, max_body
        if fence is not None:
            fence()
        if not self._says:
            raise NotSent(f"a rehearsal sends nothing to {request.url.host}")
        words = self._says[min(self._spoken, len(self._says) - 1)]
        self._spoken += 1
        text = orjson.dumps(words).decode()
        read, written = tokens.count(_asked(request.content)), tokens.count(text)
        form = next((form for end, form in _FORMS.items() if request.url.path.endswith(end)), _openai)
        return Response(
            status=200,
            headers={"content-type": "application/json"},
            body=orjson.dumps(form(text, read, written, f"scripted-{self._spoken}")),
        )

    async def close(self) -> None:
        """
        Nothing is open.
        """


def _asked(body: bytes) -> str:
    """
    Return all text of a request: what a provider would bill as input.
    """
    request = orjson.loads(body)
    turns = [request.get("systemInstruction") or {}, *request.get("messages", ()), *request.get("contents", ())]
    parts = [request.get("system") or ""] + [turn.get("content") or turn.get("parts") or "" for turn in turns]
    return "\n".join(_text(part) for part in parts)


def _text(part: Any) -> str:
    if isinstance(part, str):
        return part
    return "\n".join(str(block.get("text", "")) for block in part)


def _openai(text: str, read: int, written: int, name: str) -> dict[str, Any]:
    return {
        "id": name,
        "object": "chat.completion",
        "created": 0,
        "model": "scripted",
        "choices": [
            {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": text, "refusal": None}}
        ],
        "usage": {"prompt_tokens": read, "completion_tokens": written, "total_tokens": read + written},
    }


def _anthropic(text: str, read: int, written: int, name: str) -> dict[str, Any]:
    return {
        "id": name,
        "type": "message",
        "role": "assistant",
        "model": "scripted",
        "content": [{"type": "text", "text": text}],
        "stop_reason": "end_turn",
        "stop_sequence": None,
        "usage": {"input_tokens": read, "output_tokens": written},
    }


def _gemini(text: str, read: int, written: int, name: str) -> dict[str, Any]:
    return {
        "candidates": [{"content": {"role": "model", "parts": [{"text": text}]}, "finishReason": "STOP"}],
        "usageMetadata": {
            "promptTokenCount": read,
            "candidatesTokenCount": written,
            "totalTokenCount": read + written,
        },
        "modelVersion": "scripted",
        "responseId": name,
    }


def _bedrock(text: str, read: int, written: int, _name: str) -> dict[str, Any]:
    return {
        "output": {"message": {"role": "assistant", "content": [{"text": text}]}},
        "stopReason": "end_turn",
        "usage": {"inputTokens": read, "outputTokens": written, "totalTokens": read + written},
        "metrics": {"latencyMs": 0},
    }


_FORMS = {"/messages": _anthropic, ":generateContent": _gemini, "/converse": _bedrock}
"""By how the address of a question ends."""
