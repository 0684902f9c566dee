"""
The built wheel, alone in an empty environment beside a foreign package named `schemas`.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import sysconfig
import venv
from dataclasses import dataclass
from importlib.metadata import distributions
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PINNED = re.compile(r"^([A-Za-z0-9._-]+)==", re.MULTILINE)
LEAKS = ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV", "OPENAI_API_KEY", "ANTHROPIC_API_KEY", "PENSTOCK_STATE")


@dataclass(frozen=True)
class Installed:
    """
    An environment with the wheel, its locked dependencies and the foreign package; nothing else.
    """

    folder: Path
    work: Path

    def run(self, *words: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
        """
        Run a program of the environment; must end with 0.
        """
        environment = {name: value for name, value in os.environ.items() if name not in LEAKS}
        environment["PATH"] = f"{self.folder / 'bin'}:{environment.get('PATH', '')}"
        ended = subprocess.run(
            [str(self.folder / "bin" / words[0]), *words[1:]],
            cwd=cwd or self.work,
            env=environment,
            capture_output=True,
            text=True,
            timeout=240,
            check=False,
        )
        assert 0 == ended.returncode, f"{' '.join(words)}\n{ended.stdout}\n{ended.stderr}"
        return ended


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Installed:
    """
    Build the wheel through the sdist and install it without network.
    """
    base = tmp_path_factory.mktemp("wheel")
    subprocess.run(
        [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(base / "dist"), str(ROOT)],
        check=True,
        capture_output=True,
    )
    (wheel,) = (base / "dist").glob("penstock-*.whl")
    folder = base / "env"
    venv.create(folder, with_pip=False, symlinks=True)
    site = next((folder / "lib").glob("python*")) / "site-packages"
    _foreign(site)
    _dependencies(site)
    python = str(folder / "bin" / "python")
    subprocess.run(
        [sys.executable, "-m", "pip", "-q", "--python", python, "install", "--no-index", "--no-deps", str(wheel)],
        check=True,
        capture_output=True,
    )
    (base / "work").mkdir()
    return Installed(folder=folder, work=base / "work")


def _foreign(site: Path) -> None:
    """
    Put somebody else's package named like one of our rooms there first.
    """
    (site / "schemas").mkdir()
    (site / "schemas" / "__init__.py").write_text("FOREIGN = 'theirs'\n")
    meta = site / "schemas-9.9.dist-info"
    meta.mkdir()
    (meta / "METADATA").write_text("Metadata-Version: 2.1\nName: schemas\nVersion: 9.9\n")


def _dependencies(site: Path) -> None:
    """
    Link exactly what `requirements.lock` pins from this environment: what is missing there is missing here.
    """
    wanted = {_plain(name) for name in PINNED.findall((ROOT / "requirements.lock").read_text())}
    ours = Path(sysconfig.get_paths()["purelib"])
    for dist in distributions(path=[str(ours)]):
        if _plain(dist.metadata["Name"]) not in wanted:
            continue
        for top in {file.parts[0] for file in dist.files or () if file.parts[0] not in ("..", "__pycache__")}:
            if not (site / top).exists():
                (site / top).symlink_to(ours / top)


def _plain(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def test_a_newcomer_gets_from_nothing_to_the_demo(installed: Installed) -> None:
    """
    init, check, test, preview and demo work one after the other, in the new project.
    """
    installed.run("penstock", "init", "x")
    project = installed.work / "x"

    checked = installed.run("penstock", "check", cwd=project)
    tested = installed.run("penstock", "test", cwd=project)
    words = ("preview", "ticket-summary", "--event", "tests/ticket-4711.json", "--lookups", "tests/lookups.yaml")
    previewed = installed.run("penstock", *words, cwd=project)
    played = installed.run("penstock", "demo", "--fast", cwd=project)

    assert "0 errors" in checked.stderr
    assert "3 cases, 0 failed" in tested.stderr
    assert "Parcel 88-2047" in previewed.stdout
    assert "every one with a verdict" in played.stderr


def test_the_foreign_package_still_imports(installed: Installed) -> None:
    """
    Whoever imports `schemas`, also after `penstock`, gets theirs.
    """
    alone = installed.run("python", "-c", "import schemas; print(schemas.FOREIGN)")
    beside = installed.run("python", "-c", "import penstock, schemas; print(schemas.FOREIGN)")

    assert ["theirs\n", "theirs\n"] == [alone.stdout, beside.stdout]


def test_the_checkout_is_not_on_the_path(installed: Installed) -> None:
    """
    What ran above was the wheel: the rooms are found inside it.
    """
    found = installed.run("python", "-c", "import penstock; print(penstock.HOUSE)")

    assert str(installed.folder) in found.stdout
    assert found.stdout.strip().endswith("_rooms")
