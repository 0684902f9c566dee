"""
Commands that speak to real systems over HTTP: preview, doctor and run against doubles.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
import urllib.request
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from bus.broker import Broker
from console.cli import front, streams
from console.cli.exits import Exit

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def desk() -> Iterator[str]:
    """
    Serve a pretend Zendesk with one customer; give its URL.
    """
    words = [sys.executable, "-m", "connectors.zendesk.double"]
    with subprocess.Popen(words, cwd=ROOT, stdout=subprocess.PIPE, text=True) as double:
        assert double.stdout is not None
        url = str(json.loads(double.stdout.readline())["url"])
        try:
            _post(
                f"{url}/_double/organizations", {"id": 9001, "name": "Nadia Ltd", "created_at": "2019-03-02T09:00:00Z"}
            )
            _post(f"{url}/_double/users", {"id": 7001, "name": "Ines"})
            yield url
        finally:
            double.terminate()
            double.wait(timeout=20)


@pytest.fixture(scope="module")
def model() -> Iterator[str]:
    """
    Serve a pretend model; give its base URL.
    """
    words = [sys.executable, "-m", "ai.double", "--key", "small=model-key"]
    with subprocess.Popen(words, cwd=ROOT, stdout=subprocess.PIPE, text=True) as double:
        assert double.stdout is not None
        port = int(double.stdout.readline())
        try:
            yield f"http://127.0.0.1:{port}/v1"
        finally:
            double.terminate()
            double.wait(timeout=20)


@pytest.fixture
def project(tmp_path: Path, desk: str, model: str, monkeypatch: pytest.MonkeyPatch) -> Path:
    """
    Make a project connected to the doubles, with the right secrets, and go there.
    """
    assert Exit.OK == front.run(["init", str(tmp_path / "hub")])
    file = tmp_path / "hub" / "pipelines.yaml"
    words = file.read_text().replace("subdomain: acme ", f"url: {desk}\n    subdomain: acme ")
    file.write_text(
        words.replace("model: gpt-5-mini,", f"model: gpt-5-mini, url: '{model}', price_as: openai/gpt-5-mini,")
    )
    secrets = {"ZENDESK_TOKEN": "zendesk-token", "ZENDESK_HOOK": "hook-secret", "OPENAI_API_KEY": "model-key"}
    for name, text in secrets.items():
        monkeypatch.setenv(name, text)
    monkeypatch.chdir(tmp_path / "hub")
    return tmp_path / "hub"


def output(capsys: pytest.CaptureFixture[str], words: list[str], code: Exit = Exit.OK) -> str:
    """
    Run a command that must end with *code*; return its stdout.
    """
    streams.out.cache_clear()
    streams.talk.cache_clear()
    capsys.readouterr()
    assert code == front.run(words), capsys.readouterr()
    return capsys.readouterr().out


@pytest.mark.usefixtures("project")
def test_preview_fetches_what_the_prompt_needs(capsys: pytest.CaptureFixture[str]) -> None:
    """
    Without a lookups file the customer is really read from the system.
    """
    words = ["preview", "ticket-summary", "--event", "tests/ticket-4711.json", "--json"]

    prompt = json.loads(output(capsys, words))["prompt"]["user"]

    assert "name: Nadia Ltd" in prompt
    assert "since: 2019-03-02" in prompt


@pytest.mark.usefixtures("project")
def test_doctor_finds_everything_well(capsys: pytest.CaptureFixture[str]) -> None:
    """
    Connections and models that answer are ok, and doctor says as whom it acts.
    """
    found = json.loads(output(capsys, ["doctor", "--json"]))["findings"]

    states = {finding["what"]: finding["state"] for finding in found}
    assert ("ok", "ok") == (states["connection helpdesk"], states["model small"])
    assert "acts as 9001" in next(each["says"] for each in found if each["what"] == "connection helpdesk")


@pytest.mark.usefixtures("project")
def test_doctor_says_which_credential_is_refused(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    A refused credential is told apart from a system that is down, and what to do about it is said.
    """
    monkeypatch.setenv("ZENDESK_TOKEN", "an-old-token")

    found = json.loads(output(capsys, ["doctor", "--json"], Exit.UNREACHABLE))["findings"]

    (desk,) = [each for each in found if each["what"] == "connection helpdesk"]
    assert ("down", "the credential is refused: make a new one") == (desk["state"], desk["next"])


