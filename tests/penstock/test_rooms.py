"""
Where the rooms are, and who puts them on the path.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import penstock

ROOT = Path(__file__).resolve().parents[2]


def test_the_house_of_a_checkout_is_its_root() -> None:
    """
    In a checkout the rooms, the templates and the worked examples lie at the top.
    """
    assert ROOT == penstock.HOUSE
    assert all((penstock.HOUSE / name).exists() for name in ("connectors", "templates", "pipelines.yaml"))


def test_rooms_stand_first_on_the_path_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """
    Calling it twice changes the path once; what was on it stays.
    """
    monkeypatch.setattr(sys, "path", ["/elsewhere", str(ROOT)])

    assert penstock.HOUSE == penstock.rooms() == penstock.rooms()
    assert [str(ROOT), "/elsewhere", str(ROOT)] == sys.path


@pytest.mark.parametrize("module", ["penstock", "penstock.errors", "penstock.http", "penstock.log", "penstock.retry"])
def test_importing_leaves_the_path_alone(module: str) -> None:
    """
    Importing us as a library does not touch the path of a process that is not ours.
    """
    script = f"import sys; before = list(sys.path); import {module}; print(before == sys.path)"
    shown = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)

    assert "True\n" == shown.stdout


def test_the_front_door_leads_to_the_command_line(tmp_path: Path) -> None:
    """
    `python -m penstock` works from anywhere, and a command that is not there ends with a usage error.
    """
    done = subprocess.run(
        [sys.executable, "-m", "penstock", "levitate"], cwd=tmp_path, capture_output=True, text=True, check=False
    )

    assert 2 == done.returncode
    assert "levitate" in done.stderr


def test_the_version_is_one() -> None:
    """
    The version in the code is that of the package.
    """
    declared = [
        line for line in (ROOT / "pyproject.toml").read_text("utf-8").splitlines() if line.startswith("version")
    ]

    assert [f'version = "{penstock.__version__}"'] == declared
