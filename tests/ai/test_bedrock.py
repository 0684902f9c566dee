from __future__ import annotations

import copy
from typing import Any

import botocore.session
import orjson
import pytest
from botocore.awsrequest import AWSResponse
from botocore.config import Config

from ai.models import ModelSpec
from ai.providers import bedrock
from ai.providers.contract import Question
from ai.providers.dialects import anthropic_strict
from schemas.entries import Usage
from tests.ai.questions import LONG, PLAIN, PROMPTS, question, said, spec, turns
from tests.ai.sigv4 import verified

ID, SECRET, TOKEN = "AKIAMADEUPMADEUP0000", "made/up+secret", "made-up-session-token"
KEY = orjson.dumps({"AccessKeyId": ID, "SecretAccessKey": SECRET, "SessionToken": TOKEN}).decode()
HAIKU = "eu.anthropic.claude-haiku-4-5-20251001-v1:0"
OPUS = "arn:aws:bedrock:us-east-1:123456789012:inference-profile/us.anthropic.claude-opus-5-5"
OLD = "anthropic.claude-3-5-sonnet-20240620-v1:0"
NOVA = "us.amazon.nova-lite-v1:0"
LLAMA = "us.meta.llama4-scout-17b-instruct-v1:0"
QWEN = "qwen.qwen3-32b-v1:0"
MODELS = [HAIKU, OPUS, OLD, NOVA, LLAMA, QWEN]
REGIONS = ["us-east-1", "eu-central-1", "us-gov-west-1", "cn-north-1", "ap-southeast-2"]


def conversation(**changes: Any) -> dict[str, Any]:
    answer = {
        "output": {"message": {"role": "assistant", "content": [{"text": '{"a":1}'}]}},
        "stopReason": "end_turn",
        "usage": {"inputTokens": 176, "outputTokens": 20, "totalTokens": 196},
        "metrics": {"latencyMs": 5},
    }
    return answer | changes


class Recorder:
    """
    AWS's own client, which keeps the request it would send and is given one answer.
    """

    def __init__(self, answer: dict[str, Any], region: str = "us-east-1") -> None:
        session = botocore.session.Session()
        session.set_credentials(ID, SECRET, TOKEN)
        self.client = session.create_client(
            "bedrock-runtime", region_name=region, config=Config(retries={"total_max_attempts": 1})
        )
        self.client.meta.events.register("before-send.bedrock-runtime.Converse", self._play)
        self._answer = answer
        self.sent: Any = None

    def _play(self, request: Any, **_: Any) -> AWSResponse:
        self.sent = request
        raw = type("Raw", (), {"stream": lambda _self, **_k: iter([orjson.dumps(self._answer)])})()
        headers = {"x-amzn-RequestId": "req-1", "content-type": "application/json"}
        return AWSResponse(request.url, 200, headers, raw)

    @property
    def headers(self) -> dict[str, str]:
        return {
            name.lower(): value.decode() if isinstance(value, bytes) else value
            for name, value in self.sent.headers.items()
        }


def asked_by_sdk(asked: Question, recorder: Recorder) -> None:
    model, system = asked.spec.model, asked.prompt.system
    inference: dict[str, Any] = {"maxTokens": 300} | ({} if "anthropic" in model else {"temperature": 0})
    given: dict[str, Any] = {
        "modelId": model,
        "messages": [{"role": role, "content": [{"text": text}]} for role, text in turns(asked)],
        "inferenceConfig": inference,
    }
    if system:
        cached = len(system) > 4096 and ("anthropic" in model or "nova" in model)
        given["system"] = [{"text": system}] + ([{"cachePoint": {"type": "default"}}] if cached else [])
    if model in (HAIKU, OPUS, QWEN):
        schema = orjson.dumps(anthropic_strict(copy.deepcopy(PLAIN))).decode()
        given["outputConfig"] = {
            "textFormat": {
                "type": "json_schema",
                "structure": {"jsonSchema": {"schema": schema, "name": "ticket"}},
            }
        } | ({"effort": "low"} if model == OPUS else {})
    else:
        described = {"name": "ticket", "description": "Gives the answer.", "inputSchema": {"json": PLAIN}}
        choice = {} if model == LLAMA else {"toolChoice": {"tool": {"name": "ticket"}}}
        given["toolConfig"] = {"tools": [{"toolSpec": described}]} | choice
    recorder.client.converse(**given)


@pytest.mark.parametrize("repair", [False, True])
@pytest.mark.parametrize("prompt", PROMPTS)
@pytest.mark.parametrize("model", MODELS)
def test_the_request_is_the_sdk_s(model: str, prompt: Any, repair: bool) -> None:
    """
    AWS's own client, asked the same, sends the same JSON to the same place.
    """
    asked, recorder = question(spec("bedrock", model, region="us-east-1"), prompt, repair=repair), Recorder({})
    asked_by_sdk(asked, recorder)

    request = bedrock.request(asked, KEY)

    assert orjson.loads(request.content) == orjson.loads(recorder.sent.body)
    assert str(request.url) == recorder.sent.url
    assert request.headers["content-type"] == recorder.headers["content-type"]


