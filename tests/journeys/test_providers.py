"""
The same pipeline over every provider: one line of YAML differs.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import orjson
import pytest

import pipelines
from ai import prices
from ai.double import ModelDouble
from connectors.double import serving
from connectors.zendesk.double import AGENT_EMAIL, TOKEN, ZendeskDouble
from console.app import open_hub
from console.serving import listening
from console.testing import overlay
from ledger.contract import RunQuery
from penstock import HOUSE
from penstock.secrets import Secrets
from pipelines import check
from pipelines.models import model_spec
from schemas.entries import RunDetail
from tests.ai.google_cloud import GoogleCloud, Identity

KEY = "sk-test-0123456789abcdef"
HOOK = "journey-signing-secret"
ROLE = {"AWS_ACCESS_KEY_ID": "AKIAMADEUPMADEUP0001", "AWS_SECRET_ACCESS_KEY": "made-up-secret-of-a-role"}
LINES = {
    "openai": 'small: {provider: openai, model: gpt-5-mini, key: "${env:KEY}", url: "URL/v1", price_as: openai/gpt-5-mini}',
    "azure": 'small: {provider: azure, model: ours, key: "${env:KEY}", url: "URL", price_as: azure/gpt-5-mini}',
    "azure, dated": 'small: {provider: azure, model: gpt-4o-mini, key: "${env:KEY}", url: "URL", api_version: 2024-10-21}',
    "anthropic": 'small: {provider: anthropic, model: claude-haiku-4-5, key: "${env:KEY}", url: "URL", price_as: anthropic/claude-haiku-4-5}',
    "google": 'small: {provider: google, model: gemini-2.5-flash, key: "${env:KEY}", url: "URL"}',
    "vertex": 'small: {provider: vertex, model: gemini-2.5-flash, project: acme, region: europe-west4, key: "${env:ACCOUNT}", url: "URL"}',
    "bedrock": 'small: {provider: bedrock, model: "us.amazon.nova-lite-v1:0", region: us-east-1, url: "URL"}',
    "bedrock, formatted": 'small: {provider: bedrock, model: "eu.anthropic.claude-haiku-4-5-20251001-v1:0", region: eu-central-1, key: "${env:KEY}", url: "URL"}',
}
_NOT_YET = (None, "own-write")


@pytest.fixture
async def cloud() -> AsyncIterator[GoogleCloud]:
    async with GoogleCloud(identity=Identity()) as cloud:
        yield cloud


class Keys(dict[str, str]):
    """
    The keys of the double; a cloud's tokens are good too.
    """

    def __init__(self, cloud: GoogleCloud) -> None:
        super().__init__(main=KEY, role=ROLE["AWS_ACCESS_KEY_ID"])
        self._cloud = cloud

    def items(self) -> Any:
        return [*super().items(), *((token, token) for token in self._cloud.given)]


async def answered(root: Path, desk: ZendeskDouble, secrets: dict[str, str]) -> RunDetail:
    """
    Run the hub in *root* until one ticket has its verdict.
    """
    declared = pipelines.load(root / "pipelines.yaml").declaration
    assert declared is not None
    async with open_hub(declared, root, secrets=Secrets(secrets)) as hub:
        await hub.engine.start()
        try:
            async with listening(hub, "127.0.0.1", 0) as own, asyncio.timeout(60):
                desk.hooks.subscribe(f"{own}/in/helpdesk", HOOK)
                text = "Order A-10042 has not arrived. Please say where it is."
                ticket = desk.opened(subject="Where is order A-10042?", description=text, requester_id=1)
                about = RunQuery(subject=str(ticket["id"]))
                while not (found := [run for run in await hub.ledger.runs(about) if run.verdict not in _NOT_YET]):
                    await asyncio.sleep(0.02)
            detail = await hub.ledger.detail(found[-1].run)
        finally:
            await hub.engine.stop()
    assert detail is not None
    return detail


@pytest.mark.parametrize("provider", LINES)
async def test_one_line_changes_the_provider(
    tmp_path: Path, cloud: GoogleCloud, monkeypatch: Any, provider: str
) -> None:
    """
    With another line in `models` the same ticket gets an answer of the same shape, at the price of that model.
    """
    for name, value in ROLE.items():
        monkeypatch.setenv(name, value)
    desk = ZendeskDouble(email=AGENT_EMAIL)
    async with ModelDouble(keys=Keys(cloud)) as model, serving(desk) as url:
        laid = {
            "connections.helpdesk.url": url,
            "models": {"small": "HERE"},
            "pipelines.ticket-summary.limits.per_event": "0.05 USD",
        }
        root = overlay(HOUSE, tmp_path / "hub", laid, pipelines=["ticket-summary"])
        file = root / "pipelines.yaml"
        file.write_text(re.sub(r"small: HERE", lambda _: LINES[provider].replace("URL", model.url), file.read_text()))
        checked = check.run(file)
        secrets = {"ZENDESK_TOKEN": TOKEN, "ZENDESK_HOOK": HOOK, "KEY": KEY, "ACCOUNT": cloud.account}

        detail = await answered(root, desk, secrets)

    (call,) = detail.calls
    declared = pipelines.load(file).declaration
    assert declared is not None
    price = prices.find(model_spec("small", declared.models["small"]))
    assert price is not None
    assert [] == [finding for finding in checked.findings if finding.severity == "error"]
    assert detail.run.verdict == "delivered"
    answer = detail.steps[0].result["output"]
    assert {"summary", "mood"} <= set(answer)
    assert set(answer) <= set(orjson.loads((root / "schemas" / "ticket-summary.json").read_bytes())["properties"])
    assert (call.usage.input, call.usage.output) == model.metered
    assert detail.run.cost == call.cost == price.cost(call.usage) > 0
    assert provider.startswith(call.provider)
