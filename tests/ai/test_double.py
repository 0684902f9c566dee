from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Any

import anthropic
import httpx
import openai
import orjson
import pytest
from openai.types.chat import ChatCompletion

from ai.double import Fault, ModelDouble

SCHEMA = {
    "type": "object",
    "additionalProperties": False,
    "required": ["mood"],
    "properties": {"mood": {"enum": ["calm", "angry"]}},
}
BODY = {
    "model": "m-1",
    "max_tokens": 100,
    "messages": [{"role": "user", "content": "<ticket>\nsubject: This is unacceptable and I am furious\n</ticket>"}],
    "response_format": {"type": "json_schema", "json_schema": {"name": "t", "strict": True, "schema": SCHEMA}},
}  # fmt: skip


async def test_it_meters_and_logs(tmp_path: Path) -> None:
    """
    Every call is counted and written down by the key's name, with a hash and the start of the question.
    """
    log = tmp_path / "calls.jsonl"
    async with ModelDouble(keys={"support": "sk-canary-1"}, log=log) as double, httpx.AsyncClient() as client:
        headers = {"authorization": "Bearer sk-canary-1"}

        answer = await client.post(f"{double.url}/v1/chat/completions", json=BODY, headers=headers)

        (entry,) = [orjson.loads(line) for line in log.read_bytes().splitlines()]
        usage = answer.json()["usage"]
        assert orjson.loads(answer.json()["choices"][0]["message"]["content"]) == {"mood": "angry"}
        assert (entry["key"], entry["model"], entry["outcome"]) == ("support", "m-1", "ok")
        assert (entry["input"], entry["output"]) == (usage["prompt_tokens"], usage["completion_tokens"])
        assert double.metered == (entry["input"], entry["output"])
        assert (len(entry["question"]), entry["begins"][:8]) == (64, "<ticket>")
        assert b"canary" not in log.read_bytes()


async def test_it_refuses_an_unknown_key() -> None:
    """
    A wrong key is 401 in the provider's words, and no call is counted.
    """
    async with ModelDouble(keys={"support": "sk-1"}) as double, httpx.AsyncClient() as client:
        answer = await client.post(f"{double.url}/v1/chat/completions", json=BODY)

        assert (answer.status_code, answer.json()["error"]["code"], double.calls) == (401, "invalid_api_key", [])


@pytest.mark.parametrize("change", [{"messages": []}, {"response_format": None}, {"max_tokens": None}, {"model": None}])
async def test_it_refuses_what_the_vendor_refuses(change: dict[str, Any]) -> None:
    """
    A body without its parts is 400 and counts nothing.
    """
    body = {name: value for name, value in (BODY | change).items() if value is not None}
    async with ModelDouble() as double, httpx.AsyncClient() as client:
        answer = await client.post(f"{double.url}/v1/chat/completions", json=body)

        assert (answer.status_code, double.calls) == (400, [])


async def test_faults_over_http() -> None:
    """
    Faults asked for over HTTP hit the next calls, in order, and then it works again.
    """
    async with ModelDouble() as double, httpx.AsyncClient() as client:
        await client.post(f"{double.url}/_faults", json=[{"kind": "status", "status": 429, "retry_after": 3, "n": 2}])

        answers = [await client.post(f"{double.url}/v1/chat/completions", json=BODY) for _ in range(3)]

        assert [answer.status_code for answer in answers] == [429, 429, 200]
        assert answers[0].headers["retry-after"] == "3"
        assert len((await client.get(f"{double.url}/_calls")).json()) == 1


async def test_the_official_sdk_understands_it() -> None:
    """
    OpenAI's own client reads the double's answers and errors as its own.
    """
    async with (
        ModelDouble() as double,
        openai.AsyncOpenAI(api_key="k", base_url=double.openai_url, max_retries=0) as client,
    ):
        answer = await client.chat.completions.create(**BODY)  # type: ignore[call-overload]
        double.faults.append(Fault(kind="status", status=429))
        with pytest.raises(openai.RateLimitError):
            await client.chat.completions.create(**BODY)  # type: ignore[call-overload]

    assert answer.choices[0].message.content == '{"mood":"angry"}'


async def test_it_runs_alone(tmp_path: Path) -> None:
    """
    As a process it prints its port and serves.
    """
    log = tmp_path / "calls.jsonl"
    command = [sys.executable, "-m", "ai.double", "--port", "0", "--calls", str(log), "--key", "a=sk-1"]
    root = Path(__file__).parents[2]
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE, cwd=root)
    try:
        assert process.stdout is not None
        port = int(await process.stdout.readline())
        async with httpx.AsyncClient(timeout=60) as client:
            url = f"http://127.0.0.1:{port}/v1/chat/completions"
            answer = await client.post(url, json=BODY, headers={"authorization": "Bearer sk-1"})
    finally:
        process.terminate()
        await process.wait()

    assert answer.status_code == 200
    assert len(log.read_bytes().splitlines()) == 1


