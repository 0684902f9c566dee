"""
The window counts what is unfinished, not what lies above the position.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import pytest

from bus.contract import Message, Partition
from engine import intake as intake_module
from engine.intake import Intake
from engine.runner import Runner

PLACE = Partition("t", 0)


class Pausing:
    """
    A subscription that counts how often it was paused.
    """

    def __init__(self) -> None:
        self.pauses = 0

    def pause(self, _partitions: Sequence[Partition]) -> None:
        self.pauses += 1

    def resume(self, _partitions: Sequence[Partition]) -> None:
        """
        Go on.
        """


def message(offset: int) -> Message:
    return Message(topic="t", partition=0, offset=offset, key=b"k", value=b"x" * 1000, headers=(), timestamp_ms=0)


@pytest.fixture
async def intake() -> tuple[Intake, Pausing]:
    found, subscription = Intake(cast("Runner", None)), Pausing()
    found.subscription = cast("Any", subscription)
    await found.assigned([PLACE])
    return found, subscription


def test_a_slow_head_holds_the_position_back_and_not_the_intake(
    intake: tuple[Intake, Pausing], monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    One call takes a minute while a thousand others of its partition come and go through a window of fifty.
    """
    monkeypatch.setattr(intake_module, "WINDOW", 50)
    held, subscription = intake
    for offset in range(1000):
        assert held.receive(message(offset))
        held.regulate()
        if offset:
            held.finish(message(offset))

    assert subscription.pauses == 0
    assert held.marks[PLACE].position == 0
    held.finish(message(0))
    assert held.marks[PLACE].position == 1000


def test_a_full_window_pauses(intake: tuple[Intake, Pausing], monkeypatch: pytest.MonkeyPatch) -> None:
    """
    Fifty unfinished are enough; by their memory fewer large ones are.
    """
    monkeypatch.setattr(intake_module, "WINDOW", 50)
    held, subscription = intake
    for offset in range(50):
        held.regulate()
        assert subscription.pauses == 0
        held.receive(message(offset))
    held.regulate()

    assert subscription.pauses == 1
