"""
Reading a file never raises, whatever is in it.
"""

from __future__ import annotations

import random
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines import check, load
from pipelines.findings import as_github, as_json, as_sarif, as_text
from pipelines.reading import MOST, read
from tests.pipelines.corpus.harness import BASE, ENVIRON, Catalog

GOOD = (BASE / "pipelines.yaml").read_text("utf-8")
PIECES = ["{", "}", "[", "]", ":", ": ", "- ", "\n", "  ", "'", '"', "&a ", "*a", "!!str ", "|", ">", "#", "%", "{{ x }}",
          "null", "~", "true", "1e999", "0x1F", "..", "\t", "\0", "\ud800", "\x85", "\u2028", "<<", "? ", "---", "${env:X}",
          "versions", "-1", "9" * 30, "event.data.x", "é"]  # fmt: skip


def check_text(folder: Path, raw: bytes) -> check.Report:
    path = folder / "pipelines.yaml"
    path.write_bytes(raw)
    return check.run(path, catalog=Catalog(), environ=ENVIRON)


def shown(report: check.Report) -> str:
    forms = [report.render(form) for form in ("text", "json", "github", "sarif")]
    return "\n".join(forms).encode().decode()


@given(raw=st.binary(max_size=400))
def test_random_bytes(tmp_path_factory: pytest.TempPathFactory, raw: bytes) -> None:
    """Random bytes give findings, never an exception."""
    report = check_text(tmp_path_factory.getbasetemp(), raw)

    assert not report.ok
    assert shown(report)


@given(seed=st.integers(min_value=0, max_value=2**32), count=st.integers(min_value=1, max_value=4))
def test_random_mutations(tmp_path_factory: pytest.TempPathFactory, seed: int, count: int) -> None:
    """A good file with random pieces put in, taken out or swapped gives findings or passes, never an exception."""
    chance, text = random.Random(seed), GOOD
    for _ in range(count):
        start = chance.randrange(len(text))
        end = start + chance.choice([0, 0, 1, 4, 30])
        text = text[:start] + chance.choice(["", *PIECES]) + text[end:]

    assert shown(check_text(tmp_path_factory.getbasetemp(), text.encode("utf-8", "surrogatepass"))) is not None


def test_every_value_replaced(tmp_path: Path) -> None:
    """Whatever stands in place of one value is at most a finding."""
    lines = GOOD.splitlines()
    for number, line in enumerate(lines):
        key, colon, _ = line.partition(":")
        for value in (
            "7",
            "-1.5",
            "[]",
            "{}",
            "[[1]]",
            "{a: {b: 1}}",
            "true",
            "''",
            "' '",
            "'{{ x }}'",
            "'a.b'",
            "'\u202e'",
        ):
            changed = [*lines[:number], f"{key}{colon} {value}" if colon else line, *lines[number + 1 :]]
            report = check_text(tmp_path, "\n".join(changed).encode())
            assert shown(report) is not None


def test_missing_file(tmp_path: Path) -> None:
    """A file that is not there is a finding."""
    report = check.run(tmp_path / "pipelines.yaml", catalog=Catalog())

    assert ["yaml/file"] == [finding.rule for finding in report.findings]


def test_folder_in_place_of_file(tmp_path: Path) -> None:
    """A folder is a finding."""
    assert ["yaml/file"] == [finding.rule for finding in load(tmp_path).findings]


def test_size(tmp_path: Path) -> None:
    """A file over 256 kB is refused before it is parsed."""
    path = tmp_path / "pipelines.yaml"
    path.write_bytes(b"#" * (MOST + 1))

    assert ["yaml/size"] == [finding.rule for finding in load(path).findings]


@pytest.mark.parametrize(
    "text",
    [
        "a: &a [x]\n" + "b: [" + "*a, " * 40_000 + "]\n",  # a bomb's fuel
        "a: " + "[" * 200_000,
        "a: " + "{" * 200_000,
        "- " * 100_000,
        "? " * 100_000,
        "a: '" + "x" * 250_000,
        "a: " + "9" * 250_000,
        "\n".join(f"{' ' * level}a:" for level in range(600)),
        "a: " + "{{" * 100_000,
    ],
    ids=["aliases", "lists", "mappings", "items", "keys", "quote", "number", "levels", "braces"],
)
def test_bombs(tmp_path: Path, text: str) -> None:
    """What is made to hurt a parser ends with findings, and with few of them."""
    path = tmp_path / "pipelines.yaml"
    path.write_text(text, "utf-8")
    before = time.process_time()
    found = load(path)

    assert found.declaration is None
    assert 1 <= len(found.findings) <= 10
    assert time.process_time() - before < 60  # seconds of CPU; the worst takes a few


def test_places(tmp_path: Path) -> None:
    """Every key and value is found again where it stands in the file."""
    path = tmp_path / "pipelines.yaml"
    path.write_text(GOOD, "utf-8")
    found = read(path)
    lines = GOOD.splitlines()
    keys = ("pipelines", "brief", "context", "sections", "ticket", "tokens")
    key, value = found.places.key(*keys), found.places.value(*keys)

    assert "tokens" == lines[key.line - 1][key.column - 1 :][:6]
    assert "200..600" == lines[value.line - 1][value.column - 1 :][:8]


def test_place_of_what_is_not_written(tmp_path: Path) -> None:
    """A value that is not written has the place of what it would stand in."""
    path = tmp_path / "pipelines.yaml"
    path.write_text(GOOD, "utf-8")
    places = load(path).places

    assert places.key("pipelines", "brief", "ask") == places.value("pipelines", "brief", "ask", "timeout")


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("on", "on"),  # YAML 1.1 made these booleans
        ("no", "no"),
        ("1.10", 1.1),
        ("'1.10'", "1.10"),
        ("0x1F", "0x1F"),
        ("1_000", "1_000"),
        ("12:30:45", "12:30:45"),
        ("2026-11-24", "2026-11-24"),
        ("1e999", "1e999"),  # no infinity gets in
        (".inf", ".inf"),
        ("-7", -7),
        ("true", True),
    ],
)
def test_scalars(tmp_path: Path, text: str, value: object) -> None:
    """Plain values are what YAML 1.2 says, and nothing becomes a date, infinity or a boolean by surprise."""
    path = tmp_path / "x.yaml"
    path.write_text(f"a: {text}\n", "utf-8")

    assert {"a": value} == read(path).data


def test_byte_order_mark(tmp_path: Path) -> None:
    """A byte order mark is no content."""
    path = tmp_path / "pipelines.yaml"
    path.write_bytes(b"\xef\xbb\xbf" + GOOD.encode())

    assert load(path).declaration is not None


def test_windows_line_ends(tmp_path: Path) -> None:
    """Windows line ends read the same, and places stay right."""
    path = tmp_path / "pipelines.yaml"
    path.write_bytes(GOOD.replace("tokens: 800", "tokens: 0").replace("\n", "\r\n").encode())
    (found,) = load(path).findings

    assert (12, 15) == (found.place.line, found.place.column)
    assert "\r" not in as_text([found]) + as_json([found]) + as_sarif([found]) + as_github([found])
