"""
kill -9 at every point where it hurts: nothing is lost, nothing is half-written, paid answers stay paid.
"""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

import ledger
from penstock.clock import SystemClock

HERE = Path(__file__).parent
POINTS = (
    [
        "claim",
        "admit",
        "wait",
        "begin",
        "reserve",
        "settle",
        "done:before",
        "done:after",
        "finish:before",
        "finish:after",
    ]
    + ["begin#2", "begin#3", "claim#2", "settle#4", "done:before#2", "done:after#2", "finish:after#4"]
    + [f"commit:{side}#{n}" for side in ("before", "after") for n in range(1, 60, 4)]
)


def _child():
    spec = importlib.util.spec_from_file_location("crash_child", HERE / "crash_child.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def graves(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder per point, with the ledger of the worker that died there."""
    folder = tmp_path_factory.mktemp("graves")
    environment = os.environ | {"PYTHONPATH": str(HERE.parent.parent)}
    subprocess.run([sys.executable, HERE / "crash_child.py", folder, *POINTS], check=True, env=environment)
    return folder


@pytest.mark.parametrize("point", POINTS)
async def test_a_killed_worker_leaves_a_ledger_that_goes_on(graves, auditor, point):
    """After kill -9 the successor finishes every event, pays no finished answer twice, writes once."""
    child = _child()
    said = child.Said(graves / point / "said")
    book = await ledger.open(graves / point / "ledger.db", clock=SystemClock())
    await book.store.read(auditor)
    before = {run: counted for run, counted in _answers(said).items() if counted}
    await child.everything(book, said, fails=False)
    await book.store.read(auditor)
    counts = await book.counts()
    spent, reserved = await book.spent(child.CAP.scope, child.CAP.period)
    await book.close()
    lines = Counter(said.lines())
    runs = [child.event(number).run for number in range(child.EVENTS)]

    assert counts == {("p", "delivered"): child.EVENTS}
    assert [lines[f"{run} written"] for run in runs] == [1] * child.EVENTS
    assert all(lines[f"{run} asked"] <= 2 for run in runs)
    assert all(lines[f"{run} asked"] == before[run] for run in before)
    assert sum(lines[f"{run} asked"] for run in runs) <= child.EVENTS + 1
    assert reserved == 0
    assert spent - child.COST * child.EVENTS in {0, child.COST, child.WORST}  # nothing, a settled or a swept call twice


def _answers(said) -> dict[str, int]:
    """Count the asks of every run whose answer was in the ledger when its worker died."""
    lines = Counter(said.lines())
    answered = [line.split()[0] for line in lines if line.endswith(" answered")]
    return {run: lines[f"{run} asked"] for run in answered}
