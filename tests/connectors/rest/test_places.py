"""
A mistake in a connection's description has file, line and column: from `check`, and from `run` once secrets are known.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from console.cli.front import run
from pipelines import check
from tests.connectors.rest.authority import issued

HUB = """version: 1
connections:
  erp:
    connector: rest
    url: https://10.1.2.3
    private_networks: [10.1.0.0/16]
    auth: {nothing: true}
    client_certificate: ${file:hub.pem}
    client_key: ${file:hub.key}
    health: {get: /me, acts_as: body.id, detail: body.name}
"""


@pytest.mark.parametrize(
    ("right", "wrong", "place", "said"),
    [
        ("[10.1.0.0/16]", "[10.1.0.0/16, 10.0.0.1/8]", (6, 37), "host bits"),
        ("    private_networks: [10.1.0.0/16]\n", "", (5, 10), "10.1.2.3 is not in the open internet"),
        ("    client_key: ${file:hub.key}\n", "", (8, 25), "goes with 'client_key'"),
        ("https://10.1.2.3", "http://127.0.0.1", (8, 25), "https://"),
        ("https://10.1.2.3", "ftp://10.1.2.3", (5, 10), "cannot be 'ftp"),
        ("get: /me,", "gte: /me,", (10, 19), "no key 'gte'"),
    ],
)
def test_what_check_says(tmp_path: Path, right: str, wrong: str, place: tuple[int, int], said: str) -> None:
    """Each once, and where it is."""
    (tmp_path / "pipelines.yaml").write_text(HUB.replace(right, wrong))
    found = [one for one in check.run(tmp_path / "pipelines.yaml").findings if one.severity == "error"]
    about = [one for one in found if said in one.message]

    assert [(one.place.line, one.place.column) for one in about] == [place]
    assert not [one for one in found if one not in about and one.place.line > 3]


def test_nothing_to_say(tmp_path: Path) -> None:
    """The description as it stands has nothing wrong with it."""
    (tmp_path / "pipelines.yaml").write_text(HUB)
    found = check.run(tmp_path / "pipelines.yaml").findings

    assert not [one for one in found if one.severity == "error" and one.place.line > 3]


def test_what_run_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """A key that belongs to another certificate is told by the place of its setting."""
    hub = tmp_path / "hub"
    assert run(["init", str(hub)]) == 0
    monkeypatch.chdir(hub)
    for name in ("ZENDESK_TOKEN", "ZENDESK_HOOK", "OPENAI_API_KEY"):
        monkeypatch.setenv(name, "made-up")
    file = hub / "pipelines.yaml"
    described = HUB.partition("connections:\n")[2]
    file.write_text(file.read_text().replace("connections:\n", f"connections:\n{described}"))
    (hub / "hub.pem").write_text(issued("hub").pem)
    (hub / "hub.key").write_text(issued("another").key_pem())
    line = file.read_text().splitlines().index("    client_key: ${file:hub.key}") + 1

    assert run(["run", "--once"]) == 3
    assert f"pipelines.yaml:{line}:17: it is not the key of 'client_certificate'" in capsys.readouterr().err
