"""
What is handed out: the source archive, the wheel built from it, and the wheel in an environment of its own.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path, PurePosixPath

import pytest

import penstock

ROOT = Path(__file__).resolve().parents[1]
ROOMS = ("ai", "bus", "connectors", "console", "engine", "ledger", "pipelines", "schemas")
HANDED_OUT = {".gz", ".j2", ".json", ".lock", ".py", ".sql", ".typed", ".yaml"}
STRAY = ("connectors/zendesk/.env", "ledger/__pycache__/steps.cpython-311.pyc", "ai/.penstock/ledger.sqlite")
LEFT_ALONE = shutil.ignore_patterns(".git", ".venv", ".*_cache", ".hypothesis", ".penstock", "__pycache__", "dist")

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("wheel")]


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """
    Give a folder with both archives, built from a copy of the checkout in which strays lie about.
    """
    copy = tmp_path_factory.mktemp("checkout") / "penstock"
    shutil.copytree(ROOT, copy, ignore=LEFT_ALONE)
    for name in STRAY:
        (copy / name).parent.mkdir(exist_ok=True)
        (copy / name).write_text("TOKEN=stray")
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(copy / "dist"), str(copy)]
    subprocess.run(command, check=True, capture_output=True, timeout=120)
    return copy / "dist"


@pytest.fixture(scope="module")
def names(built: Path) -> list[str]:
    """
    Give the names of the files in the wheel.
    """
    with zipfile.ZipFile(next(built.glob("*.whl"))) as wheel:
        return wheel.namelist()


@pytest.fixture(scope="module")
def environment(built: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """
    Give the `bin` of an environment that holds our wheel, a foreign `schemas`, and what we depend on.
    """
    home = tmp_path_factory.mktemp("environment")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", home], check=True, timeout=60)
    site = next(home.glob("lib/python*/site-packages"))
    with zipfile.ZipFile(next(built.glob("*.whl"))) as wheel:
        wheel.extractall(site)
    (site / "schemas").mkdir()
    (site / "schemas" / "__init__.py").write_text("OWNER = 'somebody else'\n")
    # A path in a .pth file is only a path: what stands in *its* .pth files, our checkout, is not followed.
    dependencies = Path(pytest.__file__).parents[1]
    (site / "dependencies.pth").write_text(f"{dependencies}\n")
    return home / "bin"


def _run(environment: Path, *arguments: str, cwd: Path) -> str:
    done = subprocess.run(
        [environment / "python", *arguments],
        cwd=cwd,
        env={"PATH": str(environment)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def test_the_wheel_holds_one_package(names: list[str]) -> None:
    """
    Only `penstock` lands in site-packages.
    """
    assert {"penstock", f"penstock-{penstock.__version__}.dist-info"} == {name.split("/")[0] for name in names}


def test_the_wheel_holds_every_file_of_every_room(names: list[str]) -> None:
    """
    What stands in a room stands in the wheel, with the worked examples, and nothing else does.
    """
    here = {
        f"penstock/_rooms/{path.relative_to(ROOT).as_posix()}"
        for room in (*ROOMS, "templates")
        for path in (ROOT / room).rglob("*")
        if path.suffix in HANDED_OUT
    }

    assert here | {"penstock/_rooms/pipelines.yaml"} == {name for name in names if name.startswith("penstock/_rooms/")}


def test_the_wheel_holds_known_kinds_of_files(names: list[str]) -> None:
    """
    No stray, no cache, no secret: only kinds of files that we hand out.
    """
    ours = [PurePosixPath(name) for name in names if name.startswith("penstock/")]
    strange = [str(name) for name in ours if name.suffix not in HANDED_OUT]

    assert [] == strange


def test_the_source_archive_leaves_strays_out(built: Path) -> None:
    """
    What `.gitignore` names does not leave the house, and what a builder needs does.
    """
    with tarfile.open(next(built.glob("*.tar.gz"))) as archive:
        inside = {name.partition("/")[2] for name in archive.getnames()}

    assert set() == inside & set(STRAY)
    assert {"LICENSE", "Makefile", "README.md", "pyproject.toml", "requirements.lock", "tests/test_wheel.py"} <= inside


def test_the_wheel_carries_its_licence_and_its_command(built: Path) -> None:
    """
    The licence's text and the `penstock` command are part of the wheel.
    """
    info = f"penstock-{penstock.__version__}.dist-info"
    with zipfile.ZipFile(next(built.glob("*.whl"))) as wheel:
        licence = wheel.read(f"{info}/licenses/LICENSE").decode()
        commands = wheel.read(f"{info}/entry_points.txt").decode()

    assert "Apache License" in licence
    assert "penstock = penstock.__main__:main" in commands


def test_the_wheel_runs_beside_a_foreign_schemas(environment: Path, tmp_path: Path) -> None:
    """
    The command works where another distribution owns the name `schemas`.
    """
    shown = _run(environment, "-m", "penstock", "--help", cwd=tmp_path)

    assert "check" in shown


def test_importing_us_hides_nobody(environment: Path, tmp_path: Path) -> None:
    """
    Importing penstock as a library leaves the foreign `schemas` in place.
    """
    shown = _run(environment, "-c", "import penstock, schemas; print(schemas.OWNER)", cwd=tmp_path)

    assert "somebody else\n" == shown


def test_our_own_process_has_our_rooms(environment: Path, tmp_path: Path) -> None:
    """
    After `rooms()` the name `schemas` is ours, from inside the wheel.
    """
    script = "import penstock; penstock.rooms(); import schemas; print(schemas.Event.__name__, schemas.__file__)"

    name, place = _run(environment, "-c", script, cwd=tmp_path).split()

    assert "Event" == name
    assert Path(place).is_relative_to(environment.parent)
    assert "_rooms" in Path(place).parts


def test_every_room_imports_from_the_wheel(environment: Path, tmp_path: Path) -> None:
    """
    No room is missing in the wheel or needs a file that is not in it.
    """
    script = f"import penstock; penstock.rooms()\nfor room in {ROOMS!r}: print(__import__(room).__file__)"
    places = [Path(line) for line in _run(environment, "-c", script, cwd=tmp_path).splitlines()]

    assert [True] * len(ROOMS) == [place.is_relative_to(environment.parent) for place in places]


def test_a_connector_of_ones_own_is_tested_from_the_wheel(environment: Path, tmp_path: Path) -> None:
    """
    The contract suite comes with the wheel, and writes down what it found.
    """
    own = tmp_path / "connectors" / "desk"
    own.mkdir(parents=True)
    (own / "manifest.yaml").write_text(
        "name: desk\ndescription: A desk.\nsettings: {url: {description: Where.}}\nurl: url\n"
        "auth: {nothing: true}\nhealth: {get: /me, acts_as: body.id, detail: body.id}\n"
    )
    (own / "test_desk.py").write_text(
        "from connectors.testing import ConnectorContract\n\n"
        "class TestDesk(ConnectorContract):\n"
        "    name, environment, credential = 'desk', {}, ''\n"
        "    settings = lambda self, url: {'url': url}\n"
        "    pretend = None\n"
    )
    done = subprocess.run(
        [environment / "python", "-m", "penstock", "connectors", "desk", "--test", "-f", str(tmp_path)],
        cwd=tmp_path,
        env={"PATH": str(environment), "PYTEST_ADDOPTS": "-k test_unknown_setting"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert 0 == done.returncode, done.stderr
    assert "1 passed" in done.stderr
    assert '"state": "passed"' in (own / "quality.json").read_text()