@pytest.mark.parametrize(("bus", "ticket"), [("embedded", 88), ("kafka", 89)])
def test_run_turns_a_ticket_into_a_note(
    bus: str, ticket: int, project: Path, desk: str, capsys: pytest.CaptureFixture[str], request: pytest.FixtureRequest
) -> None:
    """
    `run --listen` takes a signed webhook there, asks the model, leaves one note, stops with 0, and `runs` knows it.
    """
    file = project / "pipelines.yaml"
    if bus == "kafka":
        prefix = f"t{uuid.uuid4().hex[:8]}"
        hub = f"hub: {{bus: {{kafka: '{request.getfixturevalue('kafka')}', prefix: {prefix}, partitions: 3}}}}"
        file.write_text(file.read_text().replace("version: 1\n", f"version: 1\n{hub}\n"))
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    words = [sys.executable, "-m", "penstock", "run", "--listen", f"127.0.0.1:{port}"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(words, cwd=project, env=environment, stderr=subprocess.PIPE, text=True) as hub:
        assert hub.stderr is not None
        assert any("penstock runs at" in line for line in iter(hub.stderr.readline, ""))
        _post(f"{desk}/_double/hooks", {"url": f"http://127.0.0.1:{port}/in/helpdesk", "secret": "hook-secret"})
        written = {"id": ticket, "subject": "Lost", "description": "Parcel 88-1 is lost.", "requester_id": 7001}
        _post(f"{desk}/_double/tickets", written)
        notes = _wait_for(lambda: [each for each in _comments(desk, ticket) if not each["public"]])
        hub.terminate()
        hub.stderr.read()
        assert 0 == hub.wait(timeout=60)

    (note,) = notes
    assert "Please check before you act on it." in note["body"]
    (run,) = json.loads(output(capsys, ["runs", "--verdict", "delivered", "--json"]))["runs"]
    assert (str(ticket), "delivered") == (run["subject"], run["verdict"])
    assert run["cost"] > 0
    assert (bus == "embedded") == (project / ".penstock" / "bus.db").exists()
    if bus == "kafka":
        found = json.loads(output(capsys, ["doctor", "--json"]))["findings"]
        said = {finding["what"]: (finding["state"], finding["says"]) for finding in found}
        assert "lets us in" in said["bus"][1]
        assert ("ok", f"0 messages of {prefix}.events.helpdesk to read") == said["pipeline ticket-summary"]


def _wait_for(look: Callable[[], list[dict[str, Any]]]) -> list[dict[str, Any]]:
    for _ in range(600):
        if found := look():
            return found
        time.sleep(0.05)
    raise AssertionError("nothing came within 30 s")


def _comments(desk: str, ticket: int) -> list[dict[str, Any]]:
    with urllib.request.urlopen(f"{desk}/_double/state", timeout=20) as answer:
        tickets = json.loads(answer.read())["tickets"]
    return [comment for each in tickets if each["id"] == ticket for comment in each["comments"]]


def _post(url: str, body: dict[str, Any]) -> None:
    request = urllib.request.Request(url, json.dumps(body).encode(), {"content-type": "application/json"})
    with urllib.request.urlopen(request, timeout=20) as answer:
        assert answer.status < 300


@pytest.mark.parametrize(
    ("login", "says"),
    [
        ("mechanism: plain, username: penstock, password: '${env:KAFKA_SECRET}'", "Invalid username or password"),
        ("mechanism: scram-sha-512, username: penstock, password: '${env:KAFKA_SECRET}'", "it refuses our login"),
        ("mechanism: oauthbearer, token: '${env:KAFKA_SECRET}'", "it refuses our login: invalid_token"),
    ],
)
def test_a_wrong_credential_for_the_bus_ends_with_4(
    login: str,
    says: str,
    project: Path,
    broker: Broker,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """
    `run` and `doctor` say it in one sentence, without the credential.
    """
    monkeypatch.setenv("KAFKA_SECRET", "open.sesame")
    file = project / "pipelines.yaml"
    bus = f"{{kafka: '{broker.sasl_address}', security: {{{login}}}}}"
    file.write_text(file.read_text().replace("version: 1\n", f"version: 1\nhub: {{bus: {bus}}}\n"))
    streams.talk.cache_clear()
    capsys.readouterr()
    code = front.run(["run"])
    said = capsys.readouterr().err
    found = json.loads(output(capsys, ["doctor", "--json"], Exit.UNREACHABLE))["findings"]

    assert Exit.UNREACHABLE == code
    (line,) = [line for line in said.splitlines() if line.startswith("error:")]
    assert says in line
    assert "sesame" not in said
    assert "down" == next(finding["state"] for finding in found if finding["what"] == "bus")
