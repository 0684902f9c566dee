"""
AWS Bedrock: Converse, signed with the credentials of a role or opened with an API key.
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import orjson

from ai.errors import AIError, ErrorClass
from ai.providers import anthropic, faults
from ai.providers.contract import FinishReason, Malformed, Question, Reading
from ai.providers.dialects import anthropic_strict, rewritten, tool_input
from penstock.errors import Invalid
from penstock.http import Request, Response
from schemas.entries import Usage

if TYPE_CHECKING:
    from ai.models import ModelSpec

CACHEABLE = 4096  # characters of a stable prefix from which writing it to the provider's cache can pay
_NAME = re.compile(r"^(?:arn:[^/]*/)?(?:(?:global|us|us-gov|eu|apac|jp|au|ca|in)\.)?(.+)$")
_FORMATTED = re.compile(
    r"anthropic\.claude-(?!\d|instant|v2|opus-4-1|(?:sonnet|opus)-4-20|fable-5)|qwen\.qwen3|google\.gemma-3-(?:12|27)b"
    r"|mistral\.(?:magistral-small|ministral-3|mistral-large-3|voxtral)|minimax\.minimax-m2|nvidia\.nemotron-nano"
    r"|moonshot(?:ai)?\.|zai\."
)
_CHOOSES = re.compile(r"anthropic\.|amazon\.nova|zai\.|moonshot|xai\.")
_CACHES = re.compile(r"anthropic\.|amazon\.nova")
_COOL = re.compile(r"anthropic\.|openai\.gpt-[5-9]|xai\.")
_REASONS = re.compile(r"openai\.gpt-|deepseek\.r1|xai\.")
_FINISH: dict[str, FinishReason] = {
    "max_tokens": "length",
    "model_context_window_exceeded": "context",
    "guardrail_intervened": "content_filter",
    "content_filtered": "content_filter",
    "refusal": "content_filter",
}
_TYPES: dict[str, ErrorClass] = {
    "ThrottlingException": "rate_limited",
    "ServiceQuotaExceededException": "quota",
    "AccessDeniedException": "auth",
    "ExpiredTokenException": "auth",
    "ExpiredToken": "auth",
    "UnrecognizedClientException": "auth",
    "InvalidSignatureException": "auth",
    "IncompleteSignatureException": "auth",
    "MissingAuthenticationTokenException": "auth",
    "ResourceNotFoundException": "not_found",
    "ModelTimeoutException": "timeout",
    "ModelNotReadyException": "overloaded",
    "ServiceUnavailableException": "overloaded",
    "ModelErrorException": "server",
    "ModelStreamErrorException": "server",
    "InternalServerException": "server",
}
_NO_SUCH_MODEL = re.compile(r"model identifier is invalid|on-demand throughput isn.t supported|end of its life")
_NO_MONEY = re.compile(r"tokens per day|payment.instrument", re.IGNORECASE)


def thinks(spec: ModelSpec) -> bool:
    """
    Tell whether the model always reasons before it answers.
    """
    name = _name(spec)
    return _REASONS.match(name) is not None or anthropic.always_thinks(name.removeprefix("anthropic."))


def _name(spec: ModelSpec) -> str:
    """
    Return the model's own name, without where it is served; `price_as` tells it for a profile of one's own.
    """
    found = _NAME.match(spec.family)
    return found[1] if found else spec.family


def request(question: Question, key: str | None) -> Request:
    """
    Build the request, with the body that the official SDK would send.

    *key* is an API key, or what AWS gives as credentials: JSON with `AccessKeyId` and the rest.
    """
    return _opened(question.spec, key, _body(question))


def probe(spec: ModelSpec, key: str | None) -> Request:
    """
    Ask nothing, which is refused at no cost after the credentials were looked at.
    """
    return _opened(spec, key, {})


def _opened(spec: ModelSpec, key: str | None, body: dict[str, Any]) -> Request:
    base = (spec.url or _host(spec.region or "")).rstrip("/")
    headers = {"content-type": "application/json", "accept": "application/json"}
    signed_in = key is not None and key.startswith("{")
    if key and not signed_in:
        headers["authorization"] = f"Bearer {key}"
    asked = Request.to("POST", f"{base}/model/{quote(spec.model, safe='')}/converse", headers=headers, json=body)
    return _signed(asked, key or "", spec.region or "") if signed_in else asked


def _host(region: str) -> str:
    return f"https://bedrock-runtime.{region}.amazonaws.com" + (".cn" if region.startswith("cn-") else "")


def _signed(request: Request, key: str, region: str) -> Request:
    try:
        from botocore.auth import SigV4Auth  # slow to load, and only needed to sign
        from botocore.awsrequest import AWSRequest
        from botocore.credentials import Credentials
    except ImportError:
        raise Invalid("AWS credentials need botocore", hint="install penstock[bedrock]") from None
    given = orjson.loads(key)
    who = Credentials(given["AccessKeyId"], given["SecretAccessKey"], given.get("SessionToken"))
    unsigned = AWSRequest(request.method, str(request.url), dict(request.headers), request.content)
    SigV4Auth(who, "bedrock", region).add_auth(unsigned)
    return replace(request, headers={name.lower(): value for name, value in unsigned.headers.items()})


def _body(question: Question) -> dict[str, Any]:
    name = _name(question.spec)
    inference: dict[str, Any] = {"maxTokens": question.room}
    if not _COOL.match(name):
        inference["temperature"] = 0
    body: dict[str, Any] = {"messages": _messages(question), "inferenceConfig": inference}
    if system := question.prompt.system:
        body["system"] = [{"text": system}]
        if len(system) >= CACHEABLE and _CACHES.match(name):
            body["system"].append({"cachePoint": {"type": "default"}})
    if _FORMATTED.match(name):
        body["outputConfig"] = _formatted(question)
    else:
        body["toolConfig"] = _tool(question, chooses=_CHOOSES.match(name) is not None)
    return body


def _formatted(question: Question) -> dict[str, Any]:
    schema = orjson.dumps(rewritten(anthropic_strict, question.schema)).decode()
    structure = {"jsonSchema": {"schema": schema, "name": question.schema_name}}
    effort = {"effort": "low"} if thinks(question.spec) else {}
    return {"textFormat": {"type": "json_schema", "structure": structure}} | effort


def _tool(question: Question, *, chooses: bool) -> dict[str, Any]:
    """
    Offer a tool whose input is the answer, where a model has no structured output of its own.
    """
    name = question.schema_name
    described = {"name": name, "description": "Gives the answer.", "inputSchema": {"json": tool_input(question.schema)}}
    choice = {"toolChoice": {"tool": {"name": name}}} if chooses else {}
    return {"tools": [{"toolSpec": described}]} | choice


def _messages(question: Question) -> list[dict[str, Any]]:
    said = [("user", question.prompt.user)]
    if question.repair:
        said += [("assistant", question.repair.said), ("user", question.repair.complaint)]
    return [{"role": role, "content": [{"text": text}]} for role, text in said]


def classify(response: Response) -> AIError | None:
    """
    Return the error that *response* stands for; None for a success.
    """
    if response.status == 200:
        return None
    part = faults.error_part(response)
    message = faults.word(part, "message") or faults.word(part, "Message")
    return faults.fault(_class(response, part, message), response, message)


def _class(response: Response, part: dict[str, Any], message: str) -> ErrorClass:
    if _NO_MONEY.search(message):
        return "quota"
    if response.status in (400, 413) and faults.says_too_long(message):
        return "context_too_long"
    if _NO_SUCH_MODEL.search(message):
        return "not_found"
    named = response.headers.get("x-amzn-errortype") or faults.word(part, "__type")
    kind = named.partition(":")[0].rpartition("#")[2]
    return _TYPES.get(kind) or faults.by_status(response.status)


def read(response: Response) -> Reading:
    """
    Read a success; raises `Malformed`.
    """
    try:
        body = response.json()
        blocks = body["output"]["message"]["content"]
        inputs = [block["toolUse"]["input"] for block in blocks if "toolUse" in block]
        text = orjson.dumps(inputs[0]).decode() if inputs else "".join(block.get("text", "") for block in blocks)
        stop = faults.word(body, "stopReason")
    except (ValueError, KeyError, TypeError, AttributeError) as exc:
        raise Malformed("the answer is not a conversation's") from exc
    return Reading(
        text=text,
        finish_reason=_FINISH.get(stop, "stop"),
        usage=_usage(body.get("usage")),
        response_id=response.headers.get("x-amzn-requestid"),
    )


def _usage(usage: Any) -> Usage:
    plain, made = faults.count(usage, "inputTokens"), faults.count(usage, "outputTokens")
    if plain is None or made is None:
        return Usage(estimated=True)
    read_tokens = faults.count(usage, "cacheReadInputTokens") or 0
    write_tokens = faults.count(usage, "cacheWriteInputTokens") or 0
    return Usage(
        input=plain + read_tokens + write_tokens, output=made, cache_read=read_tokens, cache_write=write_tokens
    )
