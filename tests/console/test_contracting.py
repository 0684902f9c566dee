"""
`penstock connectors NAME --test`: what is said when it cannot be run, and when it does not reach what was asked for.

That a connector of one's own reaches silver by it is what `docs/howto/write-a-connector.md` shows, as a test.
"""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import connectors
from connectors import quality
from connectors.quality import POINTS, Quality, State, Tier
from console.cli import contracting
from console.cli.front import run

ROOT = Path(__file__).parents[2]
MANIFEST = """
name: desk
description: A desk.
settings:
  url: {description: Its address.}
  token: {description: A token., secret: true}
url: url
auth: {bearer: token}
health: {get: /me, acts_as: body.id, detail: body.id}
"""
TESTS = """
import contextlib
from connectors.testing import ConnectorContract

class TestDesk(ConnectorContract):
    name = "desk"
    environment = {"TOKEN": "canary-token"}
    credential = "TOKEN"
    lacks = {"deliveries": "none", "actions": "none", "sources": "none", "text": "none", "lookup": "none"}

    def settings(self, url):
        return {"url": url, "token": "${env:TOKEN}"}

    def pretend(self):
        raise NotImplementedError
"""


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[Path]:
    """A hub with a connector of its own, and no tests."""
    before = list(connectors.__path__)
    own = tmp_path / "connectors" / "desk"
    own.mkdir(parents=True)
    (own / "manifest.yaml").write_text(MANIFEST)
    yield tmp_path
    connectors.__path__[:] = before


def ran(hub: Path, only: str, *words: str) -> subprocess.CompletedProcess[str]:
    """Run the command in a process of its own, as pytest runs in it, on *only* some of the tests."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "NO_COLOR": "1", "PYTEST_ADDOPTS": f"-k {only}"}
    words = ("-m", "penstock", "connectors", "desk", "--test", "-f", str(hub), *words)
    return subprocess.run(
        [sys.executable, *words], env=environment, capture_output=True, text=True, timeout=60, check=False
    )


def test_tests_that_fall_short(hub: Path) -> None:
    """
    What ran is written down, and what did not is no tier: the command ends with 1. Nothing else is left behind.
    """
    folder = hub / "connectors" / "desk"
    (folder / "test_desk.py").write_text(TESTS)
    ended = ran(hub, "test_what_it_lacks", "--least", "bronze", "--json")
    kept = quality.read(folder)

    assert (ended.returncode, "does not reach bronze" in ended.stderr) == (1, True)
    assert kept is not None
    assert (kept.tier, kept.points[1].state, kept.points[5].state) == (None, "passed", "missing")
    assert json.loads(ended.stdout)["points"]["1"]["state"] == "passed"
    assert {path.name for path in hub.rglob("*") if path.name != "__pycache__" and path.suffix != ".pyc"} == {
        "connectors",
        "desk",
        "manifest.yaml",
        "test_desk.py",
        "quality.json",
    }


def test_a_test_that_fails(hub: Path) -> None:
    """
    The command ends with 1, and says what failed.
    """
    folder = hub / "connectors" / "desk"
    (folder / "test_desk.py").write_text(TESTS)
    (folder / "manifest.yaml").write_text(
        MANIFEST.replace("{bearer: token}", "{bearer: token}\nverify: {secret: token}")
    )
    ended = ran(hub, "test_what_it_lacks")

    assert ended.returncode == 1
    assert "test_what_it_lacks" in ended.stderr


def test_tests_that_are_none(hub: Path) -> None:
    """
    A file in which nothing inherits the contract is told, and no block is written.
    """
    (hub / "connectors" / "desk" / "test_desk.py").write_text("def test_nothing(): pass\n")
    ended = ran(hub, "test_nothing")

    assert ended.returncode == 3
    assert "inherits ConnectorContract" in ended.stderr
    assert quality.read(hub / "connectors" / "desk") is None


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["desk", "--test"], 3, "no test_*.py"),
        (["dusk", "--test"], 3, "no connector 'dusk'"),
        (["--test"], 2, "give its NAME"),
        (["desk", "--least", "platinum"], 2, "platinum"),
    ],
)
def test_what_cannot_be_run(
    hub: Path, capsys: pytest.CaptureFixture[str], words: list[str], code: int, said: str
) -> None:
    """
    One line that says what is missing.
    """
    assert run(["connectors", *words, "-f", str(hub)]) == code
    assert said in capsys.readouterr().err


def test_without_the_test_tools(hub: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """
    It says what to install.
    """
    (hub / "connectors" / "desk" / "test_desk.py").write_text(TESTS)
    found = importlib.util.find_spec

    def none_of_hypothesis(name: str, *more: Any) -> Any:
        return None if name == "hypothesis" else found(name, *more)

    monkeypatch.setattr(importlib.util, "find_spec", none_of_hypothesis)

    assert run(["connectors", "desk", "--test", "-f", str(hub)]) == 3
    assert "penstock[testing]" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("tier", "wanted", "reached"),
    [(None, "bronze", False), ("bronze", "silver", False), ("silver", "silver", True), ("gold", "bronze", True)],
)
def test_tiers(tier: Tier | None, wanted: Tier, *, reached: bool) -> None:
    """
    A higher tier is as good.
    """
    states = {number: State(state="passed") for number in POINTS}
    kept = Quality(connector="x", tier=tier, date="2026-01-05", suite="0", points=states)

    assert contracting.reaches(kept, wanted) is reached
