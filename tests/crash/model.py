"""
The model that the scene asks: it takes its time, and says when an answer has left it whole.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import time
from contextvars import ContextVar
from dataclasses import dataclass
from random import Random

import orjson
from aiohttp import web

from ai.double import Call, ModelDouble
from ai.providers import dialogue

KEY = "sk-crash-harness-"
"""And the worker's name."""
LATENCY = (0.05, 0.6)  # seconds
_came: ContextVar[float] = ContextVar("came")
_served: ContextVar[Call | None] = ContextVar("served", default=None)
_QUESTION = re.compile(r"<(?P<pipeline>\w+) \d+>\s*item: (?P<item>\S+)\s+seq: (?P<seq>\d+)")
PIPELINES = {"keyed": "keyed", "readback": "read-back", "blind": "blind", "burst": "burst"}
"""The sections of the questions, and whose they are."""


@dataclass(kw_only=True)
class Model(ModelDouble):
    """
    A model server whose log also says when each call came, and when its answer had left whole.
    """

    random: Random

    def admit(self, worker: str) -> str:
        """
        Return the key of *worker*, good from now on.
        """
        key = f"{KEY}{worker}"
        self.keys = {**self.keys, worker: key}
        return key

    async def _serve(self, words: dialogue.Words, request: web.Request) -> web.StreamResponse:
        _came.set(time.time())
        try:
            await request.read()
        except ConnectionError:
            return web.Response(status=499)  # its sender died before all of it had come
        await asyncio.sleep(self.random.uniform(*LATENCY))
        response = await super()._serve(words, request)
        call = _served.get()
        with contextlib.suppress(ConnectionError):
            await response.prepare(request)
            await response.write_eof()
            if call is not None:
                self._write({"sent": call.id, "at": time.time()})
        return response

    def keep(self, *args: object) -> Call:
        call = super().keep(*args)  # type: ignore[arg-type]  # as it was called
        _served.set(call)
        self._write({"came": call.id, "at": _came.get()})
        return call

    def _write(self, line: dict[str, object]) -> None:
        assert self.log is not None
        with self.log.open("ab") as file:
            file.write(orjson.dumps(line) + b"\n")


def question(begins: str) -> tuple[str, str, int]:
    """
    Return the pipeline, item and number of the event that a question is about.
    """
    found = _QUESTION.search(begins)
    assert found is not None, f"not a question of ours: {begins!r}"
    return PIPELINES[found["pipeline"]], found["item"], int(found["seq"])
