"""
What we depend on: declared, justified, locked with hashes, complete.
"""

from __future__ import annotations

import ast
import json
import re
import sys
import tomllib
from collections.abc import Iterator, Mapping
from importlib import metadata
from pathlib import Path

import pytest
from packaging.markers import Marker
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[1]
ROOMS = ("penstock", "schemas", "ledger", "ai", "bus", "connectors", "pipelines", "engine", "console")
LOCKS = ("requirements.lock", "requirements-dev.lock")
PART_OF = {
    "yarl": "aiohttp",
    "pydantic-core": "pydantic",
    "opentelemetry-api": "opentelemetry-sdk",
    "requests": "simple-salesforce",
}  # imported, and promised by the other
SHARED = {"google.protobuf": "protobuf", "google": "google-auth"}
"""Names that several packages stand under, and whose part of it we import; the longest that fits counts."""
PLUGINS = {"pytest-asyncio"}  # nobody imports them: pytest finds them by itself
FOR_TESTS = re.compile("testing|bench")  # modules to inherit tests from
HASH = re.compile(r"--hash=sha256:[0-9a-f]{64}")

_PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
RUNTIME = {
    canonicalize_name(Requirement(line).name): Requirement(line) for line in _PYPROJECT["project"]["dependencies"]
}
EXTRAS = {
    canonicalize_name(Requirement(line).name)
    for lines in _PYPROJECT["project"]["optional-dependencies"].values()
    for line in lines
}


def _group(name: str) -> dict[str, Requirement]:
    """
    Return the requirements of a dependency group; what it includes stands in a group of its own.
    """
    lines = [line for line in _PYPROJECT["dependency-groups"][name] if isinstance(line, str)]
    return {canonicalize_name(Requirement(line).name): Requirement(line) for line in lines}


BUILD = _group("build")
DEVELOPMENT = BUILD | _group("dev")
WITH_DECLARED = [(LOCKS[0], RUNTIME | BUILD), (LOCKS[1], RUNTIME | DEVELOPMENT)]


def _locked(name: str) -> dict[str, str]:
    """
    Return package and version of each pin that counts on this machine.
    """
    found: dict[str, str] = {}
    for line in (ROOT / name).read_text("utf-8").splitlines():
        pin = re.match(r"([\w.-]+)==([^ ;\\]+)(?: ; ([^\\]+))?", line)
        if pin and (not pin[3] or Marker(pin[3].strip()).evaluate()):
            found[canonicalize_name(pin[1])] = pin[2]
    return found


def _closure(declared: dict[str, Requirement]) -> set[str]:
    """
    Return what is *declared* and what that needs on this machine, and so on.
    """
    todo = [(name, frozenset(declared[name].extras)) for name in _here(declared)]
    seen: set[tuple[str, frozenset[str]]] = set()
    while todo:
        name, extras = one = todo.pop()
        if one in seen:
            continue
        seen.add(one)
        for line in metadata.requires(name) or []:
            need = Requirement(line)
            if need.marker is None or any(need.marker.evaluate({"extra": extra}) for extra in ("", *extras)):
                todo.append((canonicalize_name(need.name), frozenset(need.extras)))
    return {name for name, _ in seen}


def _here(requirements: dict[str, Requirement]) -> set[str]:
    return {name for name, need in requirements.items() if need.marker is None or need.marker.evaluate()}


@pytest.mark.parametrize("lock", LOCKS)
def test_every_pin_has_hashes(lock: str) -> None:
    """
    A package that changes under its version is refused.
    """
    entries = re.split(r"\n(?=\S)", (ROOT / lock).read_text("utf-8").strip())

    assert [] == [entry[:60] for entry in entries if not HASH.search(entry)]


@pytest.mark.parametrize("lock", LOCKS)
def test_a_lock_names_no_place(lock: str) -> None:
    """
    Where packages come from is the machine's business: no URL, no index, no path.
    """
    text = (ROOT / lock).read_text("utf-8")

    assert [] == re.findall(r"://|--index|--extra|--find|--trusted|\bfile:| @ ", text)


