"""
What the harness overlooks in the words of its workers, and what it does not.
"""

from __future__ import annotations

import json

import pytest

from tests.crash.crew import left_behind
from tests.crash.ground import Ground

THEIRS = "/x/site-packages/aiokafka/client.py"
OURS = "/x/bus/kafka.py"


def _line(*places: str, message: str = "Future exception was never retrieved") -> str:
    frames = "".join(f'  File "{place}", line 1, in f\n' for place in places)
    return json.dumps(
        {"logger": "asyncio", "message": message, "error": f"Traceback (most recent call last):\n{frames}"}
    )


@pytest.mark.parametrize(
    ("line", "theirs"),
    [
        (_line(THEIRS), True),
        (_line(THEIRS, OURS), False),
        (_line(), False),
        (_line(THEIRS, message="a run ended unforeseen"), False),
        (
            _line(THEIRS, message=f"Task exception was never retrieved\nfuture: <Task coro=<f() defined at {OURS}:1>"),
            False,
        ),
        (
            _line(message=f"Task exception was never retrieved\nfuture: <Task coro=<f() done, defined at {THEIRS}:1>"),
            True,
        ),
    ],
)
def test_only_what_aiokafka_alone_left_behind_is_overlooked(line: str, *, theirs: bool) -> None:
    """
    A future or task of which no line is ours.
    """
    assert theirs == left_behind(line)


def test_a_start_may_fail_of_what_is_away_while_it_lasts() -> None:
    """
    Now, or at any time since it began; an outage that was over before excuses nothing.
    """
    ground = Ground(back_at=5.0)

    assert (True, False) == (ground.shaky_since(4.0), ground.shaky_since(6.0))
    with ground.away():
        assert ground.shaky_since(6.0)
