"""
A model server for demos and tests: speaks as OpenAI, Azure, Anthropic, Gemini, Vertex AI and Bedrock do,
checks keys, counts tokens, logs every call, and fails on demand.

    async with ModelDouble() as double:
        ModelSpec(..., url=double.openai_url)
        double.faults.extend([Fault(kind="status", status=429, retry_after=2.0)])

Over HTTP: `POST /_faults` with a list of faults, `GET /_calls`. As a process:
`python -m ai.double --port 0 --calls calls.jsonl` prints its port.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import sys
import time
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Literal, Self

import orjson
from aiohttp import web

from ai import tokens
from ai.double_batches import BatchDouble
from ai.providers import dialogue
from ai.providers.dialogue import Asked, Replied
from ai.providers.extract import Source
from ai.providers.filler import fill

MAX_REQUEST = 32 * 1024 * 1024  # bytes
HUGE = 11 * 1024 * 1024  # bytes of the `huge` answer
SHOWN = 80  # characters of a question that the log keeps
DRIP = 64  # bytes per drop

_GENERATE = "{model:[^/:]+}:generateContent"
PATHS: Mapping[str, dialogue.Words] = {
    "/v1/chat/completions": dialogue.OPENAI,
    "/openai/v1/chat/completions": dialogue.OPENAI,
    "/openai/deployments/{model}/chat/completions": dialogue.OPENAI,
    "/v1/messages": dialogue.ANTHROPIC,
    f"/v1/models/{_GENERATE}": dialogue.GEMINI,
    f"/v1/projects/{{project}}/locations/{{region}}/publishers/google/models/{_GENERATE}": dialogue.VERTEX,
    "/model/{model:.+}/converse": dialogue.BEDROCK,
}

FaultKind = Literal[
    "status",  # an error of *status*, with *body* if given
    "hang",  # no answer for *seconds*
    "reset-before",  # the connection breaks before the call counts
    "reset-after",  # the connection breaks after the call was metered
    "malformed",  # a success that is not JSON
    "empty",  # a success without choices or content
    "truncated",  # the answer does not fit its room
    "refusal",  # the model refuses
    "wrong-schema",  # an answer that breaks its schema
    "not-json",  # an answer that is prose
    "invented",  # an answer with an id and an address out of thin air
    "drip",  # the answer comes in drops over *seconds*
    "huge",  # eleven megabytes
    "raw",  # *body* as it is, as a success
]


@dataclass(frozen=True, kw_only=True)
class Fault:
    """
    How the next call fails.
    """

    kind: FaultKind
    status: int = 500
    retry_after: float | None = None
    seconds: float = 3600.0
    body: Any = None
    """Replaces the provider's own error body."""


@dataclass(frozen=True, kw_only=True)
class Call:
    """
    One request that reached a model, as `calls.jsonl` keeps it.
    """

    id: str
    """That of its answer too."""
    at: float
    path: str
    key: str
    """Which of the double's keys was used, by its name, never its value."""
    model: str
    question: str
    """Hash of the user's text."""
    begins: str
    """Its first characters."""
    input: int
    output: int
    outcome: str


