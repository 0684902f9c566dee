"""
The batch APIs of the model double: OpenAI's files and batches, Anthropic's message batches.

A batch is worked on when its time has come and somebody looks; every question of it is a call like any other.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Literal

import orjson
from aiohttp import web

from ai.providers import dialogue

if TYPE_CHECKING:
    from ai.double import Fault, ModelDouble

LIVES = 86_400.0  # seconds until a batch expires
_ANTHROPIC = "/v1/messages/batches"
Ending = Literal["completed", "cancelled", "expired", "failed"]
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass(kw_only=True)
class Work:
    """
    One batch on the double.
    """

    id: str
    key: str
    at: float
    questions: list[tuple[str, Mapping[str, Any]]]
    """The id of each, and its body."""
    source: str = ""
    metadata: Any = None
    ending: Ending | None = None
    """How it ended; None while it is under way."""
    results: dict[str, tuple[int, Any]] = field(default_factory=dict)
    """Status and body of each question that was asked."""
    cancelled_at: float | None = None
    ended_at: float = 0.0


@dataclass(kw_only=True)
class BatchDouble:
    """
    Files and batches of a model double.
    """

    double: ModelDouble
    seconds: float = 0.0
    """How long a batch takes; infinite for one that never ends by itself."""
    answers: int | None = None
    """How many questions of a batch are asked before it is cancelled or expires; all or none when None."""
    now: Callable[[], float] = time.time
    """UTC seconds."""
    faults: deque[Fault] = field(default_factory=deque)
    """How the next creations fail: `status`, `reset-before`, or `reset-after` the batch was taken."""
    works: dict[str, Work] = field(default_factory=dict)
    files: dict[str, bytes] = field(default_factory=dict)

    def routes(self) -> list[web.RouteDef]:
        """
        Return what the server answers.
        """
        openai, anthropic = self._opened(dialogue.OPENAI), self._opened(dialogue.ANTHROPIC)
        return [
            web.post("/v1/files", openai(self._upload)),
            web.get("/v1/files/{id}/content", openai(self._content)),
            web.post("/v1/batches", openai(self._begin)),
            web.get("/v1/batches", openai(self._list)),
            web.get("/v1/batches/{id}", openai(self._show)),
            web.post("/v1/batches/{id}/cancel", openai(self._cancel)),
            web.post(_ANTHROPIC, anthropic(self._begin_messages)),
            web.get(_ANTHROPIC, anthropic(self._list)),
            web.get(_ANTHROPIC + "/{id}", anthropic(self._show)),
            web.post(_ANTHROPIC + "/{id}/cancel", anthropic(self._cancel)),
            web.get(_ANTHROPIC + "/{id}/results", anthropic(self._results)),
        ]

    def end(self, ending: Ending, work: Work | None = None) -> None:
        """
        End every batch that is under way, or *work*; what was not asked yet stays so unless it is `completed`.
        """
        for one in [work] if work else self.works.values():
            if one.ending is None:
                most = None if ending == "completed" else self.answers or 0
                for name, body in one.questions[:most]:
                    one.results[name] = self._answer(one, body)
                one.ending, one.ended_at = ending, self.now()

    # ---- what every request needs -----------------------------------------------------------

    def _opened(self, words: dialogue.Words) -> Callable[[Handler], Handler]:
        def opened(handler: Handler) -> Handler:
            async def serve(request: web.Request) -> web.StreamResponse:
                if self.double.named(request) is None:
                    return web.json_response(words.error(401, "API key not valid."), status=401)
                try:
                    return await handler(request)
                except KeyError as exc:
                    return web.json_response(words.error(404, f"There is no {exc}."), status=404)
                except (ValueError, TypeError) as exc:
                    return web.json_response(words.error(400, f"We could not use it: {exc}"), status=400)

            return serve

        return opened

    def _answer(self, work: Work, body: Mapping[str, Any]) -> tuple[int, Any]:
        words = dialogue.ANTHROPIC if work.id.startswith("msgbatch") else dialogue.OPENAI
        path = _ANTHROPIC if words is dialogue.ANTHROPIC else "/v1/batches"
        fault = self.double.faults.popleft() if self.double.faults else None
        if fault is not None and fault.kind == "status":
            return fault.status, fault.body or words.error(fault.status, "This is a fault on demand.")
        try:
            asked = words.asked(body)
        except (ValueError, KeyError, TypeError, IndexError) as exc:
            return 400, words.error(400, f"We could not parse the body: {exc!r}")
        replied = self.double.reply(asked, fault)
        call = self.double.keep(path, work.key, asked, replied, fault.kind if fault else "ok")
        return 200, words.reply(asked, replied, call.id)

    def _work(self, request: web.Request) -> Work:
        work = self.works[request.match_info["id"]]
        if work.ending is None:
            if work.cancelled_at is not None:
                self.end("cancelled", work)
            elif self.now() - work.at >= LIVES:
                self.end("expired", work)
            elif self.now() - work.at >= self.seconds:
                self.end("completed", work)
        return work

    async def _taken(self, request: web.Request, work: Work) -> web.StreamResponse:
        fault = self.faults.popleft() if self.faults else None
        if fault is not None and fault.kind == "status":
            words = dialogue.ANTHROPIC if work.id.startswith("msgbatch") else dialogue.OPENAI
            headers = {} if fault.retry_after is None else {"retry-after": f"{fault.retry_after:g}"}
            body = fault.body or words.error(fault.status, "This is a fault on demand.")
            return web.json_response(body, status=fault.status, headers=headers)
        if fault is None or fault.kind == "reset-after":
            self.works[work.id] = work
        if fault is not None:
            assert request.transport is not None
            request.transport.abort()
            return web.Response(status=499)
        return web.json_response(self._told(request, work))

    def _told(self, request: web.Request, work: Work) -> dict[str, Any]:
        if work.id.startswith("msgbatch"):
            return _as_anthropic(work, f"{request.url.origin()}{_ANTHROPIC}/{work.id}/results")
        return self._as_openai(work)

    # ---- what both have ---------------------------------------------------------------------

    async def _show(self, request: web.Request) -> web.StreamResponse:
        return web.json_response(self._told(request, self._work(request)))

    async def _cancel(self, request: web.Request) -> web.StreamResponse:
        work = self.works[request.match_info["id"]]
        if work.ending is not None:
            raise ValueError(f"batch {work.id} has ended")
        work.cancelled_at = self.now()
        return web.json_response(self._told(request, work))

    async def _list(self, request: web.Request) -> web.StreamResponse:
        prefix = "msgbatch" if request.path.startswith(_ANTHROPIC) else "batch"
        newest = [one for one in reversed(self.works.values()) if one.id.startswith(f"{prefix}_")]
        after = request.query.get("after") or request.query.get("after_id")
        if after is not None:
            newest = newest[[one.id for one in newest].index(after) + 1 :]
        most = int(request.query.get("limit", "20"))
        page = [self._told(request, one) for one in newest[:most]]
        ends = {"first_id": page[0]["id"], "last_id": page[-1]["id"]} if page else {"first_id": None, "last_id": None}
        return web.json_response({"object": "list", "data": page, "has_more": len(newest) > most, **ends})

    # ---- OpenAI -----------------------------------------------------------------------------

    async def _upload(self, request: web.Request) -> web.StreamResponse:
        form = await request.post()
        file = form["file"]
        if form.get("purpose") != "batch" or not isinstance(file, web.FileField):
            raise ValueError("a file for the purpose `batch` is needed")
        name = f"file-{len(self.files) + 1}"
        self.files[name] = file.file.read()
        told = {"id": name, "object": "file", "bytes": len(self.files[name]), "created_at": int(self.now())}
        return web.json_response(told | {"filename": file.filename, "purpose": "batch", "status": "processed"})

    async def _content(self, request: web.Request) -> web.StreamResponse:
        return web.Response(body=self.files[request.match_info["id"]], content_type="application/octet-stream")

    async def _begin(self, request: web.Request) -> web.StreamResponse:
        wanted = orjson.loads(await request.read())
        lines = [orjson.loads(line) for line in self.files[wanted["input_file_id"]].splitlines()]
        if wanted["completion_window"] != "24h" or any(line["url"] != wanted["endpoint"] for line in lines):
            raise ValueError("the endpoint or the window is wrong")
        work = Work(
            id=f"batch_{len(self.works) + 1}",
            key=self.double.named(request) or "",
            at=self.now(),
            questions=_distinct([(line["custom_id"], line["body"]) for line in lines]),
            source=wanted["input_file_id"],
            metadata=wanted.get("metadata"),
        )
        return await self._taken(request, work)

    def _as_openai(self, work: Work) -> dict[str, Any]:
        good = [(name, found) for name, found in work.results.items() if found[0] == 200]
        bad = [(name, found) for name, found in work.results.items() if found[0] != 200]
        status = work.ending or ("cancelling" if work.cancelled_at else "in_progress")
        unasked = [name for name, _ in work.questions if name not in work.results] if status == "expired" else []
        error = {"code": "batch_expired", "message": "This request could not be executed before it expired."}
        lines = [_line(name, *found) for name, found in bad]
        lines += [{"id": "r", "custom_id": name, "response": None, "error": error} for name in unasked]
        counts = {"total": len(work.questions), "completed": len(good), "failed": len(bad)}
        errors = {"object": "list", "data": [{"code": "invalid", "message": "The file is refused.", "line": None}]}
        return {
            "id": work.id,
            "object": "batch",
            "endpoint": "/v1/chat/completions",
            "errors": errors if status == "failed" else None,
            "input_file_id": work.source,
            "completion_window": "24h",
            "status": status,
            "output_file_id": self._file(work, "output", [_line(name, *found) for name, found in good]),
            "error_file_id": self._file(work, "error", lines),
            "created_at": int(work.at),
            "expires_at": int(work.at + LIVES),
            "request_counts": counts,
            "metadata": work.metadata,
        }

    def _file(self, work: Work, kind: str, lines: list[dict[str, Any]]) -> str | None:
        if work.ending is None or not lines:
            return None
        name = f"file-{work.id}-{kind}"
        self.files[name] = b"".join(orjson.dumps(line) + b"\n" for line in lines)
        return name

    # ---- Anthropic --------------------------------------------------------------------------

    async def _begin_messages(self, request: web.Request) -> web.StreamResponse:
        wanted = orjson.loads(await request.read())
        work = Work(
            id=f"msgbatch_{len(self.works) + 1}",
            key=self.double.named(request) or "",
            at=self.now(),
            questions=_distinct([(one["custom_id"], one["params"]) for one in wanted["requests"]]),
        )
        return await self._taken(request, work)

    async def _results(self, request: web.Request) -> web.StreamResponse:
        work = self._work(request)
        if work.ending is None:
            raise KeyError("results")
        unasked = "canceled" if work.ending == "cancelled" else "expired"
        lines = (_result(name, work.results.get(name), unasked) for name, _ in work.questions)
        body = b"".join(orjson.dumps(line) + b"\n" for line in lines)
        return web.Response(body=body, content_type="application/x-jsonl")


def _as_anthropic(work: Work, url: str) -> dict[str, Any]:
    over = work.ending is not None
    good = sum(status == 200 for status, _ in work.results.values())
    unasked = len(work.questions) - len(work.results)
    counts = {
        "processing": 0 if over else unasked,
        "succeeded": good,
        "errored": len(work.results) - good,
        "canceled": unasked if work.ending == "cancelled" else 0,
        "expired": unasked if work.ending == "expired" else 0,
    }
    return {
        "id": work.id,
        "type": "message_batch",
        "processing_status": "ended" if over else "canceling" if work.cancelled_at else "in_progress",
        "request_counts": counts,
        "ended_at": _moment(work.ended_at) if over else None,
        "created_at": _moment(work.at),
        "expires_at": _moment(work.at + LIVES),
        "archived_at": None,
        "cancel_initiated_at": _moment(work.cancelled_at) if work.cancelled_at else None,
        "results_url": url if over else None,
    }


def _result(name: str, found: tuple[int, Any] | None, unasked: str) -> dict[str, Any]:
    if found is None:
        return {"custom_id": name, "result": {"type": unasked}}
    status, body = found
    good = {"type": "succeeded", "message": body}
    return {"custom_id": name, "result": good if status == 200 else {"type": "errored", "error": body}}


def _line(name: str, status: int, body: Any) -> dict[str, Any]:
    response = {"status_code": status, "request_id": f"req-{name}", "body": body}
    return {"id": f"batch_req_{name}", "custom_id": name, "response": response, "error": None}


def _distinct(questions: list[tuple[str, Mapping[str, Any]]]) -> list[tuple[str, Mapping[str, Any]]]:
    if not questions or len({name for name, _ in questions}) != len(questions):
        raise ValueError("every question needs an id of its own")
    return questions


def _moment(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat().replace("+00:00", "Z")
