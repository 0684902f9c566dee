"""
The commands of a new project, one by one.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest

from console.cli import exam_machine, front, streams, wording
from console.cli.exits import Exit
from console.cli.starting import starter_files
from console.references import references
from pipelines import load

SECRETS = ("ZENDESK_TOKEN", "ZENDESK_HOOK", "OPENAI_API_KEY")
PREVIEW = ["preview", "ticket-summary", "--event", "tests/ticket-4711.json"]


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Path:
    """
    Make a project and go there; no secret is set.
    """
    streams.out.cache_clear()
    streams.talk.cache_clear()
    for name in SECRETS:
        monkeypatch.delenv(name, raising=False)
    assert Exit.OK == front.run(["init", str(tmp_path / "hub")])
    monkeypatch.chdir(tmp_path / "hub")
    capsys.readouterr()
    return tmp_path / "hub"


def output(capsys: pytest.CaptureFixture[str], words: list[str], code: Exit = Exit.OK) -> tuple[str, str]:
    """
    Run a command that must end with *code*; return stdout and stderr.
    """
    streams.out.cache_clear()
    streams.talk.cache_clear()
    capsys.readouterr()
    assert code == front.run(words), capsys.readouterr()
    printed = capsys.readouterr()
    return printed.out, printed.err


# ---- init ----------------------------------------------------------------------------------------


def test_init_writes_what_it_says(project: Path) -> None:
    """
    A new project has the files of the starter, and nothing else.
    """
    found = {str(path.relative_to(project)) for path in project.rglob("*") if path.is_file()}

    assert set(starter_files()) == found


def test_init_touches_no_folder_in_use(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """
    A folder with something in it is refused, and stays as it is.
    """
    (project / "pipelines.yaml").write_text("mine")

    _, said = output(capsys, ["init", "."], Exit.INVALID)

    assert "is not an empty folder" in said
    assert "mine" == (project / "pipelines.yaml").read_text()


@pytest.mark.parametrize("listen", ["0.0.0.0:8080", "[::]:8080", "192.168.1.4:8080", "hub.acme.example:80"])
def test_a_hub_listens_on_this_machine_only(
    project: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, listen: str
) -> None:
    """
    `check` and `run` refuse an address that others can reach, and say what to do instead.
    """
    for name in SECRETS:
        monkeypatch.setenv(name, "made-up-value")
    file = project / "pipelines.yaml"
    file.write_text(file.read_text().replace("version: 1\n", f'version: 1\nhub: {{listen: "{listen}"}}\n'))

    checked, _ = output(capsys, ["check"], Exit.FINDINGS)
    _, said = output(capsys, ["run", "--once"], Exit.INVALID)

    for printed in (checked, said):
        assert "can be reached from other machines" in printed
        assert "put a proxy that speaks TLS in front" in printed
    assert not (project / ".penstock").exists()


@pytest.mark.parametrize(
    ("listen", "said"),
    [
        ("0.0.0.0:8081", "--listen: '0.0.0.0' can be reached from other machines"),
        ("127.0.0.1", "--listen: '127.0.0.1' is not an address"),
        ("127.0.0.1:65536", "--listen: '127.0.0.1:65536' is not an address"),
    ],
)
def test_an_address_on_the_command_line_is_held_to_the_same_rule(
    project: Path, capsys: pytest.CaptureFixture[str], listen: str, said: str
) -> None:
    """
    `run --listen` refuses what `hub.listen` refuses, before anything is opened.
    """
    _, printed = output(capsys, ["run", "--once", "--listen", listen], Exit.INVALID)

    assert said in printed
    assert not (project / ".penstock").exists()


def test_a_hub_may_listen_on_the_loopback_of_ipv6(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """
    `[::1]:8080` passes `check`, and `doctor` looks at that port.
    """
    file = project / "pipelines.yaml"
    file.write_text(file.read_text().replace("version: 1\n", 'version: 1\nhub: {listen: "[::1]:58081"}\n'))

    output(capsys, ["check"])
    port = next(found for found in exam_machine.state(project, "[::1]:58081") if found.what == "port")

    assert "Name or service not known" not in port.says


# ---- check and test ------------------------------------------------------------------------------


@pytest.mark.usefixtures("project")
def test_a_new_project_passes_its_own_check_and_test(capsys: pytest.CaptureFixture[str]) -> None:
    """
    `check` finds no error and `test` no failure in what `init` wrote.
    """
    output(capsys, ["check"])
    out, said = output(capsys, ["test"])

    assert 3 == out.count("pass  ticket-summary")
    assert "3 cases, 0 failed" in said


def test_check_fails_with_a_place(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """
    A mistake ends with 1 and its line and column; every format is printed on stdout.
    """
    file = project / "pipelines.yaml"
    file.write_text(file.read_text().replace("template: ticket-note.j2", "templat: ticket-note.j2"))

    out, _ = output(capsys, ["check"], Exit.FINDINGS)
    data = json.loads(output(capsys, ["check", "--format", "json"], Exit.FINDINGS)[0])
    sarif = json.loads(output(capsys, ["check", "--format", "sarif"], Exit.FINDINGS)[0])
    github, _ = output(capsys, ["check", "--format", "github"], Exit.FINDINGS)

    errors = [finding for finding in data["findings"] if finding["severity"] == "error"]
    assert f"pipelines.yaml:{errors[0]['line']}:{errors[0]['column']}: " in out
    assert "2.1.0" == sarif["version"]
    assert github.startswith("::")


def test_run_refuses_what_check_finds(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """
    `run` starts nothing with a wrong configuration, and says what is wrong.
    """
    file = project / "pipelines.yaml"
    file.write_text(file.read_text().replace("internal_note", "internal_not"))

    _, said = output(capsys, ["run", "--once"], Exit.INVALID)

    assert "internal_note" in said
    assert not (project / ".penstock").exists()


@pytest.mark.usefixtures("project")
def test_run_lists_every_missing_secret(capsys: pytest.CaptureFixture[str]) -> None:
    """
    Unset secrets are errors of `run`, all of them together.
    """
    _, said = output(capsys, ["run", "--once"], Exit.INVALID)

    assert [] == [name for name in SECRETS if name not in said]


def test_run_once_stops_when_nothing_is_left(
    project: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    `run --once` ends by itself.
    """
    for name in SECRETS:
        monkeypatch.setenv(name, "made-up")
    file = project / "pipelines.yaml"
    file.write_text(file.read_text().replace("subdomain: acme ", "url: http://127.0.0.1:9\n    subdomain: acme "))

    output(capsys, ["run", "--once"])

    assert (project / ".penstock" / "ledger.db").exists()


