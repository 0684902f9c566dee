"""
What a developer types and what runs by itself: make, CI, the hooks, the workflow we hand out.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SCRIPTS = Path(sys.executable).parent
TARGETS = ("setup", "demo", "test", "check", "bench", "build", "help", "lock", "journey-github")


def _run(*command: str | Path, cwd: Path = ROOT, path: str | None = None) -> subprocess.CompletedProcess[str]:
    env = None if path is None else {"PATH": path}
    return subprocess.run(
        [str(part) for part in command], cwd=cwd, env=env, capture_output=True, text=True, timeout=60, check=False
    )


@pytest.fixture
def bare(tmp_path: Path) -> Path:
    """
    Give a folder with the Makefile and a `bin` of the plainest tools, without Python.
    """
    shutil.copy(ROOT / "Makefile", tmp_path)
    for lock in ("requirements.lock", "requirements-dev.lock", "pyproject.toml"):
        (tmp_path / lock).touch()
    (tmp_path / "bin").mkdir()
    for tool in ("sh", "touch", "sed", "test"):
        (tmp_path / "bin" / tool).symlink_to(str(shutil.which(tool)))
    return tmp_path


def _python(bare: Path, name: str, body: str) -> None:
    (bare / "bin" / name).write_text(f"#!/bin/sh\n{body}\n")
    (bare / "bin" / name).chmod(0o755)


def test_help_lists_every_target() -> None:
    """
    `make help` shows each target with what it does.
    """
    listed = dict(re.findall(r"^  ([\w-]+) +(.+)$", _run("make", "help").stdout, re.MULTILINE))
    phony = re.search(r"^\.PHONY: (.+)$", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE)

    assert phony
    assert set(phony[1].split()) == set(listed)
    assert set(TARGETS) <= set(listed)


def test_a_missing_python_is_told_in_one_line(bare: Path) -> None:
    """
    Without a Python that can make environments, one line says what to install.
    """
    _python(bare, "python3.11", "exit 1")
    done = _run(str(shutil.which("make")), "-s", "setup", cwd=bare, path=str(bare / "bin"))

    first, *rest = done.stderr.splitlines()
    assert 2 == done.returncode
    assert "apt-get install python3 python3-venv" in first
    assert [True] == [line.startswith("make: ***") for line in rest]


def test_a_failed_download_is_told_in_one_line(bare: Path) -> None:
    """
    Where packages cannot be had, one line says what to set, and the next make tries again.
    """
    make_environment = 'test "$1" = -m || exit 0; /bin/mkdir -p .venv/bin; /bin/cp bin/installer .venv/bin/python'
    _python(bare, "python3.12", make_environment)
    _python(bare, "installer", 'echo "no route" >&2; exit 1')
    done = _run(str(shutil.which("make")), "-s", "setup", cwd=bare, path=str(bare / "bin"))

    assert 2 == done.returncode
    assert "Packages could not be installed. Behind a mirror, set PIP_INDEX_URL" in done.stderr
    assert not (bare / ".venv" / ".installed").exists()


def test_set_up_is_done_once_per_change_of_a_lock(bare: Path) -> None:
    """
    A second make installs nothing; a changed lock installs again, and only what hangs on it.
    """
    make_environment = 'test "$1" = -m || exit 0; /bin/mkdir -p .venv/bin; /bin/cp bin/installer .venv/bin/python'
    _python(bare, "python3.12", make_environment)
    _python(bare, "installer", "exit 0")
    make = (str(shutil.which("make")), "-s", "setup")

    outputs = [_run(*make, cwd=bare, path=str(bare / "bin")).stdout for _ in range(2)]
    later = (bare / ".venv" / ".installed").stat().st_mtime + 10
    os.utime(bare / "requirements-dev.lock", (later, later))
    outputs.append(_run(*make, cwd=bare, path=str(bare / "bin")).stdout)

    assert [True, False, True] == ["Installing" in output for output in outputs]


def test_ci_is_a_sound_script_that_allows_no_skip() -> None:
    """
    `.ci/run` parses, can be run, stops at the first failure and lets no test skip.
    """
    script = ROOT / ".ci" / "run"
    text = script.read_text("utf-8")

    assert 0 == _run("bash", "-n", script).returncode
    assert script.stat().st_mode & 0o111
    assert "set -euo pipefail" in text
    assert "export PENSTOCK_NO_SKIP=1" in text
    assert "make test" == text.rstrip().splitlines()[-1]


def test_the_hooks_are_valid_and_run_what_is_there() -> None:
    """
    The pre-commit file is valid, and each tool it names is in the lock's environment.
    """
    config = ROOT / ".pre-commit-config.yaml"
    tools = set(re.findall(r"entry: \.venv/bin/([\w-]+)", config.read_text("utf-8")))

    assert "" == _run(SCRIPTS / "pre-commit", "validate-config", config).stdout
    assert {"ruff", "mypy", "lint-imports", "python"} == tools
    assert [] == [tool for tool in tools if not (SCRIPTS / tool).exists()]


def test_the_workflow_we_hand_out_is_one() -> None:
    """
    The CI workflow that `penstock init` writes is what its host expects.
    """
    workflow = ROOT / "console" / "cli" / "starter" / "workflow.yaml"
    done = _run(SCRIPTS / "check-jsonschema", "--builtin-schema", "vendor.github-workflows", workflow)

    assert 0 == done.returncode, done.stdout


@pytest.mark.parametrize("schema", sorted(path.name for path in (ROOT / "schemas").glob("*.json")))
def test_our_schemas_are_schemas(schema: str) -> None:
    """
    What we publish as JSON Schema is valid as such.
    """
    done = _run(SCRIPTS / "check-jsonschema", "--check-metaschema", ROOT / "schemas" / schema)

    assert 0 == done.returncode, done.stdout
