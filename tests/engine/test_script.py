"""
A rehearsed model speaks in the words of the provider it is asked as.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from ai.models import ModelSpec
from ai.providers import adapter
from console.cli import front
from console.cli.exits import Exit
from engine.props import MadeUpKeys
from engine.script import Script
from tests.ai.questions import question

WORDS = {"summary": "The parcel is late.", "mood": "calm"}
MODELS: dict[str, dict[str, Any]] = {
    "openai": {"model": "gpt-5-mini"},
    "azure": {"model": "ours", "url": "https://acme.openai.azure.com", "api_version": "2024-10-21"},
    "anthropic": {"model": "claude-haiku-4-5"},
    "google": {"model": "gemini-2.5-flash"},
    "vertex": {"model": "gemini-2.5-flash", "project": "acme"},
    "bedrock": {"model": "us.amazon.nova-lite-v1:0", "region": "us-east-1"},
}


@pytest.mark.parametrize("provider", MODELS)
async def test_the_adapter_reads_what_the_script_says(provider: Any) -> None:
    """
    Without a key, a secret or a sign-in the real adapter gets its own vendor's envelope, with counts.
    """
    spec = ModelSpec(name="m", provider=provider, **MODELS[provider])
    script = Script(WORDS)
    words = adapter(provider)

    (key,) = await MadeUpKeys(script).of(spec)
    reading = words.read(await script.send(words.request(question(spec), key), timeout=1))

    assert reading.text == '{"summary":"The parcel is late.","mood":"calm"}'
    assert reading.finish_reason == "stop"
    assert reading.usage.input > 5
    assert reading.usage.output > 5


@pytest.mark.parametrize("provider", MODELS)
def test_a_pipeline_is_tested_without_its_provider(
    provider: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    `penstock test` plays the cases of a pipeline whose model is at any provider, with nothing set.
    """
    assert Exit.OK == front.run(["init", str(tmp_path / "hub")])
    file = tmp_path / "hub" / "pipelines.yaml"
    given = {"provider": provider, "price_as": "openai/gpt-5-mini"} | MODELS[provider]
    line = ", ".join(f'{name}: "{value}"' for name, value in given.items())
    words, changed = re.subn(r"small: \{[^\n]*\}", f'small: {{{line}, key: "${{env:NOT_SET}}"}}', file.read_text())
    file.write_text(words)
    monkeypatch.chdir(tmp_path / "hub")

    assert (changed, front.run(["test"])) == (1, Exit.OK)
