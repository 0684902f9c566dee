"""
How many runs at once there can be open files for.
"""

from __future__ import annotations

import resource
from collections.abc import Iterator

import pytest

from console import capacity


class Limits:
    """
    The limits of a process, and what was set.
    """

    def __init__(self, soft: int, hard: int) -> None:
        self.now = (soft, hard)

    def get(self, _kind: int) -> tuple[int, int]:
        return self.now

    def set(self, _kind: int, wanted: tuple[int, int]) -> None:
        if wanted[0] > wanted[1]:
            raise ValueError("not allowed to raise maximum limit")
        self.now = wanted


@pytest.fixture
def limits(monkeypatch: pytest.MonkeyPatch) -> Iterator[Limits]:
    found = Limits(1024, 4096)
    monkeypatch.setattr(resource, "getrlimit", found.get)
    monkeypatch.setattr(resource, "setrlimit", found.set)
    yield found


def test_the_soft_limit_is_raised_as_far_as_needed(limits: Limits) -> None:
    """
    A thousand runs need more files than most systems give at first, and fewer than they allow.
    """
    assert 1000 == capacity.places(1000)
    assert limits.now == (capacity.connections(1000) + capacity.OTHERS, 4096)


def test_what_is_enough_is_left_alone(limits: Limits) -> None:
    """
    A limit is never lowered.
    """
    assert 100 == capacity.places(100)
    assert limits.now == (1024, 4096)


def test_fewer_runs_where_there_can_be_no_more_files(limits: Limits, caplog: pytest.LogCaptureFixture) -> None:
    """
    The hub runs with what it may open, and says which number to raise.
    """
    found = capacity.places(5000)

    assert (4096 - capacity.OTHERS) // capacity.PER_RUN == found
    assert "ulimit -n" in caplog.text


def test_without_a_limit_everything_fits(limits: Limits) -> None:
    """
    Some systems count no files.
    """
    limits.now = (resource.RLIM_INFINITY, resource.RLIM_INFINITY)

    assert 20_000 == capacity.places(20_000)
