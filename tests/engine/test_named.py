"""
The page that explains the executor names a test for every trace: each of them is there.
"""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs/why/executor.md"
NAMED = re.compile(r"`(tests/[\w/]+\.py)::(\w+)`")


def test_every_trace_has_the_test_it_names() -> None:
    """
    No row of the table points to a test that was renamed or taken away.
    """
    named = NAMED.findall(PAGE.read_text("utf-8"))
    missing = [
        f"{path}::{test}"
        for path, test in named
        if not (ROOT / path).is_file()
        or not re.search(rf"^(async )?def {test}\(", (ROOT / path).read_text("utf-8"), re.MULTILINE)
    ]

    assert [] == missing
    assert 30 < len(named)


def test_every_trap_of_the_prototype_and_of_both_workers_is_in_the_table() -> None:
    """
    What must never be left out of the table is in it.
    """
    rows = [line.split("|")[1].strip() for line in PAGE.read_text("utf-8").splitlines() if line.startswith("| ")]

    assert {"A.5b": 4, "P1": 2, "P2": 1, "P3": 1} == {name: rows.count(name) for name in ("A.5b", "P1", "P2", "P3")}
