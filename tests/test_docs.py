"""
Every command and every snippet of the README and the docs runs; every link leads somewhere.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from console.reference import FOLDER, pages

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
FENCE = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
PLACE = re.compile(r"# ((?:connectors|tests)/\S+)\n")
SAID_BEFORE = re.compile(r"^`(connectors/\S+)`:\n\n\Z", re.MULTILINE)
LINK = re.compile(r"!?\[[^\]]*\]\(([^)#\s]+)(?:#[^)]*)?\)")
MAKE = re.compile(r"^([a-z-]+):.*## ", re.MULTILINE)
SECRETS = dict.fromkeys(
    (
        "ZENDESK_TOKEN",
        "ZENDESK_HOOK",
        "ZENDESK_HOOK_OLD",
        "GITHUB_TOKEN",
        "GITHUB_HOOK",
        "OPENAI_API_KEY",
        "WAREHOUSE_URL",
    ),
    "made-up",
)
READY = "penstock runs at"
PROMISE = (
    "Every accepted event ends in a verdict and none is lost while the bus and the ledger keep their data.",
    "A keyed action takes effect once while the system remembers the key.",
    "A read-back action takes effect once unless a stopped worker wakes inside one request; we publish the measured",
    "A blind action happens at most once or at least once, as the pipeline says.",
    "A finished AI step is never paid again; a crash during the call may pay it once more, and that is counted.",
    "Caps hold by reservation before the call, by our own worst-case reckoning; an overrun is booked and reported.",
)


@dataclass(frozen=True)
class Snippet:
    """
    One fenced block of a page.
    """

    page: Path
    kind: str
    text: str
    line: int
    place: str | None
    """The file it is, below the hub's folder: its first line says so, or the line before it."""

    def put(self, folder: Path) -> None:
        """
        Write it where it belongs in the hub in *folder*, if it is a file.
        """
        if self.place is not None:
            (folder / self.place).parent.mkdir(parents=True, exist_ok=True)
            (folder / self.place).write_text(self.text)

    @property
    def name(self) -> str:
        """
        Where it stands.
        """
        return f"{self.page.relative_to(ROOT)}:{self.line}"


def snippets(page: Path) -> list[Snippet]:
    """
    Return the fenced blocks of a page, in order.
    """
    text = page.read_text("utf-8")
    return [
        Snippet(
            page=page,
            kind=found[1],
            text=found[2],
            line=text.count("\n", 0, found.start()) + 1,
            place=_place(text[: found.start()], found[2]),
        )
        for found in FENCE.finditer(text)
    ]


def _place(before: str, text: str) -> str | None:
    found = PLACE.match(text) or SAID_BEFORE.search(before)
    return found[1] if found else None


def with_console() -> list[Path]:
    """
    Return the pages that show commands.
    """
    return [page for page in PAGES if any(snippet.kind == "console" for snippet in snippets(page))]


YAML_SNIPPETS = [snippet for page in PAGES for snippet in snippets(page) if snippet.kind == "yaml"]


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """
    Make a project as `penstock init` does.
    """
    _penstock(["init", "my-hub"], tmp_path)
    return tmp_path / "my-hub"


@pytest.mark.parametrize("page", with_console(), ids=lambda page: str(page.relative_to(ROOT)))
def test_every_command_works(page: Path, tmp_path: Path) -> None:
    """
    The commands of a page end with 0, in order, in the folder the page is in by then.
    """
    folder = tmp_path
    if not any("penstock init" in snippet.text for snippet in snippets(page)):
        _penstock(["init", "my-hub"], tmp_path)
        folder = tmp_path / "my-hub"
    for snippet in snippets(page):
        snippet.put(folder)
        if snippet.kind != "console":
            continue
        for line in snippet.text.splitlines():
            assert line.startswith("$ "), f"{snippet.name}: {line!r} is no command"
            folder = _typed(shlex.split(line.removeprefix("$ ")), folder, snippet)


def _typed(words: list[str], folder: Path, snippet: Snippet) -> Path:
    """
    Do what a reader types in *folder*; return the folder they are in afterwards.
    """
    match words:
        case ["cd", name]:
            assert (folder / name).is_dir(), snippet.name
            return folder / name
        case ["make", target, *settings]:
            assert all("=" in word for word in settings), snippet.name
            assert target in MAKE.findall((ROOT / "Makefile").read_text()), snippet.name
        case ["penstock", "run"]:
            _run_and_stop(folder, snippet)
        case ["penstock", *rest]:
            if rest[:1] == ["init"]:
                shutil.rmtree(folder / rest[1], ignore_errors=True)
            _penstock(rest, folder)
        case _:
            pytest.fail(f"{snippet.name}: nobody knows how to try {words}")
    return folder


def _environment() -> dict[str, str]:
    return {**os.environ, **SECRETS, "PYTHONPATH": str(ROOT), "NO_COLOR": "1"}


