"""
A model server that meters: `python -m benchmarks.quota.meter --log FILE`.

It prints its port. Each API key is an account with a quota of requests and tokens a minute, counted in minutes
of the clock (`fixed`) or over the last 60 seconds (`sliding`). A call takes its input and the room of its answer
from the quota when it comes, as OpenAI counts, and is answered 429 with `retry-after` when they do not fit.
Every answer tells limits and what is left. Each call is a line of the log: account, seconds since the server
began, status, tokens.
"""

from __future__ import annotations

import argparse
import asyncio
import math
import random
import time
from collections import deque
from dataclasses import dataclass, field
from pathlib import Path
from typing import TextIO

import uvloop
from aiohttp import web

MINUTE = 60.0  # seconds
LATENCY = (0.4, 1.2)  # seconds
_ANSWER = (
    '{"summary": "The parcel is late.", "mood": "calm", "next_step": "Ask the carrier.", "language": "en", '
    '"confidence": 0.9}'
)


@dataclass(kw_only=True)
class Account:
    """
    One customer: what it may use, and what it used of late.
    """

    kind: str
    requests: int
    tokens: int
    taken: deque[tuple[float, int]] = field(default_factory=deque)
    """When, and how many tokens."""
    used: int = 0
    """Tokens of those."""

    def take(self, now: float, need: int) -> float:
        """
        Take one request of *need* tokens; return 0, or the seconds until it may fit.
        """
        first = now - MINUTE if self.kind == "sliding" else now - now % MINUTE
        while self.taken and self.taken[0][0] < first:
            self.used -= self.taken.popleft()[1]
        if len(self.taken) < self.requests and self.used + need <= self.tokens:
            self.taken.append((now, need))
            self.used += need
            return 0.0
        if self.kind == "fixed":
            return first + MINUTE - now
        count, used = len(self.taken), self.used
        for at, tokens in self.taken:
            count, used = count - 1, used - tokens
            if count < self.requests and used + need <= self.tokens:
                return max(at + MINUTE - now, 0.001)
        return MINUTE

    def said(self, now: float) -> dict[str, str]:
        """
        Return the headers that tell limits and what is left.
        """
        left, reset = max(0, self.requests - len(self.taken)), self._reset(now, len(self.taken) / self.requests)
        tokens, again = max(0, self.tokens - self.used), self._reset(now, self.used / self.tokens)
        return {
            "x-ratelimit-limit-requests": str(self.requests),
            "x-ratelimit-remaining-requests": str(left),
            "x-ratelimit-reset-requests": f"{reset:.3f}s",
            "x-ratelimit-limit-tokens": str(self.tokens),
            "x-ratelimit-remaining-tokens": str(tokens),
            "x-ratelimit-reset-tokens": f"{again:.3f}s",
        }

    def _reset(self, now: float, share: float) -> float:
        return min(share, 1.0) * MINUTE if self.kind == "sliding" else MINUTE - now % MINUTE


class Meter:
    """
    The server.
    """

    def __init__(self, log: TextIO) -> None:
        self.accounts: dict[str, Account] = {}
        self._log = log
        self._began = time.monotonic()
        self._random = random.Random(7)

    async def account(self, request: web.Request) -> web.Response:
        """
        Open an account, or change its quota; answers how many seconds the server has run.
        """
        asked = await request.json()
        found = self.accounts.setdefault(asked["name"], Account(kind=asked["kind"], requests=1, tokens=1))
        found.requests, found.tokens = asked["requests"], asked["tokens"]
        self._log.flush()
        return web.json_response({"now": time.monotonic() - self._began})

    async def chat(self, request: web.Request) -> web.Response:
        """
        Answer as OpenAI's chat completions do.
        """
        name = request.headers.get("authorization", "").removeprefix("Bearer ")
        body = await request.json()
        given = math.ceil(sum(len(str(message["content"])) for message in body["messages"]) / 4)
        room = body.get("max_completion_tokens") or body.get("max_tokens") or 0
        account, now = self.accounts[name], time.monotonic() - self._began
        wait = account.take(now, given + room)
        headers = account.said(now)
        self._log.write(f"{name} {now:.4f} {429 if wait else 200} {given + room}\n")
        if wait:
            error = {"message": "Rate limit reached.", "type": "requests", "code": "rate_limit_exceeded"}
            headers |= {"retry-after": str(math.ceil(wait)), "retry-after-ms": str(math.ceil(wait * 1000))}
            return web.json_response({"error": error}, status=429, headers=headers)
        await asyncio.sleep(self._random.uniform(*LATENCY))
        message = {"role": "assistant", "content": _ANSWER}
        answer = {
            "id": f"call-{now:.4f}",
            "object": "chat.completion",
            "created": int(time.time()),
            "model": body["model"],
            "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
            "usage": {"prompt_tokens": given, "completion_tokens": 40, "total_tokens": given + 40},
        }
        return web.json_response(answer, headers=headers)


async def _serve(file: Path) -> None:
    with file.open("w", encoding="ascii") as log:
        meter = Meter(log)
        app = web.Application()
        app.add_routes([web.post("/account", meter.account), web.post("/v1/chat/completions", meter.chat)])
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        print(runner.addresses[0][1], flush=True)  # its parent reads it
        while True:
            await asyncio.sleep(1)
            log.flush()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--log", type=Path, required=True)
    uvloop.run(_serve(parser.parse_args().log))
