"""
Broken declarations, and exactly what `check` says about each. The folder `corpus/` holds them.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from pipelines.rules import RULES
from tests.pipelines.corpus.harness import BASE, HERE, cases, output, report

CASES = cases()
FAMILIES = sorted({case.parent.name for case in CASES})
READING = {"braces", "include", "keys", "later", "units", "values", "yaml"}
"""Families that are found while a file is read, not by a registered rule."""


def named(case: Path) -> str:
    return case.relative_to(HERE).as_posix()


@pytest.mark.parametrize("case", CASES, ids=named)
def test_expected(case: Path) -> None:
    """A broken declaration gives exactly its expected output."""
    assert (case / "expected.txt").read_text("utf-8") == output(case)


@pytest.mark.parametrize("case", CASES, ids=named)
def test_own_family(case: Path) -> None:
    """A case bites: with its family of rules switched off, the output is another."""
    assert (case / "expected.txt").read_text("utf-8") != output(case, off={case.parent.name})


@pytest.mark.parametrize("family", FAMILIES)
def test_family_off_lets_files_through(family: str) -> None:
    """With a family of rules switched off, a file that only it refuses has no error left."""
    through = [case for case in CASES if case.parent.name == family and report(case, off={family}).ok]

    assert through


def test_sound_declaration() -> None:
    """The declaration every case is made of has nothing wrong with it."""
    assert "" == output(BASE)


def test_every_rule_has_a_case() -> None:
    """Every registered rule is what some case of the corpus finds."""
    found = {finding.rule for case in CASES for finding in report(case).findings}

    assert set() == RULES.keys() - found


def test_every_family_has_cases() -> None:
    """Every family of rules has a folder."""
    assert set() == {name.partition("/")[0] for name in RULES} - set(FAMILIES)
    assert set() == READING - set(FAMILIES)
