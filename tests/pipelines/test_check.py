"""
`check` as a whole: reports, their forms, costs, and what never shows.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

import connectors
from penstock.errors import Invalid
from pipelines import check, load
from pipelines.findings import Finding, as_github, as_sarif, as_text
from pipelines.places import Place
from tests.pipelines.corpus.harness import BASE, ENVIRON, Catalog

GOOD = (BASE / "pipelines.yaml").read_text("utf-8")
ROOT = Path(__file__).parents[2]


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(connectors, "__path__", [*connectors.__path__])  # a hub's own connectors end with the test
    shutil.copytree(BASE, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    return Path("pipelines.yaml")


def run(path: Path, text: str = GOOD) -> check.Report:
    path.write_text(text, "utf-8")
    return check.run(path, catalog=Catalog(), environ=ENVIRON)


def test_costs(project: Path) -> None:
    """A report says what one event can cost and how many events the cap buys at least."""
    (cost,) = run(project).costs

    assert "brief" == cost.pipeline
    assert 0 < cost.first_try < cost.worst_case
    assert 5_000_000 // cost.worst_case == cost.events
    assert f"5 USD/day buys at least {cost.events:,} events" in run(project).render("text")


def test_cost_of_all_rungs(project: Path) -> None:
    """The worst case of a route is the sum over its rungs."""
    twin = GOOD.replace("  small:", "  other: {provider: openai, model: b, url: 'http://llm.example/v1', window: 32k, "
                        "price: {input: 0.25 USD, output: 2 USD}}\n  small:")  # fmt: skip
    routed = twin.replace("pipelines:", "routes: {both: {try: [small, other]}}\npipelines:").replace(
        "model: small", "route: both"
    )
    (one,), (both,) = run(project).costs, run(project, routed).costs

    assert 2 * one.worst_case == both.worst_case
    assert one.first_try == both.first_try


def test_cost_of_a_model_without_price(project: Path) -> None:
    """Without a known price there is no cost, never zero."""
    assert [] == run(project, GOOD.replace(", price: {input: 0.25 USD, output: 2 USD}", "")).costs


def test_broken_pipeline_hides_no_other(project: Path) -> None:
    """A pipeline that cannot be read does not hide what is wrong with the others."""
    other = GOOD.replace("  brief:", "  other: {trigger: 7}\n  brief:").replace("[ticket.created]", "[ticket.create]")
    found = {finding.rule for finding in run(project, other).findings}

    assert {"values/type", "keys/missing", "names/event"} == found


def test_forms(project: Path) -> None:
    """Every form carries every finding."""
    report = run(project, GOOD.replace("tokens: 800", "tokens: 8000 USD").replace("cut: middle", "cut: midle"))
    as_json = json.loads(report.render("json"))
    sarif = json.loads(report.render("sarif"))

    assert {"version": 1} == {"version": as_json["version"]}
    assert len(report.findings) == len(as_json["findings"]) == len(sarif["runs"][0]["results"])
    assert len(report.findings) == len(report.render("github").splitlines())
    assert all(str(finding.place) in report.render("text") for finding in report.findings)


def test_unknown_form(project: Path) -> None:
    """An unknown form is refused with those there are."""
    with pytest.raises(Invalid, match="sarif"):
        run(project).render("xml")


def test_github_escapes() -> None:
    """What a person wrote cannot forge a workflow command."""
    place = Place("a,b:c.yaml", 3, 7)
    found = Finding(place=place, message="50%\n::error::forged", hint=None, rule="units/amount")

    assert "::error file=a%2Cb%3Ac.yaml,line=3,col=7,title=units/amount::50%25%0A::error::forged" == as_github([found])


def test_sarif_names_its_rules() -> None:
    """A SARIF log lists each rule once."""
    found = Finding(place=Place("a.yaml", 3, 7), message="m", rule="units/amount")
    run = json.loads(as_sarif([found, found]))["runs"][0]

    assert [{"id": "units/amount"}] == run["tool"]["driver"]["rules"]
    assert {"startLine": 3, "startColumn": 7} == run["results"][0]["locations"][0]["physicalLocation"]["region"]


def test_long_line() -> None:
    """Of a long line only the part around the caret is shown."""
    line = "x" * 5000 + "HERE" + "y" * 5000
    _, shown, caret, *_ = as_text([Finding(place=Place("a", 1, 5001, line), message="m", rule="r/r")]).splitlines()

    assert len(shown) < 200
    assert "HERE" == shown[caret.index("^") :][:4]


@pytest.mark.parametrize(
    "change",
    [
        ('token: "${env:DESK_TOKEN}"', "token: CANARY"),
        ('token: "${env:DESK_TOKEN}"', 'token: ["${env:DESK_TOKEN}", CANARY]'),
        ('token: "${env:DESK_TOKEN}"', "token: CANARY, nonsense: 1"),
        ('token: "${env:DESK_TOKEN}"', "token: [CANARY, CANARY, CANARY]"),
        ('token: "${env:DESK_TOKEN}"', "token: {a: CANARY}"),
        ('token: "${env:DESK_TOKEN}"', 'token: "CANARY'),  # the quote is never closed
        ('token: "${env:DESK_TOKEN}"', "token: CANARY, token: CANARY"),
        ('token: "${env:DESK_TOKEN}"', 'token: "${env:X:-CANARY}"'),
        ('token: "${env:DESK_TOKEN}"', "tokn: CANARY"),
        ('url: "http://llm.example/v1"', "key: CANARY"),
        ('url: "http://llm.example/v1"', 'url: "https://kim:CANARY@llm.example/v1"'),
        ("version: 1\n", 'version: 1\nhub: {ledger: "postgresql://kim:CANARY@db/x"}\n'),
        ("house-7b", "sk-CANARY0123456789"),
    ],
)
def test_secrets_never_show(project: Path, change: tuple[str, str]) -> None:
    """A secret in clear is refused, and no form of the report repeats it."""
    old, new = change
    report = run(project, GOOD.replace(old, new.replace("CANARY", "canary7f3a91")))
    shown = "".join(report.render(form) for form in ("text", "json", "github", "sarif"))

    assert not report.ok
    assert "canary7f3a91" not in shown
    assert "canary7f3a91" not in as_text(load(project).findings)


def test_repository_declaration(monkeypatch: pytest.MonkeyPatch) -> None:
    """The examples this repository shows have no errors."""
    monkeypatch.chdir(ROOT)
    report = check.run(Path("pipelines.yaml"), environ={})

    assert "" == as_text([finding for finding in report.findings if finding.severity == "error"])
    assert report.loaded.declaration is not None
    assert report.loaded.declaration.pipelines.keys() == {cost.pipeline for cost in report.costs}


def test_own_connectors(project: Path) -> None:
    """A hub's own connectors are found beside the built-in ones."""
    folder = Path("connectors") / "pager"
    shutil.copytree(ROOT / "connectors" / "zendesk", folder)
    manifest = folder / "manifest.yaml"
    manifest.write_text(manifest.read_text("utf-8").replace("name: zendesk", "name: pager", 1), "utf-8")
    text = "version: 1\nconnections:\n  pager: {connector: pager}\n"
    project.write_text(text, "utf-8")

    assert "names/connector" not in {finding.rule for finding in check.run(project).findings}


def test_broken_connector(project: Path) -> None:
    """A mistake in a hub's own connector is a finding, not a traceback."""
    folder = Path("connectors") / "siren"
    folder.mkdir(parents=True)
    (folder / "manifest.yaml").write_text("name: siren\n", "utf-8")
    project.write_text("version: 1\nconnections:\n  siren: {connector: siren}\n", "utf-8")

    assert "names/manifest" in {finding.rule for finding in check.run(project).findings}
