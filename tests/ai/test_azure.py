from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

import openai as openai_sdk
import orjson
import pytest
from openai.lib._pydantic import _ensure_strict_json_schema

from ai.models import ModelSpec
from ai.providers import azure
from ai.providers.contract import Question
from penstock.secrets import SecretRefs
from tests.ai.questions import PLAIN, PROMPTS, Tape, chat, question, said, spec, turns

RESOURCE = "https://acme.openai.azure.com"


def asked_by_sdk(client: Any, asked: Question, *, reasons: bool) -> None:
    messages: Any = [{"role": "system", "content": asked.prompt.system}] if asked.prompt.system else []
    messages += [{"role": role, "content": text} for role, text in turns(asked)]
    strict: Any = _ensure_strict_json_schema(copy.deepcopy(PLAIN), path=(), root=copy.deepcopy(PLAIN))
    client.chat.completions.create(
        model=asked.spec.model,
        messages=messages,
        max_completion_tokens=300,
        response_format={"type": "json_schema", "json_schema": {"name": "ticket", "schema": strict, "strict": True}},
        **({"reasoning_effort": "low"} if reasons else {"temperature": 0}),
    )


def reasoning(which: ModelSpec) -> bool:
    return "gpt-5" in which.family


KEY = SecretRefs.parse("${env:AZURE_OPENAI_KEY}")
SPECS = [
    spec("azure", "gpt-4o-mini", RESOURCE, key=KEY),
    spec("azure", "gpt-5-mini", RESOURCE, key=KEY),
    spec("azure", "our-small-one", RESOURCE, price_as="azure/gpt-5-mini", key=KEY),
    spec("azure", "our-large-one", RESOURCE, key=KEY),
]


@pytest.mark.parametrize("repair", [False, True])
@pytest.mark.parametrize("prompt", PROMPTS)
@pytest.mark.parametrize("which", SPECS, ids=lambda which: which.model)
@pytest.mark.parametrize("version", ["2024-10-21", "2025-04-01-preview"])
def test_a_dated_request_is_the_sdk_s(which: ModelSpec, version: str, prompt: Any, repair: bool) -> None:
    """
    Under a dated version the official SDK sends the same JSON to the same deployment with the same key.
    """
    which = replace(which, api_version=version)
    asked, tape = question(which, prompt, repair=repair), Tape(chat())
    client = openai_sdk.AzureOpenAI(azure_endpoint=RESOURCE, api_key="k", api_version=version, http_client=tape.client)
    asked_by_sdk(client, asked, reasons=reasoning(which))

    request = azure.request(asked, "k")

    assert orjson.loads(request.content) == tape.body
    assert str(request.url) == str(tape.requests[0].url)
    assert request.headers["api-key"] == tape.requests[0].headers["api-key"]
    assert "authorization" not in request.headers


@pytest.mark.parametrize("which", SPECS, ids=lambda which: which.model)
@pytest.mark.parametrize("url", [RESOURCE, f"{RESOURCE}/", f"{RESOURCE}/openai", f"{RESOURCE}/openai/v1/"])
def test_a_request_of_the_v1_api_is_the_sdk_s(which: ModelSpec, url: str) -> None:
    """
    Without a version the body and the place are those of the SDK at the `v1` API, however the resource is written.
    """
    which = replace(which, url=url)
    asked, tape = question(which), Tape(chat())
    client = openai_sdk.OpenAI(base_url=f"{RESOURCE}/openai/v1/", api_key="k", http_client=tape.client)
    asked_by_sdk(client, asked, reasons=reasoning(which))

    request = azure.request(asked, "k")

    assert orjson.loads(request.content) == tape.body
    assert str(request.url) == str(tape.requests[0].url)
    assert request.headers["api-key"] == "k"


@pytest.mark.parametrize("version", [None, "2024-10-21"])
def test_a_token_goes_where_the_sdk_puts_it(version: str | None) -> None:
    """
    Without a key an access token is a bearer's, as the official SDK sends Entra's; no key goes with it.
    """
    which = spec("azure", "gpt-4o-mini", RESOURCE, api_version=version)
    tape = Tape(chat())
    client = openai_sdk.AzureOpenAI(
        azure_endpoint=RESOURCE, azure_ad_token_provider=lambda: "t", api_version="2024-10-21", http_client=tape.client
    )
    asked_by_sdk(client, question(which), reasons=False)

    for request in (azure.request(question(which), "t"), azure.probe(which, "t")):
        assert request.headers["authorization"] == tape.requests[0].headers["authorization"] == "Bearer t"
        assert "api-key" not in request.headers
        assert "api-key" not in tape.requests[0].headers


@pytest.mark.parametrize(
    ("version", "place"),
    [
        (None, "/openai/v1/chat/completions"),
        ("v1", "/openai/v1/chat/completions"),
        ("preview", "/openai/v1/chat/completions?api-version=preview"),
        ("2024-10-21", "/openai/deployments/a%20b%2Fc/chat/completions?api-version=2024-10-21"),
    ],
)
def test_where_a_deployment_is_asked(version: str | None, place: str) -> None:
    """
    Only a dated version has the deployment in the address, and its name cannot lead anywhere else.
    """
    request = azure.request(question(spec("azure", "a b/c", RESOURCE, api_version=version)), None)

    assert str(request.url) == RESOURCE + place
    assert "api-key" not in request.headers


def test_an_answer_that_the_filter_took() -> None:
    """
    What Azure's filter did to prompt or answer does not hide the rest, and a filtered answer is a refusal.
    """
    message = {"role": "assistant", "content": "{}", "refusal": None}
    filtered = {"hate": {"filtered": True, "severity": "high"}}
    choice = {
        "index": 0,
        "message": message,
        "finish_reason": "content_filter",
        "content_filter_results": filtered,
    }
    body = chat(choices=[choice], prompt_filter_results=[{"prompt_index": 0, "content_filter_results": filtered}])

    reading = azure.read(said(body))

    assert (reading.finish_reason, reading.usage.input) == ("content_filter", 1200)
