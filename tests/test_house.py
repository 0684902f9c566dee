"""
The house's own rules: what stands where, who may import whom, what may be depended on.
"""

from __future__ import annotations

import ast
import importlib
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SCRIPTS = Path(sys.executable).parent
ROOMS = ("penstock", "schemas", "ledger", "ai", "bus", "connectors", "pipelines", "engine", "console")
PRODUCT = (*ROOMS, "benchmarks")
CACHES = {".git", ".hypothesis", ".penstock", ".venv", "__pycache__", "build", "dist"}
SPEECH = {".json", ".lock", ".md", ".py", ".svg", ".toml", ".yaml", ".j2", ".sql", ""}  # what people read
GRAB_BAGS = {"common", "core", "helpers", "misc", "shared", "utils"}
HIDES_PYTHON = {"email", "http", "json", "logging", "queue", "secrets", "types"}

LONGEST_BODY = 45  # lines

PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))


def _files(*folders: str) -> Iterator[Path]:
    for top in [ROOT / folder for folder in folders] or [ROOT]:
        for path in sorted(top.rglob("*")):
            parts = path.relative_to(ROOT).parts
            if path.is_file() and not any(part in CACHES or part.endswith("_cache") for part in parts):
                yield path


def _named(paths: Iterator[Path]) -> list[str]:
    return [path.relative_to(ROOT).as_posix() for path in paths]


def test_tests_are_no_package() -> None:
    """
    No `__init__.py` stands under tests/, where it would hide the room of the same name.
    """
    assert [] == _named(path for path in _files("tests") if path.name == "__init__.py")


def test_every_folder_of_a_room_is_a_package() -> None:
    """
    Each folder with modules has its `__init__.py`: without one, a foreign package of that name takes its place.
    """
    folders = {path.parent for path in _files(*ROOMS) if path.suffix == ".py"}

    assert [] == _named(iter(sorted(folder for folder in folders if not (folder / "__init__.py").exists())))


def test_no_grab_bags() -> None:
    """
    No module is named after nothing in particular.
    """
    assert [] == _named(path for path in _files(*PRODUCT) if path.stem in GRAB_BAGS or path.parent.name in GRAB_BAGS)


def test_no_connector_hides_a_module_of_python() -> None:
    """
    A folder `connectors/email` would break every script started inside connectors/.
    """
    assert set() == {path.stem for path in (ROOT / "connectors").iterdir()} & HIDES_PYTHON


def _as_sorted(name: str) -> tuple[int, str]:
    """
    Sort as the linter does: constants, classes, functions.
    """
    kind = 0 if name.isupper() and len(name) > 1 else 1 if name[0].isupper() else 2
    return kind, name


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_says_what_is_public(room: str) -> None:
    """
    The public names of a room stand in its sorted `__all__`, and exist.
    """
    module = importlib.import_module(room)

    assert sorted(module.__all__, key=_as_sorted) == module.__all__
    assert [] == [name for name in module.__all__ if not hasattr(module, name)]
    assert (ROOT / room / "py.typed").exists()


def test_nothing_of_a_machine_is_in_the_files() -> None:
    """
    No absolute path of somebody's machine and no registry's host is in any file.
    """
    places = [rf"(?<![\w.])/{top}/\w" for top in ("work", "root", "Users")]
    hosts = [rf"\b{name}\.org\b" for name in ("pypi", "pythonhosted", "npmjs", "debian")]
    forbidden = re.compile("|".join(places + hosts))
    texts = [path for path in _files() if path.suffix in SPEECH]

    assert [] == _named(path for path in texts if forbidden.search(path.read_text("utf-8", "replace")))


def test_every_exception_from_the_linter_has_its_reason() -> None:
    """
    Where the linter is told to look away, in its settings or in the product's code, a reason stands beside.
    """
    rules = re.findall(r'^    "[A-Z]+\d*",?(.*)$', (ROOT / "pyproject.toml").read_text("utf-8"), re.MULTILINE)
    bare = re.compile(r"# noqa(?:: [A-Z]+\d+(?:, ?[A-Z]+\d+)*)?\s*$", re.MULTILINE)

    assert [] == [rule for rule in rules if "#" not in rule and rule]
    assert [] == _named(
        path for path in _files(*PRODUCT) if path.suffix == ".py" and bare.search(path.read_text("utf-8"))
    )


def _lint_imports(folder: Path) -> subprocess.CompletedProcess[str]:
    command = [str(SCRIPTS / "lint-imports"), "--no-cache", "--config", str(folder / "pyproject.toml")]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=60, check=False)


def test_imports_only_point_down() -> None:
    """
    All import contracts are kept.
    """
    done = _lint_imports(ROOT)

    assert 0 == done.returncode, done.stdout


@pytest.mark.parametrize(
    ("place", "statement", "contract"),
    [
        ("ledger", "import bus", "imports only point down"),
        ("bus", "import ai", "imports only point down"),
        ("connectors", "import bus", "imports only point down"),
        ("pipelines", "import engine", "imports only point down"),
        ("penstock", "import schemas", "imports only point down"),
        ("connectors/github", "import connectors.zendesk", "do not know each other"),
        ("engine", "import connectors.zendesk", "by its name"),
        ("engine", "import ai.double", "the demo and tests only"),
        ("console/cli", "import connectors.zendesk.double", "the demo and tests only"),
    ],
)
def test_a_forbidden_import_is_found(tmp_path: Path, place: str, statement: str, contract: str) -> None:
    """
    Each contract breaks when somebody breaks it.
    """
    for room in (*ROOMS, "pyproject.toml"):
        source = ROOT / room
        if source.is_dir():
            shutil.copytree(source, tmp_path / room, ignore=shutil.ignore_patterns("__pycache__", "*.gz"))
        else:
            shutil.copy(source, tmp_path)
    (tmp_path / place / "mutant.py").write_text(f"{statement}\n")

    done = _lint_imports(tmp_path)
    broken = [line for line in done.stdout.splitlines() if " BROKEN" in line]

    assert 1 == done.returncode
    assert [contract] == [contract for line in broken if contract in line]


def test_every_connector_stands_in_the_contracts() -> None:
    """
    A new connector is named in `pyproject.toml`, so that the contracts hold for it too.
    """
    folders = {f"connectors.{path.parent.name}" for path in (ROOT / "connectors").glob("*/__init__.py")}
    contracts = {contract["name"]: contract for contract in PYPROJECT["tool"]["importlinter"]["contracts"]}

    assert folders == set(contracts["Connectors do not know each other"]["modules"])
    assert folders == set(contracts["Nobody knows a connector by its name"]["forbidden_modules"])


def test_a_function_fits_a_screen() -> None:
    """
    The body of a function of the product, its docstring left aside, has at most so many lines.
    """
    long = [
        f"{path.relative_to(ROOT)}: {node.name}"
        for path in _files(*PRODUCT)
        if path.suffix == ".py"
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and _body(node) > LONGEST_BODY
    ]

    assert [] == long


def _body(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    first = function.body[1] if ast.get_docstring(function) and len(function.body) > 1 else function.body[0]
    return (function.end_lineno or 0) - first.lineno + 1


def test_links_between_pages_lead_somewhere() -> None:
    """
    Every relative link in a page points at a file that exists.
    """
    broken = [
        f"{page.relative_to(ROOT)}: {link}"
        for page in _files()
        if page.suffix == ".md"
        for link in re.findall(r"\]\(([^)#\s]+)", page.read_text("utf-8"))
        if "://" not in link and not (page.parent / link).exists()
    ]

    assert [] == broken
