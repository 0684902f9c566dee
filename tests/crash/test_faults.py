"""
Hubs under fire: every combination of bus and ledger, and a hub that is made to fail.
"""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from console.failpoint import POINTS
from penstock import HOUSE
from penstock.errors import Unreachable
from tests.crash.faults import faults
from tests.crash.ground import COMBINATIONS, Combination
from tests.crash.report import Report
from tests.crash.scene import Order, run

FAULTS = 30  # per combination; `make crash` takes more
SEED = "1"
ROOMS = ("ai", "bus", "connectors", "console", "engine", "ledger", "pipelines")
EMBEDDED = COMBINATIONS[-1]

pytestmark = pytest.mark.timeout(900)


async def _report(order: Order, folder: Path) -> Report:
    try:
        report = await run(order, folder)
    except Unreachable as error:
        pytest.skip(str(error))
    print("\n".join(report.lines()))  # noqa: T201  # what was measured
    return report


@pytest.mark.slow
@pytest.mark.parametrize("combination", COMBINATIONS, ids=str)
async def test_nothing_is_lost_doubled_disordered_or_paid_again(combination: Combination, tmp_path: Path) -> None:
    """
    Thirty deaths and outages: every promise holds, and the folder of a run that broke one is kept.
    """
    part = COMBINATIONS.index(combination) * len(POINTS) // len(COMBINATIONS)
    report = await _report(Order(combination=combination, faults=FAULTS, seed=SEED, first_point=part), tmp_path)

    assert [] == report.wrong, "\n".join(report.lines())
    assert sum(report.faults.values()) >= FAULTS
    shutil.rmtree(tmp_path, ignore_errors=True)


@pytest.mark.slow
async def test_a_hub_that_names_runs_after_their_place_is_seen(tmp_path: Path) -> None:
    """
    With a mistake in the hub, the same faults give finished calls that are paid again.

    What is written again as it was ends `unchanged` even then, so that duplicates are a matter of chance.
    """
    order = Order(combination=EMBEDDED, faults=4, seed=SEED, module="tests.crash.mutant")
    judged = (await _report(order, tmp_path)).judgement

    assert judged.finished_again


def test_every_failpoint_of_the_code_has_its_turn() -> None:
    """
    The list of failpoints is the one that the code names.
    """
    texts = [path.read_text("utf-8") for room in ROOMS for path in (HOUSE / room).rglob("*.py")]
    named = {name for text in texts for name in re.findall(r'fail\("([a-z]+(?::[a-z-]+)?)"\)', text)}

    assert sorted(named) == list(POINTS)


def test_a_seed_gives_the_same_faults_again() -> None:
    """
    The plan depends on nothing but the seed and the combination.
    """
    plans = [faults(EMBEDDED, seed, disk=True) for seed in ("1", "1", "2")]
    first, again, other = ([next(plan) for _ in range(50)] for plan in plans)

    assert first == again
    assert first != other
    assert {"kill", "stop", "disk-full"} <= {fault.kind for fault in first}
