"""
Chains: how deep pipelines run that follow others.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pipelines import check
from pipelines.chains import chain_of, depths
from pipelines.declaration import Declaration
from tests.pipelines.corpus.harness import BASE, ENVIRON, HERE, Catalog

LINKS = {"first": {}, "second": {"follows": ["first"]}, "third": {"follows": ["second", "first"]}}


def declared(connections: Any = None, **triggers: Any) -> Declaration:
    usual = {
        "context": {"tokens": 500, "sections": {"ticket": {"from": "event.data"}}},
        "ask": {"model": "small", "template": "ask.j2", "output": "out.json"},
        "deliver": [{"to": "desk.note", "template": "note.j2"}],
    }
    listens = {"connection": "desk", "events": ["ticket.updated"]}
    return Declaration.model_validate(
        {
            "version": 1,
            "connections": connections or {"desk": {"connector": "desk"}},
            "models": {"small": {"provider": "offline", "model": "extractive"}},
            "pipelines": {name: {**usual, "trigger": listens | trigger} for name, trigger in triggers.items()},
        }
    )


def test_a_chain_is_as_deep_as_it_is_long() -> None:
    """Each pipeline runs one deeper than the deepest it follows."""
    assert depths(declared(**LINKS).pipelines) == {"first": 0, "second": 1, "third": 2}
    assert chain_of(declared(**LINKS), "first").depth == 0
    assert chain_of(declared(**LINKS), "third").follows == {"first", "second"}


def test_who_says_how_deep_is_believed() -> None:
    """Those that follow it go by that; a circle has no depth unless somebody in it says one."""
    said = declared(first={"follows": ["second"], "depth": 3}, second={"follows": ["first"]})
    round_ = declared(one={"follows": ["two"]}, two={"follows": ["one"]}, three={"follows": ["two"]}, four={})

    assert depths(said.pipelines) == {"first": 3, "second": 4}
    assert depths(round_.pipelines) == {"four": 0}


def test_many_pipelines_that_follow_each_other_are_quickly_known() -> None:
    """Every one follows all before it: as many ways as 2 to the power of sixty."""
    names = [f"p{number}" for number in range(60)]
    chain = declared(**{name: {"follows": names[:number]} if number else {} for number, name in enumerate(names)})

    assert depths(chain.pipelines)["p59"] == 59


@pytest.mark.parametrize(("token", "subdomain", "same"), [("B", "acme", True), ("B", "other", False)])
def test_connections_to_one_account_belong_together(token: str, subdomain: str, same: bool) -> None:
    """References may differ, what names the account may not."""
    connections = {
        "desk": {"connector": "zendesk", "subdomain": "acme", "api_token": "${env:A}"},
        "robot": {"connector": "zendesk", "subdomain": subdomain, "api_token": f"${{env:{token}}}"},
    }
    chain = chain_of(declared(connections, first={"connection": "robot"}), "first")

    assert chain.written == (("desk",) if same else ())


def test_a_circle_that_is_declared_has_nothing_wrong_with_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two pipelines of an unguarded system may answer each other when both say whom they follow, and how far."""
    text = (HERE / "chains/circle/pipelines.yaml").read_text("utf-8").replace("follows:", "depth: 3, follows:")
    for file in BASE.rglob("*"):
        if file.is_file() and file.name != "pipelines.yaml":
            target = tmp_path / file.relative_to(BASE)
            target.parent.mkdir(exist_ok=True)
            target.write_bytes(file.read_bytes())
    (tmp_path / "pipelines.yaml").write_text(text)
    monkeypatch.chdir(tmp_path)

    assert check.run(Path("pipelines.yaml"), catalog=Catalog(), environ=ENVIRON).findings == []
