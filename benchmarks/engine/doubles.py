"""
A model and a desk in one process of their own: `python -m benchmarks.engine.doubles --seed 1 --calls FILE`.

It prints its port. Both take exactly the seconds the workload draws for the event, whoever asks, and
write every call down: `model|desk number start end` in monotonic seconds, with an end of 0 for a call
whose caller hung up. That file is the truth the judge goes by. It shares the processor with who is
measured, so HTTP is read by hand.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import re
import time
from pathlib import Path
from typing import TextIO, cast

import uvloop

from benchmarks.engine.workload import Kind, Workload, reference

_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_REFERENCE = re.compile(rb"REF-(\d{7})")
_COMMENTS = b"/api/v2/tickets/"
_RATE = b"x-rate-limit: 6000000\r\n"  # a minute: the desk holds nobody back
COUNTS = "/_counts"  # how many calls have begun, and ended by kind; also writes the file out


class Doubles:
    """
    What both know: how long to take, what was done, what to say.
    """

    def __init__(self, seed: int, calls: TextIO) -> None:
        self._workload = Workload(seed=seed, events=0, keys=0)
        self._calls = calls
        self.counts: dict[str, int] = {"begun": 0, "model": 0, "desk": 0}
        self.notes: dict[bytes, list[bytes]] = {}
        """What was written, by the path of its ticket: whoever lost an answer looks."""

    def seconds(self, kind: Kind, number: int) -> float:
        """
        Return how long this call takes, which begins.
        """
        self.counts["begun"] += 1
        return self._workload.seconds(kind, number)

    def log(self, kind: Kind, number: int, start: float, end: float) -> None:
        """
        Write one call down.
        """
        self.counts[kind] += end > 0
        self._calls.write(f"{kind} {number} {start:.6f} {end:.6f}\n")

    def told(self, path: bytes) -> bytes:
        """
        Answer a question that is no work.
        """
        if path == COUNTS.encode():
            self._calls.flush()
            return json.dumps(self.counts).encode()
        if path.startswith(_COMMENTS):
            ticket = path.partition(b"/comments")[0]
            notes = [json.loads(body)["ticket"]["comment"] for body in self.notes.get(ticket, [])]
            return json.dumps({"comments": [{"author_id": 42, **note} for note in notes]}).encode()
        return b'{"user": {"id": 42, "name": "Bench", "email": "hub@bench.example"}}'


class Connection(asyncio.Protocol):
    """
    One connection: a request, its answer, the next request.
    """

    def __init__(self, doubles: Doubles) -> None:
        self._doubles = doubles
        self._received = b""
        self._transport: asyncio.Transport | None = None
        self._under_way: tuple[Kind, int, float] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """
        Keep the way back.
        """
        self._transport = cast("asyncio.Transport", transport)  # uvloop's own class

    def connection_lost(self, _error: Exception | None) -> None:
        """
        Note a caller who did not wait for the answer.
        """
        self._transport = None
        if self._under_way is not None:
            self._doubles.log(*self._under_way, 0.0)

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
            self._begin(request, head_end)

    def _begin(self, request: bytes, head_end: int) -> None:
        method, path = request[: request.index(b" HTTP/")].split(b" ", 1)
        found = None if method == b"GET" else _REFERENCE.search(request, head_end)
        if found is None:
            self._answer(self._doubles.told(path))
            return
        kind: Kind = "model" if path.startswith(b"/v1/") else "desk"
        if kind == "desk":
            self._doubles.notes.setdefault(path.removesuffix(b".json"), []).append(request[head_end + 4 :])
        number = int(found[1])
        self._under_way = (kind, number, time.monotonic())
        seconds = self._doubles.seconds(kind, number)
        asyncio.get_running_loop().call_later(seconds, self._end, kind, number, len(request))

    def _end(self, kind: Kind, number: int, size: int) -> None:
        if self._transport is None or self._under_way is None:
            return  # it hung up
        (*_, start), self._under_way = self._under_way, None
        self._doubles.log(kind, number, start, time.monotonic())
        self._answer(_completion(number, size) if kind == "model" else _audit(number))

    def _answer(self, body: bytes) -> None:
        assert self._transport is not None
        head = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n%bcontent-length: %d\r\n\r\n"
        self._transport.write(head % (_RATE, len(body)) + body)


def _completion(number: int, size: int) -> bytes:
    """
    Return a chat completion about event *number*; it says nothing the ticket does not.
    """
    said = {
        "summary": f"The customer asks about order {reference(number)}: it is late, and nobody answered so far.",
        "mood": "annoyed",
        "next_step": "Call the courier.",
        "language": "en",
        "confidence": 0.9,
    }
    message = {"role": "assistant", "content": json.dumps(said), "refusal": None}
    answer = {
        "id": f"bench-{number}",
        "object": "chat.completion",
        "created": 0,
        "model": "bench",
        "choices": [{"index": 0, "finish_reason": "stop", "message": message}],
        "usage": {"prompt_tokens": size // 5, "completion_tokens": 60, "total_tokens": size // 5 + 60},
    }
    return json.dumps(answer).encode()


def _audit(number: int) -> bytes:
    answer = {"ticket": {"id": number, "updated_at": "2026-01-05T09:00:00Z"}, "audit": {"events": [{"id": number}]}}
    return json.dumps(answer).encode()


async def serve(doubles: Doubles, port: int) -> None:
    """
    Listen, say where, and go on until killed.
    """
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Connection(doubles), "127.0.0.1", port, backlog=4096)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


def main() -> None:
    """
    Serve until stopped.
    """
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--calls", type=Path, required=True)
    parser.add_argument("--port", type=int, default=0)
    given = parser.parse_args()
    with given.calls.open("a", encoding="ascii") as calls:
        uvloop.run(serve(Doubles(given.seed, calls), given.port))


if __name__ == "__main__":
    main()
