"""
What doctor says of a model, at every provider.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import orjson
import pytest
from aiohttp import web

from ai.keyring import Keyring
from ai.models import ModelSpec
from console.cli.exam_network import _model
from penstock.http_aiohttp import AiohttpHttp
from penstock.secrets import SecretRefs, Secrets
from tests.ai.google_cloud import GoogleCloud, Identity

MODELS: dict[str, tuple[dict[str, Any], str]] = {
    "openai": ({"model": "gpt-5-mini"}, "GET /models"),
    "azure": ({"model": "ours"}, "GET /openai/v1/models"),
    "anthropic": ({"model": "claude-haiku-4-5"}, "GET /v1/models"),
    "google": ({"model": "gemini-2.5-flash"}, "GET /v1/models/gemini-2.5-flash"),
    "vertex": (
        {"model": "gemini-2.5-flash", "project": "acme"},
        "POST /v1/projects/acme/locations/global/publishers/google/models/gemini-2.5-flash:countTokens",
    ),
    "bedrock": (
        {"model": "amazon.nova-lite-v1:0", "region": "us-east-1"},
        "POST /model/amazon.nova-lite-v1:0/converse",
    ),
}
REFUSALS: dict[str, tuple[int, Any]] = {
    "google": (400, {"error": {"message": "no", "status": "X", "details": [{"reason": "API_KEY_INVALID"}]}}),
    "bedrock": (403, {"message": "The security token included in the request is invalid."}),
}


@dataclass
class Vendor:
    """
    A server that gives one answer to everything.
    """

    status: int = 200
    body: Any = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    url: str = ""

    async def answer(self, request: web.Request) -> web.Response:
        self.asked.append(f"{request.method} {request.path}")
        return web.Response(status=self.status, body=orjson.dumps(self.body), content_type="application/json")


@pytest.fixture
async def vendor() -> AsyncIterator[Vendor]:
    vendor, app = Vendor(), web.Application()
    app.router.add_route("*", "/{rest:.*}", vendor.answer)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    vendor.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    yield vendor
    await runner.cleanup()


async def looked_at(provider: str, url: str, *, offline: bool = False) -> Any:
    http = AiohttpHttp()
    async with GoogleCloud(identity=Identity()) as cloud:
        given = MODELS[provider][0] | {"url": url, "provider": provider, "name": "small"}
        secrets = Secrets({"KEY": cloud.account if provider == "vertex" else "made-up-key-of-a-test"})
        spec = ModelSpec(key=SecretRefs.parse("${env:KEY}"), **given)
        try:
            return await _model(spec, Keyring(secrets, http), http, offline=offline)
        finally:
            await http.close()


@pytest.mark.parametrize("provider", MODELS)
async def test_a_model_that_answers_is_well(vendor: Vendor, provider: str) -> None:
    """
    One question that costs nothing goes where questions go, and an answer is enough.
    """
    found = await looked_at(provider, vendor.url)

    assert (found.state, vendor.asked) == ("ok", [MODELS[provider][1]])
    assert found.says.startswith(f"{provider}/")


@pytest.mark.parametrize("provider", MODELS)
async def test_a_refused_key_is_told(vendor: Vendor, provider: str) -> None:
    """
    A key that is refused is told apart from a provider that is down, in each provider's own words.
    """
    vendor.status, vendor.body = REFUSALS.get(provider, (401, {}))

    found = await looked_at(provider, vendor.url)

    assert (found.state, found.next) == ("down", "make a new key")


@pytest.mark.parametrize("provider", MODELS)
async def test_a_provider_that_is_down_is_told(vendor: Vendor, provider: str) -> None:
    """
    Errors of the provider, and nobody at the address, are down.
    """
    vendor.status = 503

    states = [(await looked_at(provider, url)).state for url in (vendor.url, "http://127.0.0.1:9")]

    assert ["down", "down"] == states


@pytest.mark.parametrize("provider", MODELS)
async def test_offline_nobody_is_asked(vendor: Vendor, provider: str) -> None:
    """
    With `--offline` the key is looked at and nothing leaves.
    """
    found = await looked_at(provider, vendor.url, offline=True)

    assert (found.state, vendor.asked) == ("note", [])
    assert "key is set" in found.says


async def test_a_machine_that_is_refused_is_no_key(vendor: Vendor, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    Where the hub signs in, a refusal is about who it is: no new key would help.
    """

    async def signed_in(*_: Any, **__: Any) -> list[str]:
        return ["a token"]

    monkeypatch.setattr(Keyring, "of", signed_in)
    vendor.status = 401
    http = AiohttpHttp()
    spec = ModelSpec(name="small", provider="azure", model="ours", url=vendor.url)
    found = await _model(spec, Keyring(Secrets({}), http), http, offline=False)
    offline = await _model(spec, Keyring(Secrets({}), http), http, offline=True)
    await http.close()

    assert (found.state, found.next) == ("down", "give it a role there")
    assert "signs in as this machine" in offline.says
