"""
`penstock connectors NAME --test`: the contract suite on a connector whose tests stand beside it.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

import connectors
from connectors import catalog, quality
from connectors.quality import TIERS, Quality, Tier
from penstock.errors import Invalid

GUIDE = "docs/howto/write-a-connector.md says how"
NEEDS = ("pytest", "pytest_asyncio", "hypothesis")
OPTIONS = (
    "asyncio_mode=auto",
    "asyncio_default_fixture_loop_scope=function",
    "markers=point(number, needs): belongs to a point of the connector contract",
)


def test_connector(name: str) -> tuple[bool, Quality]:
    """
    Run the tests in the folder of connector *name* and write its quality block there; return whether all passed.

    Raises `Invalid` for a connector that is none or has no such tests, and without pytest.
    """
    catalog.spec(name)
    folder = catalog.folder(name)
    if not any(folder.glob("test_*.py")):
        raise Invalid(f"{name!r} has no test_*.py", where=str(folder), hint=GUIDE)
    before = _written(folder)
    passed = _run(folder) == 0
    kept = quality.read(folder)
    if kept is None or _written(folder) == before:
        message = f"no class in its tests inherits ConnectorContract with `name = {name!r}`, or they cannot be read"
        raise Invalid(message, where=str(folder), hint=GUIDE)
    return passed, kept


def reaches(kept: Quality, wanted: Tier) -> bool:
    """
    Return whether a quality block is of tier *wanted* or a higher one.
    """
    return kept.tier is not None and TIERS.index(kept.tier) >= TIERS.index(wanted)


def _written(folder: Path) -> int | None:
    with contextlib.suppress(FileNotFoundError):
        return (folder / quality.FILE).stat().st_mtime_ns
    return None


def _run(folder: Path) -> int:
    """
    Let pytest run the tests in *folder* in this process, as our own are run; it talks on stderr.
    """
    pytest = _pytest()
    suite = Path(connectors.__file__).parent.glob("testing*.py")
    pytest.register_assert_rewrite(*(f"connectors.{one.stem}" for one in suite))
    words = [str(folder), "-q", f"--rootdir={folder}", "-c", os.devnull, "--import-mode=importlib"]
    words += [part for option in OPTIONS for part in ("-o", option)]
    words += ["-W", "ignore::pytest.PytestAssertRewriteWarning"]  # what is imported already says nothing by assert
    words += ["-p", "no:cacheprovider", "-p", "connectors.testing_quality", "--quality", "-p", "console.testing_door"]
    with tempfile.TemporaryDirectory() as scratch, contextlib.redirect_stdout(sys.stderr):
        _quiet(Path(scratch))
        return int(pytest.main(words))


def _pytest() -> Any:
    for name in NEEDS:
        if importlib.util.find_spec(name) is None:
            raise Invalid(f"the contract suite needs {name}", hint="pip install 'penstock[testing]'")
    import pytest

    return pytest


def _quiet(scratch: Path) -> None:
    """
    Let random cases neither fail for a slow machine nor leave files behind.
    """
    from hypothesis import HealthCheck, configuration, settings

    configuration.set_hypothesis_home_dir(scratch)
    settings.register_profile("connectors", database=None, deadline=None, suppress_health_check=[HealthCheck.too_slow])
    settings.load_profile("connectors")