def _penstock(words: list[str], folder: Path) -> subprocess.CompletedProcess[str]:
    ended = subprocess.run(
        [sys.executable, "-m", "penstock", *words],
        cwd=folder,
        env=_environment(),
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert 0 == ended.returncode, f"penstock {' '.join(words)}\n{ended.stdout}\n{ended.stderr}"
    return ended


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def _run_and_stop(folder: Path, snippet: Snippet) -> None:
    """
    Start the hub on a free port, wait until it takes deliveries, stop it as an operator does.
    """
    file = folder / "pipelines.yaml"
    words = file.read_text()
    file.write_text(words.replace("version: 1\n", f"version: 1\nhub: {{listen: '127.0.0.1:{_free_port()}'}}\n"))
    hub = subprocess.Popen(
        [sys.executable, "-m", "penstock", "run"], cwd=folder, env=_environment(), stderr=subprocess.PIPE, text=True
    )
    try:
        assert hub.stderr is not None
        said = []
        for line in hub.stderr:
            said.append(line)
            if READY in line:
                break
        else:
            pytest.fail(f"{snippet.name}: {''.join(said)}")
        hub.send_signal(signal.SIGTERM)
        hub.stderr.read()
        assert 0 == hub.wait(timeout=60)
    finally:
        hub.kill()
        hub.wait()
        if hub.stderr is not None:
            hub.stderr.close()
        file.write_text(words)


@pytest.mark.parametrize("snippet", YAML_SNIPPETS, ids=lambda snippet: snippet.name)
def test_every_yaml_is_valid(snippet: Snippet, project: Path) -> None:
    """
    A whole file passes `check`, a part merged into the first pipeline, too; tests pass, a manifest is read.
    """
    file = project / "pipelines.yaml"
    for beside in snippets(snippet.page):
        if (beside.place or "").startswith("connectors/"):
            beside.put(project)
    match (snippet.place or "").split("/"):
        case ["tests", *_]:
            (project / "tests" / "snippet.test.yaml").write_text(snippet.text)
            _penstock(["test", "tests/snippet.test.yaml"], project)
            return
        case ["connectors", name, _]:
            _penstock(["connectors", name], project)
            return
    if snippet.text.startswith("# merged into pipelines.yaml"):
        yaml = YAML(typ="safe", pure=True)
        with file.open("w") as target:
            yaml.dump(_merged(YAML(typ="safe", pure=True).load(_starter()), yaml.load(snippet.text)), target)
    else:
        assert "version: 1" in snippet.text, f"{snippet.name} is neither a whole file nor marked as a part"
        file.write_text(snippet.text)
    _penstock(["check"], project)


def _starter() -> str:
    return (ROOT / "console" / "cli" / "starter" / "pipelines.yaml").read_text()


def _merged(base: Any, part: Any) -> Any:
    if not isinstance(base, dict) or not isinstance(part, dict):
        return part
    return {**base, **{key: _merged(base.get(key), value) for key, value in part.items()}}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_leads_somewhere(page: Path) -> None:
    """
    Links inside the repository point to files that are there.
    """
    links = [link for link in LINK.findall(page.read_text("utf-8")) if "://" not in link]

    assert [] == [link for link in links if not (page.parent / link).exists()]


def test_the_generated_pages_are_up_to_date() -> None:
    """
    `python -m console.reference` would change nothing.
    """
    assert {name: (FOLDER / name).read_text("utf-8") for name in pages()} == pages()


def test_the_picture_shows_every_ticket() -> None:
    """
    The README's picture is of the demo as it is.
    """
    from console.demo.tickets import TICKETS

    picture = (ROOT / "docs" / "demo.svg").read_text("utf-8")

    assert [] == [ticket.id for ticket in TICKETS if str(ticket.id) not in picture]
    assert "http://" not in picture.replace("http://www.w3.org/2000/svg", "")


def test_the_first_pipeline_is_short() -> None:
    """
    The README's first pipeline is about twenty lines.
    """
    first = next(snippet for snippet in snippets(ROOT / "README.md") if snippet.kind == "yaml")

    assert len(first.text.splitlines()) <= 24


def test_a_connector_is_short() -> None:
    """
    A newcomer needs at most sixty lines of YAML, and ends at silver.
    """
    guide = snippets(ROOT / "docs" / "howto" / "write-a-connector.md")
    [manifest] = [snippet for snippet in guide if snippet.place == "connectors/tracker/manifest.yaml"]

    assert len(manifest.text.splitlines()) <= 60
    assert any("--test --least silver" in snippet.text for snippet in guide if snippet.kind == "console")


def test_the_promise_stands_in_these_words() -> None:
    """
    The promise is worded once, and not loosened.
    """
    text = " ".join((ROOT / "docs" / "why" / "promise.md").read_text("utf-8").split())

    assert [] == [sentence for sentence in PROMISE if sentence not in text]
