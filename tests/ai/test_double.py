from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Any

import httpx
import openai
import orjson
import pytest

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
