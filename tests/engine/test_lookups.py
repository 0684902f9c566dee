"""
Lookups: results are used again for a while, in bounded memory.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from engine import lookups as module
from engine.lookups import Lookups


@pytest.fixture
def customers(world: Any) -> Lookups:
    """
    A desk whose customers may be kept for a minute.
    """
    lookup = dataclasses.replace(world.desk.lookups["customer"], ttl=60)
    desk = type("Kept", (), {"lookups": {"customer": lookup}, "authorise": None})()
    return Lookups({"desk": desk}, http=None, clock=world.clock, gates=world.gates)  # type: ignore[arg-type]


async def _read(lookups: Lookups, by: str) -> Any:
    return await lookups.read("desk.customer", by, 1, run="r")


async def test_a_result_is_used_again_until_its_time_is_over(world: Any, customers: Lookups) -> None:
    """
    The second read makes no call; one after the ttl does.
    """
    await _read(customers, "9")
    await _read(customers, "9")
    assert world.desk.calls == ["lookup"]
    world.clock.ahead += 61
    await _read(customers, "9")

    assert world.desk.calls == ["lookup"] * 2


async def test_many_and_large_results_do_not_fill_the_memory(
    world: Any, customers: Lookups, monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    The oldest make room, and what is large is fetched each time.
    """
    monkeypatch.setattr(module, "CACHED", 3)
    world.desk.customers = {str(number): {"name": f"c{number}"} for number in range(9)}
    world.desk.customers["large"] = {"name": "x" * module.CACHED_MOST}
    for name in ("large", *map(str, range(9)), "8", "large"):
        await _read(customers, name)

    assert len(customers._cache) == 3
    assert len(world.desk.calls) == 11
