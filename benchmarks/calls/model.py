"""
A model in a process of its own: `python -m benchmarks.calls.model`.

It prints its port, takes `LATENCY` over every question, and answers in the words of the API it was asked in.
It shares the processor with who is measured, so HTTP is read by hand.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Mapping
from typing import Any, cast

import uvloop

LATENCY = 0.5  # seconds
SAID = json.dumps(
    {
        "summary": "The customer asks about an order: it is late, and nobody answered so far.",
        "mood": "annoyed",
        "next_step": "Call the courier.",
        "language": "en",
        "confidence": 0.9,
    }
)
INPUT, OUTPUT = 800, 60  # tokens
COUNTS = "/_counts"
"""Where it tells how many calls it has had, and how many at once at most."""
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)

ANSWERS: Mapping[bytes, dict[str, Any]] = {
    b"/v1/chat/completions": {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 0,
        "model": "bench",
        "choices": [
            {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": SAID, "refusal": None}}
        ],
        "usage": {
            "prompt_tokens": INPUT,
            "completion_tokens": OUTPUT,
            "total_tokens": INPUT + OUTPUT,
            "prompt_tokens_details": {"cached_tokens": 0},
            "completion_tokens_details": {"reasoning_tokens": 0},
        },
    },
    b"/v1/messages": {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": "bench",
        "content": [{"type": "text", "text": SAID}],
        "stop_reason": "end_turn",
        "stop_sequence": None,
        "usage": {"input_tokens": INPUT, "output_tokens": OUTPUT},
    },
}


class Model:
    """
    What it knows of all who ask.
    """

    def __init__(self) -> None:
        self.calls = 0
        self.now = 0
        self.most = 0
        """At once."""

    def begun(self) -> None:
        """
        Count a call that begins.
        """
        self.calls += 1
        self.now += 1
        self.most = max(self.most, self.now)


class Connection(asyncio.Protocol):
    """
    One connection: a request, its answer, the next request.
    """

    def __init__(self, model: Model) -> None:
        self._model = model
        self._received = b""
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """
        Keep the way back.
        """
        self._transport = cast("asyncio.Transport", transport)  # uvloop's own class

    def connection_lost(self, _error: Exception | None) -> None:
        """
        Forget the way back.
        """
        self._transport = None

    def data_received(self, data: bytes) -> None:
        """
        Take bytes in; begin when a request is complete.
        """
        self._received += data
        head_end = self._received.find(b"\r\n\r\n")
        if head_end < 0:
            return
        length = _LENGTH.search(self._received, 0, head_end)
        end = head_end + 4 + (int(length[1]) if length else 0)
        if len(self._received) >= end:
            request, self._received = self._received[:end], self._received[end:]
            self._begin(request.split(b" ", 2)[1])

    def _begin(self, path: bytes) -> None:
        if path == COUNTS.encode():
            self._answer(json.dumps({"calls": self._model.calls, "most": self._model.most}).encode())
            return
        self._model.begun()
        asyncio.get_running_loop().call_later(LATENCY, self._end, _BODIES[path.partition(b"?")[0]])

    def _end(self, body: bytes) -> None:
        self._model.now -= 1
        self._answer(body)

    def _answer(self, body: bytes) -> None:
        if self._transport is None:
            return  # it hung up
        head = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n"
        self._transport.write(head % len(body) + body)


_BODIES = {path: json.dumps(answer).encode() for path, answer in ANSWERS.items()}


async def serve() -> None:
    """
    Listen, say where, and go on until killed.
    """
    model = Model()
    server = await asyncio.get_running_loop().create_server(lambda: Connection(model), "127.0.0.1", 0, backlog=4096)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(serve())
