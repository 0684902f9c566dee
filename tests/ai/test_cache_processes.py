"""
One question in several processes: the model hears it once, also when the process that asks is killed, wherever.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path
from typing import Any

import orjson
import pytest

import ledger
from ai.double import Fault, ModelDouble
from ledger.costs import CostQuery
from penstock.clock import SystemClock

CHILD = Path(__file__).with_name("cache_child.py")
SLOWLY = Fault(kind="drip", seconds=0.5)


@pytest.fixture(params=["file", "postgres"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """
    Where the ledger of all of them is.
    """
    return request.getfixturevalue("dsn") if request.param == "postgres" else str(tmp_path / "ledger.db")


async def asks(place: str, double: ModelDouble, event: str, point: str = "") -> tuple[int, dict[str, Any]]:
    """
    Let a process ask; return how it ended, and what it said.
    """
    environment = os.environ | {"PYTHONPATH": str(CHILD.parents[2])}
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        str(CHILD),
        place,
        double.openai_url,
        event,
        point,
        stdout=asyncio.subprocess.PIPE,
        env=environment,
    )
    async with asyncio.timeout(120):
        said, _ = await process.communicate()
    assert process.returncode is not None
    return process.returncode, orjson.loads(said or b"{}")


@pytest.mark.parametrize(
    ("point", "calls"),
    [
        ("", 1),  # nobody dies
        ("cache:asking", 1),  # it had said that it would ask
        ("ai:before-send", 1),  # it had reserved the money
        ("ai:after-answer", 2),  # it had been answered, and kept nothing: that call may have to be paid once more
    ],
)
async def test_a_question_is_asked_once(place: str, point: str, calls: int) -> None:
    """
    The first process dies at the point; three others wait until that is sure, then one asks for all.
    """
    await (await ledger.open(place if "://" in place else Path(place), clock=SystemClock())).close()
    async with ModelDouble() as double:
        double.faults.extend([SLOWLY] * 2)
        first, _ = await asks(place, double, "first", point) if point else (0, None)
        ended = await asyncio.gather(*(asks(place, double, f"e{number}") for number in range(3)))

    assert first == (-signal.SIGKILL if point else 0)
    assert [code for code, _ in ended] == [0, 0, 0]
    assert len(double.calls) == calls
    (payer,) = (said for _, said in ended if not said["cached"])
    assert payer["cost"] > 0
    assert [(said["cached"], said["cost"]) for _, said in ended if said["cached"]] == [(payer["run"], 0)] * 2
    assert await _saved(place) == [2 * payer["cost"]]


async def _saved(place: str) -> list[int]:
    book = await ledger.open(place if "://" in place else Path(place), clock=SystemClock(), read_only=True)
    try:
        return [each.saved for each in await book.savings(CostQuery(since=0, until=2**60))]
    finally:
        await book.close()