@pytest.mark.parametrize("region", REGIONS)
def test_the_signature_is_good_where_the_sdk_s_is(region: str) -> None:
    """
    Whoever accepts the signature of AWS's own client accepts ours, for the same key, region and service.
    """
    asked, recorder = question(spec("bedrock", HAIKU, region=region), LONG), Recorder({}, region)
    asked_by_sdk(asked, recorder)
    theirs = verified("POST", recorder.sent.url, recorder.headers, recorder.sent.body, SECRET)

    request = bedrock.request(asked, KEY)

    place = str(request.url)
    assert theirs == verified("POST", place, request.headers, request.content, SECRET) == f"{ID}/{region}/bedrock"
    assert place == recorder.sent.url
    assert request.headers["x-amz-security-token"] == TOKEN
    assert verified("POST", place, request.headers, request.content + b" ", SECRET) is None
    assert verified("POST", place, request.headers, request.content, "another") is None


def test_an_api_key_needs_no_signature() -> None:
    """
    A Bedrock API key is sent as it is, and without any key nothing is.
    """
    asked = question(spec("bedrock", NOVA, "https://vpce-1.example/", region="us-east-1"))

    request = bedrock.request(asked, "bedrock-api-key-1")

    assert request.headers["authorization"] == "Bearer bedrock-api-key-1"
    assert "x-amz-date" not in request.headers
    assert str(request.url) == "https://vpce-1.example/model/us.amazon.nova-lite-v1%3A0/converse"
    assert "authorization" not in bedrock.request(asked, None).headers


@pytest.mark.parametrize(
    ("model", "price_as", "thinks"),
    [
        (HAIKU, None, False),
        (OPUS, None, True),
        (
            "arn:aws:bedrock:us-east-1:1:application-inference-profile/x1",
            "bedrock/us.anthropic.claude-sonnet-5-5",
            True,
        ),
        ("openai.gpt-oss-20b-1:0", None, True),
        (LLAMA, None, False),
    ],
)
def test_who_thinks(model: str, price_as: str | None, thinks: bool) -> None:
    """
    What always reasons is told by the model's own name, wherever it is served.
    """
    which: ModelSpec = spec("bedrock", model, price_as=price_as)

    assert bedrock.thinks(which) is thinks


TOOL = {"toolUse": {"toolUseId": "t", "name": "ticket", "input": {"a": 1}}}
THOUGHT = {"reasoningContent": {"reasoningText": {"text": "hm", "signature": "s"}}}
ANSWERS = [
    conversation(),
    conversation(usage={"inputTokens": 176, "outputTokens": 20, "totalTokens": 1270, "cacheReadInputTokens": 1024, "cacheWriteInputTokens": 50}),
    conversation(output={"message": {"role": "assistant", "content": [THOUGHT, {"text": "{"}, {"text": "}"}]}}),
    conversation(output={"message": {"role": "assistant", "content": [TOOL]}}, stopReason="tool_use"),
    conversation(output={"message": {"role": "assistant", "content": [{"text": "Here it is."}, TOOL]}}, stopReason="tool_use"),
    conversation(stopReason="max_tokens"),
    conversation(stopReason="model_context_window_exceeded"),
    conversation(stopReason="guardrail_intervened"),
    conversation(stopReason="content_filtered", output={"message": {"role": "assistant", "content": []}}),
    conversation(stopReason="stop_sequence", unknown={"x": 1}),
    conversation(stopReason="malformed_model_output"),
]  # fmt: skip


@pytest.mark.parametrize("body", ANSWERS)
def test_an_answer_reads_as_the_sdk_reads_it(body: dict[str, Any]) -> None:
    """
    Text or tool input, request id and token counts are those AWS's client finds in the same bytes; input is the sum.
    """
    recorder = Recorder(body)
    theirs = recorder.client.converse(modelId=NOVA, messages=[{"role": "user", "content": [{"text": "x"}]}])

    ours = bedrock.read(said(body, **{"x-amzn-requestid": "req-1"}))

    content, usage = theirs["output"]["message"]["content"], theirs["usage"]
    inputs = [block["toolUse"]["input"] for block in content if "toolUse" in block]
    if inputs:
        assert orjson.loads(ours.text) == inputs[0]
    else:
        assert ours.text == "".join(block.get("text", "") for block in content)
    finish = {"max_tokens": "length", "model_context_window_exceeded": "context", "guardrail_intervened": "content_filter", "content_filtered": "content_filter"}  # fmt: skip
    assert ours.finish_reason == finish.get(theirs["stopReason"], "stop")
    assert ours.response_id == theirs["ResponseMetadata"]["RequestId"]
    read, written = usage.get("cacheReadInputTokens", 0), usage.get("cacheWriteInputTokens", 0)
    assert ours.usage == Usage(
        input=usage["inputTokens"] + read + written, output=usage["outputTokens"], cache_read=read, cache_write=written
    )


def test_no_usage_is_an_estimate() -> None:
    """
    An answer without token counts is counted by us.
    """
    assert bedrock.read(said(conversation(usage=None))).usage == Usage(estimated=True)