@dataclass(kw_only=True)
class ModelDouble:
    """
    A model server in this process.
    """

    keys: Mapping[str, str] = field(default_factory=dict)
    """Name of each key and its value; without any, every key is good."""
    log: Path | None = None
    """Where `calls.jsonl` is kept; nowhere when None."""
    port: int = 0
    answers: deque[str] = field(default_factory=deque)
    """Texts to answer with next, before the offline extract takes over."""
    faults: deque[Fault] = field(default_factory=deque)
    headers: Mapping[str, str] = field(default_factory=dict)
    """What every answer says besides, e.g. of limits."""
    calls: list[Call] = field(default_factory=list)
    batches: BatchDouble = field(init=False)
    """What it knows of batches."""
    _runner: web.AppRunner | None = None

    def __post_init__(self) -> None:
        self.batches = BatchDouble(double=self)

    @property
    def url(self) -> str:
        """
        Where the server listens.
        """
        return f"http://127.0.0.1:{self.port}"

    @property
    def openai_url(self) -> str:
        """
        The base URL for the `openai` provider; the others have `url`.
        """
        return f"{self.url}/v1"

    @property
    def metered(self) -> tuple[int, int]:
        """
        Input and output tokens of all calls.
        """
        return sum(call.input for call in self.calls), sum(call.output for call in self.calls)

    async def __aenter__(self) -> Self:
        app = web.Application(client_max_size=MAX_REQUEST)
        app.add_routes(
            [
                *(web.post(path, partial(self._serve, words)) for path, words in PATHS.items()),
                web.post("/_faults", self._add_faults),
                web.get("/_calls", self._list_calls),
            ]
        )
        app.add_routes(self.batches.routes())
        app.on_response_prepare.append(self._say)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", self.port)
        await site.start()
        self.port = self._runner.addresses[0][1]
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._runner is not None
        await self._runner.cleanup()

    async def _say(self, _request: web.Request, response: web.StreamResponse) -> None:
        response.headers.update(self.headers)

    async def _add_faults(self, request: web.Request) -> web.Response:
        wanted = orjson.loads(await request.read())
        self.faults.extend(_faults(wanted if isinstance(wanted, list) else [wanted]))
        return web.json_response({"waiting": len(self.faults)})

    async def _list_calls(self, _request: web.Request) -> web.Response:
        return web.json_response([asdict(call) for call in self.calls])

    async def _serve(self, words: dialogue.Words, request: web.Request) -> web.StreamResponse:
        named = self.named(request)
        if named is None:
            body = words.error(words.no_key, f"API key not valid: {_key(request)}.")
            return web.json_response(body, status=words.no_key)
        try:
            asked = words.asked(orjson.loads(await request.read()) | request.match_info)
        except (ValueError, KeyError, TypeError, IndexError) as exc:
            return web.json_response(words.error(400, f"We could not parse the body: {exc!r}"), status=400)
        fault = self.faults.popleft() if self.faults else None
        if fault and fault.kind in ("status", "hang", "reset-before"):
            return await _refuse(request, fault, words)
        replied = self.reply(asked, fault)
        call = self.keep(request.path, named, asked, replied, fault.kind if fault else "ok")
        return await _deliver(request, fault, orjson.dumps(words.reply(asked, replied, call.id)))

    def named(self, request: web.Request) -> str | None:
        """
        Return the name of the key a request has; None when it is not known here.
        """
        key = _key(request)
        return next((name for name, value in self.keys.items() if value == key), None if self.keys else "any")

    def reply(self, asked: Asked, fault: Fault | None) -> Replied:
        """
        Return what the model says.
        """
        kind = fault.kind if fault else "ok"
        if kind == "refusal":
            return Replied(text="", finish="refusal", input=asked.input, output=4)
        text = self.answers.popleft() if self.answers and kind == "ok" else _text(asked, kind)
        made = tokens.count(text)
        if kind == "truncated" or made > asked.room:
            return Replied(text=text[: len(text) // 2], finish="length", input=asked.input, output=asked.room)
        return Replied(text=text, finish="stop", input=asked.input, output=made)

    def keep(self, path: str, key: str, asked: Asked, replied: Replied, outcome: str) -> Call:
        """
        Meter and log a call.
        """
        call = Call(
            id=f"call-{len(self.calls) + 1}",
            at=time.time(),
            path=path,
            key=key,
            model=asked.model,
            question=hashlib.sha256(asked.user.encode()).hexdigest(),
            begins=asked.user[:SHOWN],
            input=replied.input,
            output=replied.output,
            outcome=outcome,
        )
        self.calls.append(call)
        if self.log is not None:
            with self.log.open("ab") as file:
                file.write(orjson.dumps(asdict(call)) + b"\n")
        return call


def _key(request: web.Request) -> str:
    for name in ("x-api-key", "api-key", "x-goog-api-key"):
        if name in request.headers:
            return request.headers[name]
    authorization = request.headers.get("authorization", "")
    if authorization.startswith("AWS4"):
        return authorization.partition("Credential=")[2].partition("/")[0]
    return authorization.removeprefix("Bearer ")


def _text(asked: Asked, kind: str) -> str:
    if kind == "not-json":
        return "I am happy to help! The ticket says that the parcel is late."
    if kind == "wrong-schema":
        return '{"surprise": true}'
    filled = fill(asked.schema, Source.of(asked.user))
    if kind == "invented":
        name = next((name for name, value in filled.items() if isinstance(value, str) and len(value) > SHOWN // 4), "")
        filled[name or next(iter(filled))] = "See order ZZ-99887766 at https://evil.example/pay"
    return orjson.dumps(filled).decode()


async def _refuse(request: web.Request, fault: Fault, words: dialogue.Words) -> web.StreamResponse:
    if fault.kind == "hang":
        await asyncio.sleep(fault.seconds)
    if fault.kind != "status":
        return _reset(request)
    headers = {} if fault.retry_after is None else {"retry-after": f"{fault.retry_after:g}"}
    body = fault.body if fault.body is not None else words.error(fault.status, "This is a fault on demand.")
    return web.json_response(body, status=fault.status, headers=headers)


async def _deliver(request: web.Request, fault: Fault | None, body: bytes) -> web.StreamResponse:
    kind = fault.kind if fault else "ok"
    if kind == "reset-after":
        return _reset(request)
    if fault and kind == "drip":
        return await _drip(request, body, fault.seconds)
    if fault and kind == "raw":
        return web.Response(body=fault.body, content_type="application/json")
    replaced = {"malformed": body[: len(body) // 2], "empty": b"{}", "huge": b" " * HUGE + body}
    return web.Response(body=replaced.get(kind, body), content_type="application/json")


async def _drip(request: web.Request, body: bytes, seconds: float) -> web.StreamResponse:
    response = web.StreamResponse(headers={"content-type": "application/json"})
    await response.prepare(request)
    drops = [body[start : start + DRIP] for start in range(0, len(body), DRIP)]
    for drop in drops:
        await response.write(drop)
        await asyncio.sleep(seconds / len(drops))
    return response


def _reset(request: web.Request) -> web.StreamResponse:
    if request.transport is not None:
        request.transport.abort()
    return web.Response(status=499)


def _faults(wanted: Iterable[Mapping[str, Any]]) -> Iterable[Fault]:
    for entry in wanted:
        fault = Fault(**{name: value for name, value in entry.items() if name != "n"})
        yield from [fault] * int(entry.get("n", 1))


async def _run(port: int, log: Path | None, keys: Mapping[str, str]) -> None:
    async with ModelDouble(port=port, log=log, keys=keys) as double:
        sys.stdout.write(f"{double.port}\n")
        sys.stdout.flush()
        await asyncio.Event().wait()


def main() -> None:
    """
    Serve until stopped.
    """
    parser = argparse.ArgumentParser(prog="python -m ai.double", description="A model server for tests.")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--calls", type=Path, default=None)
    parser.add_argument("--key", action="append", default=[], metavar="NAME=VALUE")
    given = parser.parse_args()
    keys = dict(pair.split("=", 1) for pair in given.key)
    try:
        asyncio.run(_run(given.port, given.calls, keys))
    except KeyboardInterrupt:
        sys.exit(0)


if __name__ == "__main__":
    main()