async def test_openais_sdk_sends_a_batch_to_it() -> None:
    """
    OpenAI's own client uploads, begins, lists, cancels and reads batches; a question that fails is in the file of errors.
    """
    lines = [{"custom_id": f"q{n}", "method": "POST", "url": "/v1/chat/completions", "body": BODY} for n in range(3)]
    jsonl = b"\n".join(orjson.dumps(line) for line in lines)
    async with (
        ModelDouble(keys={"support": "sk-1"}) as double,
        openai.AsyncOpenAI(api_key="sk-1", base_url=double.openai_url, max_retries=0) as client,
    ):
        double.batches.seconds = float("inf")
        file = await client.files.create(file=("q.jsonl", jsonl), purpose="batch")
        made = [
            await client.batches.create(
                input_file_id=file.id, endpoint="/v1/chat/completions", completion_window="24h", metadata={"n": str(n)}
            )
            for n in range(2)
        ]
        listed = [one.id async for one in client.batches.list(limit=1)]
        early = await client.batches.retrieve(made[0].id)
        await client.batches.cancel(made[1].id)
        stopped = await client.batches.retrieve(made[1].id)
        double.faults.append(Fault(kind="status", status=429))
        double.batches.end("completed")
        done = await client.batches.retrieve(made[0].id)
        good = (await client.files.content(done.output_file_id or "")).text.splitlines()
        bad = (await client.files.content(done.error_file_id or "")).text.splitlines()
        completion = ChatCompletion.model_validate(orjson.loads(good[0])["response"]["body"])
        with pytest.raises(openai.NotFoundError):
            await client.batches.retrieve("batch_none")

    assert listed == [made[1].id, made[0].id]
    assert (early.status, early.output_file_id, early.metadata) == ("in_progress", None, {"n": "0"})
    assert (stopped.status, stopped.output_file_id) == ("cancelled", None)
    assert (done.status, done.request_counts.completed, done.request_counts.failed) == ("completed", 2, 1)  # type: ignore[union-attr]
    assert [orjson.loads(line)["custom_id"] for line in good] == ["q1", "q2"]
    assert orjson.loads(bad[0])["response"]["status_code"] == 429
    assert orjson.loads(completion.choices[0].message.content or "") == {"mood": "angry"}
    assert len(double.calls) == 2


async def test_anthropics_sdk_sends_a_batch_to_it() -> None:
    """
    Anthropic's own client begins, lists, cancels and reads batches, with every way in which a question can end.
    """
    params: Any = {
        "model": "m-1",
        "max_tokens": 100,
        "messages": BODY["messages"],
        "output_config": {"format": {"type": "json_schema", "schema": SCHEMA}},
    }
    requests: Any = [{"custom_id": f"q{n}", "params": params} for n in range(3)]
    async with (
        ModelDouble() as double,
        anthropic.AsyncAnthropic(api_key="k", base_url=double.url, max_retries=0) as client,
    ):
        double.batches.seconds = float("inf")
        made = [await client.messages.batches.create(requests=requests) for _ in range(2)]
        listed = [one.id async for one in client.messages.batches.list(limit=1)]
        await client.messages.batches.cancel(made[1].id)
        stopped = await client.messages.batches.retrieve(made[1].id)
        stopped_results = [one.result.type async for one in await client.messages.batches.results(made[1].id)]
        double.faults.append(Fault(kind="status", status=529))
        double.batches.answers = 2
        double.batches.end("expired")
        done = await client.messages.batches.retrieve(made[0].id)
        results = {one.custom_id: one.result async for one in await client.messages.batches.results(made[0].id)}

    assert listed == [made[1].id, made[0].id]
    assert made[0].processing_status == "in_progress"
    assert (stopped.processing_status, stopped_results) == ("ended", ["canceled"] * 3)
    assert (done.request_counts.succeeded, done.request_counts.errored, done.request_counts.expired) == (1, 1, 1)
    assert {name: result.type for name, result in results.items()} == {
        "q0": "errored",
        "q1": "succeeded",
        "q2": "expired",
    }
    assert results["q0"].error.error.type == "overloaded_error"  # type: ignore[union-attr]
    assert len(double.calls) == 1
