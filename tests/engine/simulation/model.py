"""
A model behind the HTTP seam: it meters every request that reaches it, whoever is still there to listen.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

import orjson

from ai.models import ModelSpec, Rates
from penstock import http
from penstock.http import MAX_ANSWER, Response
from tests.engine.simulation.journal import Journal, Request
from tests.engine.simulation.process import current
from tests.engine.simulation.wire import Line, Wire

_REF = re.compile(r"ref: (\w+)")
_ID = re.compile(r"^id: (\w+)", re.MULTILINE)
GIVEN, MADE = 40, 7  # tokens that a request and an answer are metered with
COST = GIVEN + 2 * MADE  # micro-USD


def spec(pipeline: str) -> ModelSpec:
    """
    Return a pipeline's own model: by its name the server knows who asks.
    """
    return ModelSpec(
        name=pipeline,
        provider="openai",
        model=pipeline,
        url="https://model.example/v1",
        price=Rates(input=1_000_000, output=2_000_000),
        window=100_000,
    )


class ModelHttp:
    """
    `penstock.http.Http` of one process, with nothing but the model at its other end.
    """

    def __init__(self, line: Line, wire: Wire, journal: Journal, now: Callable[[], float]) -> None:
        self._line = line
        self._wire = wire
        self._journal = journal
        self._now = now

    async def send(
        self,
        request: http.Request,
        *,
        timeout: float,
        fence: Callable[[], None] | None = None,
        max_body: int = MAX_ANSWER,
    ) -> Response:
        body = orjson.loads(request.content)
        text = body["messages"][-1]["content"]
        ref, record = _found(_REF, text), _found(_ID, text)
        pipeline = body["model"]

        def made() -> Request:
            asked = Request((pipeline, ref), (pipeline, record), current(), "ask", self._now())
            self._journal.requests.append(asked)
            return asked

        def serve(asked: Request) -> Response:
            if self._line.trouble == "busy":
                return Response(status=503, body=b'{"error": {"message": "overloaded"}}')
            asked.cost = COST
            return Response(status=200, body=_answer(body, ref))

        return await self._wire.exchange(self._line, made, serve, timeout=timeout, fence=fence)

    async def close(self) -> None:
        """
        Nothing is open.
        """


def _found(pattern: re.Pattern[str], text: str) -> str:
    found = pattern.search(text)
    assert found is not None, text
    return found[1]


def _answer(body: Mapping[str, Any], ref: str) -> bytes:
    said = orjson.dumps({"summary": f"about {ref}"}).decode()
    return orjson.dumps(
        {
            "id": "x",
            "model": body["model"],
            "choices": [{"message": {"content": said}, "finish_reason": "stop"}],
            "usage": {"prompt_tokens": GIVEN, "completion_tokens": MADE},
        }
    )