@pytest.mark.parametrize(("lock", "declared"), WITH_DECLARED, ids=LOCKS)
def test_pins_satisfy_what_is_declared(lock: str, declared: dict[str, Requirement]) -> None:
    """
    Each declared dependency is pinned to a version that its range allows.
    """
    pins = _locked(lock)

    assert [] == [name for name in _here(declared) if name not in pins or pins[name] not in declared[name].specifier]


@pytest.mark.parametrize(("lock", "declared"), WITH_DECLARED, ids=LOCKS)
def test_a_lock_is_complete_and_holds_nothing_else(lock: str, declared: dict[str, Requirement]) -> None:
    """
    The lock holds what is declared, what that needs, and no more.
    """
    assert _closure(declared) == set(_locked(lock))


def test_the_lock_of_npm_names_no_place() -> None:
    """
    The one thing from npm, for tests, is pinned by its hash, and not by where it was fetched.
    """
    lock = json.loads((ROOT / "tests/ai/aimock/package-lock.json").read_text("utf-8"))
    packages = {name: entry for name, entry in lock["packages"].items() if name}

    assert "node_modules/@copilotkit/aimock" in packages
    assert [] == [name for name, entry in packages.items() if not entry["integrity"].startswith("sha512-")]
    assert [] == [name for name, entry in packages.items() if "resolved" in entry]


def test_both_locks_agree() -> None:
    """
    Tests run on the versions that users get.
    """
    runtime, development = (_locked(lock) for lock in LOCKS)

    assert runtime == {name: version for name, version in development.items() if name in runtime}


def test_every_dependency_is_justified() -> None:
    """
    `docs/why/dependencies.md` says of each dependency why it is there, and of none that is not.
    """
    page = (ROOT / "docs/why/dependencies.md").read_text("utf-8")
    sections = dict(re.findall(r"^## ([^\n]+)\n(.*?)(?=^## |\Z)", page, re.MULTILINE | re.DOTALL))

    def named(section: str) -> set[str]:
        leads = re.findall(r"^- ((?:\*\*[\w.-]+\*\*(?:, )?)+):", sections[section], re.MULTILINE)
        return {canonicalize_name(name) for lead in leads for name in re.findall(r"\*\*([\w.-]+)\*\*", lead)}

    assert set(RUNTIME) == named("At run time")
    assert set(DEVELOPMENT) == named("To develop")
    assert set(EXTRAS) == named("When asked for")


def _imported(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module


def _foreign(paths: Iterator[Path]) -> set[str]:
    """
    Return the packages of others that *paths* import.
    """
    owners = metadata.packages_distributions()
    ours = sys.stdlib_module_names | set(ROOMS)
    names = {name for path in paths for name in _imported(path) if name.partition(".")[0] not in ours}
    packages = {canonicalize_name(_owner(name, owners)) for name in names}
    return {PART_OF.get(name, name) for name in packages}


def _owner(module: str, owners: Mapping[str, list[str]]) -> str:
    """
    Return the package that *module* is of: several may share a first name.
    """
    shared = next((owner for name, owner in SHARED.items() if module == name or module.startswith(f"{name}.")), None)
    if shared is not None:
        return shared
    first = module.partition(".")[0]
    several = set(owners.get(first, [first]))
    if len(several) == 1:
        return several.pop()
    files = {f"{module.replace('.', '/')}{end}" for end in (".py", "/__init__.py")}
    return next(name for name in several if files & {str(file) for file in metadata.files(name) or ()})


def _modules() -> Iterator[Path]:
    return (path for room in ROOMS for path in (ROOT / room).rglob("*.py"))


def test_every_import_is_declared() -> None:
    """
    The product imports what it declares and nothing else; nothing works by the luck of being there.
    """
    assert set(RUNTIME) | EXTRAS - PLUGINS == _foreign(path for path in _modules() if not FOR_TESTS.match(path.stem))


def test_what_is_for_tests_imports_what_tests_have() -> None:
    """
    Contract tests that a connector's author inherits may use the test tools too.
    """
    found = _foreign(path for path in _modules() if FOR_TESTS.match(path.stem))

    assert set() == found - set(RUNTIME) - set(DEVELOPMENT)
