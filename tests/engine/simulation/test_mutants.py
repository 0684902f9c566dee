"""
A judge that cannot say no proves nothing: each way to get it wrong is seen within a few worlds.
"""

from __future__ import annotations

import pytest

from tests.engine.simulation.loop import Stuck
from tests.engine.simulation.mutants import MUTANTS, mutated
from tests.engine.simulation.world import World
from tests.ledger.conftest import audit

MOST = 200  # worlds


def caught(name: str) -> int | None:
    """
    Return the first seed whose judge objects.
    """
    for seed in range(MOST):
        with mutated(name):
            try:
                World(seed, audit).run()
            except (AssertionError, Stuck):
                return seed
    return None


@pytest.mark.parametrize("name", MUTANTS)
def test_a_mutant_is_caught(name: str) -> None:
    """
    What is broken on purpose is found within 200 worlds.
    """
    assert caught(name) is not None
