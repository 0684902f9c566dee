from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
VENDORS = ("openai", "anthropic", "google.genai", "google.auth", "boto3", "botocore", "azure")
ASKING = """
import sys
from ai.models import ModelSpec
from ai.providers import adapter
from ai.providers.contract import Question
from schemas.entries import Prompt

spec = ModelSpec(name="m", provider=sys.argv[1], model="m", url="http://h", project="p", region="r")
schema = {"type": "object", "properties": {}}
question = Question(spec=spec, prompt=Prompt(system="s", user="u", tokens=2), schema_name="n", schema=schema, room=9)
adapter(spec.provider).request(question, "key")
"""
NEEDS = {
    "openai": {"openai"},
    "azure": {"azure", "openai"},
    "anthropic": {"anthropic"},
    "google": {"google"},
    "vertex": {"vertex", "google"},
    "bedrock": {"bedrock", "anthropic"},
}
"""The files of each provider; Bedrock knows Anthropic's models by Anthropic's names."""


def loaded(code: str, *words: str) -> set[str]:
    """
    Return the modules that a process has loaded after *code*.
    """
    command = [sys.executable, "-c", f"{code}\nprint(*sys.modules)", *words]
    return set(subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True, timeout=60).stdout.split())


@pytest.mark.parametrize("what", ["ai", "console.app"])
def test_the_room_loads_no_provider(what: str) -> None:
    """
    `import ai` loads no vendor's package, no provider's file and no sign-in; nor does the whole hub.
    """
    modules = loaded(f"import sys, {what}")

    assert set() == modules & {*VENDORS, *(f"ai.providers.{name}" for name in (*NEEDS, "offline")), "ai.signin"}


@pytest.mark.parametrize("provider", NEEDS)
def test_asking_one_loads_its_file_only(provider: str) -> None:
    """
    A question to one provider loads what it needs, none of the others, and nobody's SDK.
    """
    modules = loaded(ASKING, provider)

    assert NEEDS[provider] == {name for name in NEEDS if f"ai.providers.{name}" in modules}
    assert set() == modules & set(VENDORS)
