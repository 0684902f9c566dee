"""
The base of all doubles: a pretended system over real HTTP, with state, auth, webhooks and faults.

A double answers like its vendor, refuses what its vendor refuses, and sends signed webhooks for every
change, ours among them, so that loops are real. `POST /_faults` makes the next requests fail in a
chosen way; `GET /_double/calls` and `calls.jsonl` say what was asked and what took effect.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import time
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

import orjson

from connectors.double_faults import Fault, Faults, hang_up, later
from connectors.double_hooks import Hooks
from connectors.listening import listening

MARK = re.compile(rb"penstock:([0-9a-f]+(?::[0-9a-f]+)?)")
LONGEST_HANG = 3600.0  # seconds
HALF = b'{"id": 1'  # of an answer


class Refusal(Exception):
    """
    The vendor says no.
    """

    def __init__(self, status: int, body: Any) -> None:
        super().__init__(f"{status} {body}")
        self.status = status
        self.body = body


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """
    One request to the double.
    """

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes
    base: str
    """The double's own base URL as the caller used it."""

    def json(self) -> dict[str, Any]:
        """
        Return the body as a JSON object; raises `Refusal`.
        """
        try:
            data = orjson.loads(self.body)
        except ValueError:
            raise Refusal(400, {"message": "Problems parsing JSON"}) from None
        if not isinstance(data, dict):
            raise Refusal(400, {"message": "Body should be a JSON object"})
        return data

    @property
    def mark(self) -> str | None:
        """
        The idempotency key or marker it carries.
        """
        if key := self.headers.get("idempotency-key"):
            return key
        found = MARK.search(self.body)
        return found[1].decode() if found else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Answered:
    """
    What the double answers.
    """

    status: int = 200
    body: Any = None
    headers: Mapping[str, str] = field(default_factory=dict)
    effect: bool = False
    """Whether the request changed anything."""


Handler = Callable[..., Answered]