def test_references_are_found_wherever_they_stand(project: Path) -> None:
    """
    Secrets of connections and models are all known before the start.
    """
    declaration = load(project / "pipelines.yaml").declaration
    assert declaration is not None

    found = {str(ref) for refs in references(declaration) for ref in refs}
    assert {f"${{env:{name}}}" for name in SECRETS} <= found


def test_a_failing_case_says_where_and_what(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """
    A case that fails ends with 1, names its line, what was expected and what came, also as JUnit.
    """
    file = project / "tests" / "ticket-summary.test.yaml"
    file.write_text(file.read_text().replace("verdict: filtered", "verdict: delivered"))
    line = next(number for number, text in enumerate(file.read_text().splitlines(), 1) if "actions: []" in text)

    out, said = output(capsys, ["test", "--junit", "report.xml"], Exit.FINDINGS)

    assert f"tests/ticket-summary.test.yaml:{line}" in out
    assert "expected  delivered" in out
    assert "actual    filtered" in out
    assert "3 cases, 1 failed" in said
    suite = ET.parse(project / "report.xml").getroot()
    assert ("3", "1", 1) == (suite.get("tests"), suite.get("failures"), len(suite.findall("testcase/failure")))


@pytest.mark.usefixtures("project")
def test_cases_can_be_chosen(capsys: pytest.CaptureFixture[str]) -> None:
    """
    `-k` runs the cases whose name contains it; none at all is a finding.
    """
    out, _ = output(capsys, ["test", "-k", "SPAM"])
    data = json.loads(output(capsys, ["test", "-k", "spam", "--json"])[0])

    assert 1 == out.count("pass")
    assert ["spam costs nothing"] == [case["name"] for case in data["cases"]]
    output(capsys, ["test", "-k", "nothing like it"], Exit.FINDINGS)


# ---- preview -------------------------------------------------------------------------------------


@pytest.mark.usefixtures("project")
def test_preview_shows_the_prompt_and_the_bars(capsys: pytest.CaptureFixture[str]) -> None:
    """
    The bars, the worst case and the exact prompt are printed; nothing is asked.
    """
    out, _ = output(capsys, [*PREVIEW, "--lookups", "tests/lookups.yaml"])

    assert "worst case $" in out
    assert "█" in out
    assert "tier: gold" in out
    assert "Parcel 88-2047" in out


@pytest.mark.usefixtures("project")
def test_preview_counts_what_it_shows(capsys: pytest.CaptureFixture[str]) -> None:
    """
    The receipt sums to the tokens of the prompt, and the shape of `--json` has a version.
    """
    from ai import tokens

    data = json.loads(output(capsys, [*PREVIEW, "--lookups", "tests/lookups.yaml", "--json"])[0])

    assert (1, "preview") == (data["version"], data["kind"])
    prompt, receipt = data["prompt"], data["receipt"]
    assert prompt["tokens"] == tokens.count(prompt["system"]) + tokens.count(prompt["user"])
    assert prompt["tokens"] == receipt["instructions"] + receipt["used"]


@pytest.mark.usefixtures("project")
def test_preview_offline_leaves_lookups_empty(capsys: pytest.CaptureFixture[str]) -> None:
    """
    `--offline` fetches nothing; optional sections are empty and say why.
    """
    data = json.loads(output(capsys, [*PREVIEW, "--offline", "--json"])[0])

    kept = {section["name"]: section["kept"] for section in data["receipt"]["sections"]}
    assert (0, 0) == (kept["customer"], kept["history"])
    assert kept["ticket"] > 0


def test_preview_of_what_does_not_fit_is_a_budget_matter(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """
    A first try above `limits.per_event` ends with 5.
    """
    file = project / "pipelines.yaml"
    file.write_text(file.read_text().replace("per_event: 0.02 USD", "per_event: 0.000001 USD"))

    _, said = output(capsys, [*PREVIEW, "--offline"], Exit.BUDGET)

    assert "over-budget" in said


@pytest.mark.usefixtures("project")
def test_preview_says_when_the_trigger_would_not_want_it(capsys: pytest.CaptureFixture[str]) -> None:
    """
    An event that a real run would filter is shown with a note.
    """
    event = json.loads(Path("tests/ticket-4711.json").read_text())
    event["data"]["tags"] = ["spam"]
    Path("spam.json").write_text(json.dumps(event))

    _, said = output(capsys, ["preview", "ticket-summary", "--event", "spam.json", "--offline"])

    assert "would end as filtered" in said


@pytest.mark.usefixtures("project")
@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["preview", "ticket-summary"], "exactly one of --event and --run"),
        (["preview", "nothing", "--event", "x"], "one of ticket-summary"),
        (["preview", "ticket-summary", "--event", "nowhere.json"], "ticket created"),
        (["preview", "ticket-summary", "--event", "pipelines.yaml"], "pipelines.yaml"),
    ],
)
def test_preview_names_what_it_needs(capsys: pytest.CaptureFixture[str], words: list[str], says: str) -> None:
    """
    A wrong pipeline or event is named with what there is instead.
    """
    assert says in output(capsys, words, Exit.INVALID)[1]


