"""
The executor, the runners, the AI layer and the ledger as they are, in simulated worlds full of faults.

`PENSTOCK_SEEDS` says how many worlds; one of them is lived again by its seed:

    PENSTOCK_SEED=4711 .venv/bin/python -m pytest tests/engine/simulation/test_simulation.py -k one_world
"""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tests.engine.simulation.faults import FEWEST
from tests.engine.simulation.source import EVENTS
from tests.engine.simulation.world import World
from tests.ledger.conftest import audit

SEEDS = int(os.environ.get("PENSTOCK_SEEDS") or 16)
CHUNK = 20  # worlds per test: several processes share them, and none has one for long
AGAIN = "PENSTOCK_SEED={seed} .venv/bin/python -m pytest tests/engine/simulation/test_simulation.py -k one_world"


def live(seed: int) -> World:
    """
    Live one world through; when it fails, say how to see it again.
    """
    world = World(seed, audit)
    try:
        world.run()
    except BaseException as error:
        error.add_note(f"this world again: {AGAIN.format(seed=seed)}")
        raise
    return world


@pytest.mark.parametrize("first", range(0, SEEDS, CHUNK))
def test_whatever_happens_the_promise_is_kept(first: int) -> None:
    """
    Every event has its verdict, effects and prices come once, lanes keep their order, no offset is passed early.
    """
    for seed in range(first, min(first + CHUNK, SEEDS)):
        world = live(seed)

        assert EVENTS <= len(world.source.events)
        assert FEWEST <= len(world.faults.had)


def test_one_world_again() -> None:
    """
    The world of PENSTOCK_SEED, or the first one, goes as it should.
    """
    live(int(os.environ.get("PENSTOCK_SEED") or 0))


TELL = """
import hashlib, logging
logging.disable()
from tests.engine.simulation.world import World
for seed in range(3):
    world = World(seed, lambda _connection: None)
    world.run()
    print(world.loop.steps, world.loop.time(), hashlib.sha256(world.trace.about().encode()).hexdigest())
"""


def test_a_seed_is_one_world() -> None:
    """
    The same seed gives the same world in another process, whose hashes are salted otherwise.
    """
    told = [
        subprocess.run(
            [sys.executable, "-c", TELL],
            check=True,
            capture_output=True,
            text=True,
            env={**os.environ, "PYTHONHASHSEED": salt, "PYTHONPATH": "."},
        ).stdout
        for salt in ("1", "2")
    ]

    assert told[0] == told[1]
    assert 3 == len(told[0].splitlines())
