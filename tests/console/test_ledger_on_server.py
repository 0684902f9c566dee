"""
`hub.ledger`: the hub opens it, `doctor` looks at it, `runs` reads it.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import ledger
from console.app import open_hub
from console.cli import exam_ledger
from console.cli.exam import Finding
from penstock.secrets import Secrets
from pipelines import load

ROOT = Path(__file__).parents[2]


SECRETS = (
    "ZENDESK_TOKEN",
    "ZENDESK_HOOK",
    "ZENDESK_HOOK_OLD",
    "GITHUB_TOKEN",
    "GITHUB_HOOK",
    "OPENAI_API_KEY",
    "SLACK_BOT_TOKEN",
    "SLACK_SIGNING_SECRET",
    "MAIL_PASSWORD",
    "SALESFORCE_SECRET",
)


def project(folder: Path) -> Path:
    path = folder / "pipelines.yaml"
    text = (ROOT / "pipelines.yaml").read_text()
    path.write_text(text.replace("hub:\n", "hub:\n  ledger: ${env:PENSTOCK_LEDGER}\n"))
    for part in ("templates", "schemas"):
        shutil.copytree(ROOT / part, folder / part)
    return path


def environment(dsn: str) -> dict[str, str]:
    return {"PENSTOCK_LEDGER": dsn} | {name: f"value-of-{name}" for name in SECRETS}


def penstock(*words: str, folder: Path, dsn: str) -> subprocess.CompletedProcess[str]:
    variables = os.environ | environment(dsn) | {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "penstock", *words]
    return subprocess.run(command, cwd=folder, env=variables, capture_output=True, text=True, check=False)


async def test_a_hub_opens_its_ledger_on_the_server(tmp_path: Path, dsn: str) -> None:
    """
    Nothing of the ledger is in the state folder; what the hub knows is on the server, and `runs` shows it.
    """
    loaded = load(project(tmp_path))
    secrets = Secrets(environment(dsn))
    async with open_hub(loaded.declaration, tmp_path, secrets=secrets) as hub:
        run = ledger.NewRun(
            pipeline="ticket-summary",
            lane="7",
            source="s",
            event_id="1",
            subject="7",
            body_hash="h",
            config_hash="c",
            topic="t",
            partition=0,
            offset=0,
            bus_time=0,
        )
        await hub.ledger.conclude(run, "filtered", "not ours")
        assert hub.ledger.worker
    assert not (tmp_path / ".penstock" / "ledger.db").exists()
    listed = penstock("runs", "--json", folder=tmp_path, dsn=dsn)
    assert listed.returncode == 0, listed.stderr
    assert [one["verdict"] for one in json.loads(listed.stdout)["runs"]] == ["filtered"]


def test_doctor_looks_at_the_server(tmp_path: Path, dsn: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    It says which server is there, and what is wrong with one that is not.
    """
    declaration = load(project(tmp_path)).declaration

    def said(address: str) -> Finding:
        monkeypatch.setenv("PENSTOCK_LEDGER", address)
        return exam_ledger.server(declaration, tmp_path, offline=False)

    assert "PostgreSQL" in said(dsn).says
    gone = said("postgresql://me:cnry_secret@127.0.0.1:1/hub")
    assert gone.state == "down"
    assert "127.0.0.1:1" in gone.says
    assert "cnry" not in str(gone)


def test_doctor_asks_nobody_offline(tmp_path: Path) -> None:
    """
    `--offline` says that the address is set; without it, that it is missing.
    """
    project(tmp_path)

    def state(dsn: str | None) -> str:
        done = penstock("doctor", "--json", "--offline", folder=tmp_path, dsn=dsn or "")
        (found,) = [one for one in json.loads(done.stdout)["findings"] if one["what"] == "ledger"]
        return found["state"]

    assert state("postgresql://127.0.0.1:1/hub") == "note"
    assert state(None) == "bad"