@pytest.mark.usefixtures("project")
def test_preview_reads_a_raw_delivery(capsys: pytest.CaptureFixture[str]) -> None:
    """
    The sample of the connector, which is a raw webhook body, is an event too.
    """
    data = json.loads(
        output(capsys, ["preview", "ticket-summary", "--event", "ticket created", "--offline", "--json"])[0]
    )

    assert "ticket/35436/created" == data["event"]


# ---- schema --------------------------------------------------------------------------------------


@pytest.mark.usefixtures("project")
@pytest.mark.parametrize(
    ("words", "title"), [(["schema", "event"], "Event"), (["schema", "answer"], "Ticket summary"), (["schema"], None)]
)
def test_schema_prints_a_json_schema(capsys: pytest.CaptureFixture[str], words: list[str], title: str | None) -> None:
    """
    Each schema is JSON on stdout that names the draft it is written in.
    """
    found: dict[str, Any] = json.loads(output(capsys, words)[0])

    assert "json-schema.org" in found["$schema"]
    assert title is None or title == found["title"]


# ---- doctor --------------------------------------------------------------------------------------


@pytest.mark.usefixtures("project")
def test_doctor_names_missing_secrets(capsys: pytest.CaptureFixture[str]) -> None:
    """
    Unset secrets must be mended: 1, each by name.
    """
    data = json.loads(output(capsys, ["doctor", "--offline", "--json"], Exit.FINDINGS)[0])

    bad = " ".join(finding["says"] for finding in data["findings"] if finding["state"] == "bad")
    assert [] == [name for name in SECRETS if name not in bad]
    assert {"python", "sqlite", "clock", "open files", "state folder", "file system", "port"} <= {
        finding["what"] for finding in data["findings"]
    }


def test_doctor_says_what_is_down(
    project: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    A system nobody answers for ends with 4; no secret is printed.
    """
    for name in SECRETS:
        monkeypatch.setenv(name, "canary-7c41f0")
    file = project / "pipelines.yaml"
    words = file.read_text().replace("subdomain: acme ", "url: http://127.0.0.1:9\n    subdomain: acme ")
    file.write_text(words.replace("model: gpt-5-mini,", "model: gpt-5-mini, url: 'http://127.0.0.1:9/v1',"))

    out, said = output(capsys, ["doctor"], Exit.UNREACHABLE)

    assert "DOWN  connection helpdesk" in out
    assert "DOWN  model small" in out
    assert "canary" not in out + said


@pytest.mark.usefixtures("project")
def test_doctor_with_everything_set_has_nothing_to_say(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    With secrets set and nobody asked, nothing stands in the way.
    """
    for name in SECRETS:
        monkeypatch.setenv(name, "made-up")

    assert "nothing stands in the way" in output(capsys, ["doctor", "--offline"])[1]


def test_the_file_system_of_a_folder_is_the_nearest_mount(tmp_path: Path) -> None:
    """
    A folder has the type of its own mount, /proc the one of the kernel's.
    """
    assert "proc" == exam_machine.file_system_of(Path("/proc/self"))
    assert exam_machine.file_system_of(tmp_path)


def test_nothing_from_outside_steers_a_terminal() -> None:
    """
    Escape sequences, bidi and zero-width characters are spelled out; line ends and tabs stay.
    """
    assert "\\u001b[31m \\u202ex\\u200b\n\tä😀" == wording.printable("\x1b[31m \u202ex\u200b\n\tä😀")