class Double(ABC):
    """
    A pretended system; an ASGI application.
    """

    routes: tuple[tuple[str, str, str], ...] = ()
    """Method, path pattern and the name of the method that answers."""
    desk: tuple[tuple[str, str, str], ...] = ()
    """The same for `/_double/…`, which needs no auth."""

    def __init__(self, hooks: Hooks, *, calls: Path | None = None) -> None:
        self.hooks = hooks
        self.faults = Faults()
        self.calls: list[dict[str, Any]] = []
        """Every request so far, oldest first."""
        self._file = calls

    @abstractmethod
    def authenticate(self, asked: Asked) -> str | None:
        """
        Return who asks, None when the credential is refused.
        """

    def refused(self) -> Refusal:
        """
        Return what a refused credential is told.
        """
        return Refusal(401, {"error": "Couldn't authenticate you"})

    def unknown(self) -> Refusal:
        """
        Return what an unknown path is told.
        """
        return Refusal(404, {"error": "InvalidEndpoint", "description": "Not found"})

    def extra_headers(self) -> Mapping[str, str]:
        """
        Return the headers of every answer.
        """
        return {}

    def remark(self, asked: Asked) -> Mapping[str, Any]:
        """
        Return what else the log keeps of a request.
        """
        del asked
        return {}

    # ---- ASGI ---------------------------------------------------------------------------------

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            return
        asked = await _asked(scope, receive)
        if asked is None:
            return
        if asked.path == "/_faults" or asked.path.startswith("/_double/"):
            await _reply(send, await self._control(asked))
            return
        fault = self.faults.take(f"{asked.method} {asked.path}")
        await self._answer(asked, fault, send)

    async def _answer(self, asked: Asked, fault: Fault | None, send: Any) -> None:
        kind = fault.kind if fault else ""
        if fault and kind in ("slow", "hang"):
            await asyncio.sleep(min(fault.seconds or LONGEST_HANG, LONGEST_HANG))
        if fault and not fault.effect:
            answered = Answered(status=fault.status, body=fault.body, headers=later(fault))
        else:
            answered = self.act(asked)
        self._log(asked, answered, kind)
        if kind in ("drop-before", "drop-after", "hang"):
            await hang_up(send)
        elif kind == "drop-during":
            await _send(send, _spoken(answered.status), HALF, {"content-type": "application/json"}, more=1000)
            await hang_up(send)
        elif kind == "garbage":
            page = b"<html>not what you asked for"
            await _send(send, _spoken(answered.status), page, {"content-type": "text/html"})
        else:
            headers = {**self.extra_headers(), **answered.headers}
            await _reply(send, Answered(status=answered.status, body=answered.body, headers=headers))

    def act(self, asked: Asked) -> Answered:
        """
        Do what is asked, as the vendor would, and return its answer.
        """
        try:
            actor = self.authenticate(asked)
            if actor is None:
                raise self.refused()
            return self._route(self.routes, asked, actor)
        except Refusal as refusal:
            return Answered(status=refusal.status, body=refusal.body)

    def _route(self, routes: tuple[tuple[str, str, str], ...], asked: Asked, *args: Any) -> Answered:
        for method, pattern, name in routes:
            found = re.fullmatch(pattern, asked.path)
            if found and method == asked.method:
                handler: Handler = getattr(self, name)
                return handler(asked, *args, **found.groupdict())
        raise self.unknown()

    async def _control(self, asked: Asked) -> Answered:
        try:
            if asked.path == "/_faults":
                if asked.method == "DELETE":
                    self.faults.clear()
                else:
                    self.faults.add(Fault.read(asked.json()))
                return Answered(status=204)
            if asked.path == "/_double/calls":
                return Answered(body=self.calls)
            if asked.path == "/_double/deliveries":
                return Answered(body=[delivery.shown() for delivery in self.hooks.deliveries])
            if asked.path == "/_double/hooks":
                wanted = asked.json()
                self.hooks.subscribe(wanted["url"], wanted["secret"])
                return Answered(status=204)
            if asked.path == "/_double/redeliver":
                self.hooks.redeliver(int(asked.query.get("last", "1")))
                return Answered(status=202)
            return self._route(self.desk, asked)
        except Refusal as refusal:
            return Answered(status=refusal.status, body=refusal.body)
        except (KeyError, ValueError, TypeError) as error:
            return Answered(status=400, body={"error": repr(error)})

    def _log(self, asked: Asked, answered: Answered, fault: str) -> None:
        line = {
            "at": time.time_ns() // 1_000_000,
            "method": asked.method,
            "path": asked.path,
            "status": answered.status,
            "mark": asked.mark,
            "effect": answered.effect,
            "fault": fault or None,
            **self.remark(asked),
        }
        self.calls.append(line)
        if self._file is not None:
            with self._file.open("ab") as file:
                file.write(orjson.dumps(line) + b"\n")


@contextlib.asynccontextmanager
async def serving(double: Double, *, host: str = "127.0.0.1", port: int = 0) -> AsyncIterator[str]:
    """
    Serve *double* on *host*:*port* (0: any free one); yields its base URL.
    """
    try:
        async with listening(double, host=host, port=port) as url:
            yield url
    finally:
        await double.hooks.close()


async def _asked(scope: Any, receive: Any) -> Asked | None:
    """
    Return the request; None when its sender was gone before all of it had come.
    """
    parts: list[bytes] = []
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        parts.append(message.get("body", b""))
        if not message.get("more_body"):
            break
    headers = {name.decode("latin-1").lower(): text.decode("latin-1") for name, text in scope["headers"]}
    return Asked(
        method=scope["method"],
        path=scope["path"],
        query=dict(parse_qsl(scope["query_string"].decode())),
        headers=headers,
        body=b"".join(parts),
        base=f"{scope['scheme']}://{headers.get('host', 'localhost')}",
    )


async def _reply(send: Any, answered: Answered) -> None:
    body = b"" if answered.body is None else orjson.dumps(answered.body)
    await _send(send, answered.status, body, {"content-type": "application/json", **answered.headers})


def _spoken(status: int) -> int:
    return 200 if status == 204 else status  # 204 has nothing to say


async def _send(send: Any, status: int, body: bytes, headers: Mapping[str, str], *, more: int = 0) -> None:
    """
    Send an answer that promises as many bytes *more* as it has.
    """
    named = {**headers, "content-length": str(len(body) + more)}
    pairs = [(name.encode(), text.encode()) for name, text in named.items()]
    await send({"type": "http.response.start", "status": status, "headers": pairs})
    await send({"type": "http.response.body", "body": body, "more_body": bool(more)})
