"""
`penstock connectors` lists what there is, a hub's own too, and how well it is known to work.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

import connectors
from connectors import catalog, quality
from console.cli.front import run


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[Path]:
    """A hub with a connector of its own."""
    before = list(connectors.__path__)
    own = tmp_path / "connectors" / "desk"
    shutil.copytree(catalog.folder("github"), own, ignore=shutil.ignore_patterns("__pycache__", quality.FILE))
    manifest = own / "manifest.yaml"
    manifest.write_text(manifest.read_text("utf-8").replace("name: github\n", "name: desk\n", 1), "utf-8")
    yield tmp_path
    connectors.__path__[:] = before


def asked(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    code = run(["connectors", *words])
    said = capsys.readouterr()
    return code, said.out, said.err


def test_all_are_listed(hub: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """
    Every connector of the catalog stands there with its tier; one nobody tested has none.
    """
    code, out, _ = asked(capsys, "-f", str(hub), "--json")
    found = {one["name"]: one for one in json.loads(out)["connectors"]}

    assert code == 0
    assert sorted(found) == list(catalog.names())
    assert "desk" in found
    assert found["desk"]["tier"] is None
    kept = quality.read(catalog.folder("zendesk"))
    assert kept is not None
    assert found["zendesk"]["tier"] == kept.tier
    assert (found["zendesk"]["deliveries"], found["zendesk"]["sources"]) == (True, ["tickets"])
    assert "internal_note" in found["zendesk"]["actions"]


def test_the_list_for_people(hub: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """
    One line each.
    """
    code, out, _ = asked(capsys, "-f", str(hub / "pipelines.yaml"))
    lines = [line.split() for line in out.splitlines()]

    assert code == 0
    assert ["desk", "-", "deliveries", "4", "2"] in [line[:5] for line in lines]


@pytest.mark.parametrize("name", ["zendesk", "slack", "desk"])
def test_one_in_full(hub: Path, capsys: pytest.CaptureFixture[str], name: str) -> None:
    """
    Settings, events, lookups, actions and the quality block, for manifests and for connectors in Python.
    """
    code, out, _ = asked(capsys, name, "-f", str(hub))
    spec = catalog.spec(name)

    assert code == 0
    for word in (*spec.settings["properties"], *spec.events, *spec.lookups, *spec.actions, *spec.sources, "quality"):
        assert word in out
    assert ("nobody ran the contract suite" in out) is (quality.read(catalog.folder(name)) is None)


def test_one_as_data(capsys: pytest.CaptureFixture[str]) -> None:
    """
    The same as JSON.
    """
    code, out, _ = asked(capsys, "github", "--json")
    found = json.loads(out)

    assert code == 0
    assert found["actions"]["comment"]["class"] == "read-back"
    assert set(found["quality"]["points"]) == {str(number) for number in quality.POINTS}
    assert "issue.opened" in found["events"]


def test_an_unknown_name(capsys: pytest.CaptureFixture[str]) -> None:
    """
    It is refused with what was meant.
    """
    code, _, err = asked(capsys, "zendisk")

    assert code == 3
    assert "'zendesk'" in err


def test_a_broken_one_hides_no_other(hub: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """
    The others are listed, and what is wrong is said.
    """
    (hub / "connectors" / "desk" / "manifest.yaml").write_text("name: other\n", "utf-8")
    code, out, err = asked(capsys, "-f", str(hub))

    assert code == 3
    assert "zendesk" in out
    assert "desk" in err
