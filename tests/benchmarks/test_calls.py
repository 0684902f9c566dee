"""
All ask the same and are answered the same, and who costs too much misses the aim.
"""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from benchmarks.calls import __main__ as bench
from benchmarks.calls.caller import IN_FLIGHT, Figures, _all
from benchmarks.calls.contenders import CONTENDERS, text
from benchmarks.calls.model import INPUT, OUTPUT, SAID

OURS = Figures(calls=800, cpu=0.0002, wall=2.0, imported=0.4, peak=10_000_000, each=50_000)
SDK = replace(OURS, cpu=0.002)


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with bench.model() as url:
        yield url


@pytest.mark.parametrize("name", CONTENDERS)
async def test_every_contender_is_answered(name: str, url: str) -> None:
    """
    Each gets the model's words and its tokens; what the whole layer counted is in its ledger.
    """
    async with CONTENDERS[name].open(url) as ask:
        said, *counted = await ask(1)

    assert json.loads(SAID) == json.loads(said)
    assert ([0, 0] if name == "penstock, AI.ask" else [INPUT, OUTPUT]) == counted


async def test_a_wrong_answer_ends_the_measurement() -> None:
    """
    Nobody is quick by not reading what the model said.
    """

    async def ask(_number: int) -> tuple[str, int, int]:
        return "{}", INPUT, OUTPUT

    with pytest.raises(ExceptionGroup) as caught:
        await _all(ask, itertools.count(), 1, 1)

    assert caught.group_contains(AssertionError)


async def test_as_many_are_in_flight_as_was_said() -> None:
    """
    Every place has one call at a time, and every number is asked about once.
    """
    now, most, seen = 0, 0, list[int]()

    async def ask(number: int) -> tuple[str, int, int]:
        nonlocal now, most
        seen.append(number)
        now, most = now + 1, max(most, now + 1)
        await asyncio.sleep(0)
        now -= 1
        return SAID, INPUT, OUTPUT

    await _all(ask, itertools.count(), 20, 100)

    assert (20, list(range(100))) == (most, sorted(seen))
    assert len({text(number) for number in seen}) == 100


@pytest.mark.parametrize(("cpu", "code"), [(0.0007, 0), (0.00071, 1)])
def test_who_costs_too_much_misses_the_aim(cpu: float, code: int, tmp_path: Path, capsys: Any) -> None:
    """
    Ours may take 0.35 of the SDK's processor, and the results say by how much it is more or less.
    """
    runs = {name: [SDK, SDK, SDK] for name in CONTENDERS} | {name: [OURS, OURS, OURS] for name in bench.PAIRS}
    runs["penstock, OpenAI"] = [replace(OURS, cpu=cpu)] * 3

    assert code == bench.report(runs, as_json=False, results=tmp_path / "results.json")

    found = json.loads((tmp_path / "results.json").read_text())
    assert [code == 0, True] == [aim["met"] for aim in found["aims"]]
    assert "CPU ms/call" in capsys.readouterr().out


def test_too_few_in_flight_is_no_measurement(monkeypatch: Any) -> None:
    """
    What the model saw at once decides, not what the contender meant.
    """
    monkeypatch.setattr(bench, "called", lambda *_: OURS)

    with pytest.raises(RuntimeError, match=f"only 0 calls were in flight, {IN_FLIGHT}"):
        bench.measured(1, 1)
