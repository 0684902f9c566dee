"""
What moves from memory into the ledger, and in which order.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import cast

from bus.contract import Message
from engine.intake import Intake, Item, Lane
from engine.relief import HEAD_MOST, LANE_MOST, Relief
from engine.runner import Runner
from ledger.contract import NewRun
from penstock.clock import ManualClock
from schemas.events import Event


class Scene:
    """
    One lane with a head at work and others behind it, and what was stored.
    """

    def __init__(self, behind: int) -> None:
        self.clock = ManualClock()
        self.intake = Intake(cast("Runner", None))
        self.lane = Lane()
        self.intake.lanes["k"] = self.lane
        self.head = self.lane.running = self._item(0)
        self.lane.queue.extend(self._item(number) for number in range(1, behind + 1))
        self.stored: list[int] = []
        self.relief = Relief({"p": self.intake}, clock=self.clock, admit=self._admit, go_on=lambda _i, _k: None)

    async def _admit(self, item: Item) -> None:
        self.stored.append(item.order)
        item.kept = True

    def _item(self, number: int) -> Item:
        message = Message(topic="t", partition=0, offset=number, key=b"k", value=b"{}", headers=(), timestamp_ms=0)
        names = {"id": str(number), "source": "s", "type": "t", "subject": "k"}
        event = Event.model_validate({**names, "time": datetime.now(UTC), "data": {}})
        new = NewRun(
            pipeline="p", lane="k", source="s", event_id=str(number), subject="k", body_hash="", config_hash="",
            topic="t", partition=0, offset=number, bus_time=0,
        )  # fmt: skip
        return Item(self.intake, message, event, new, number, self.clock.monotonic())


async def test_an_old_head_is_stored_before_what_waits_behind_it() -> None:
    """
    Its claim may be under way or have found the lane held: what was stored first would run first.
    """
    scene = Scene(behind=3)
    await scene.clock.advance(HEAD_MOST + 1)
    await scene.relief.look()

    assert [0, 1, 2, 3] == scene.stored
    assert not scene.lane.queue


async def test_a_long_lane_is_stored_once_the_ledger_has_its_head() -> None:
    """
    A head that is only about to claim its lane would come to stand behind its followers.
    """
    scene = Scene(behind=LANE_MOST + 1)
    await scene.relief.look()
    assert scene.stored == []

    scene.head.kept = True
    await scene.relief.look()
    assert list(range(1, LANE_MOST + 2)) == scene.stored


async def test_a_short_young_lane_stays_in_memory() -> None:
    """
    Nothing is stored that will run in a moment.
    """
    scene = Scene(behind=LANE_MOST)
    await scene.relief.look()

    assert scene.stored == []


async def test_a_head_is_stored_once() -> None:
    """
    A second look finds it released.
    """
    scene = Scene(behind=0)
    await scene.clock.advance(HEAD_MOST + 1)
    await scene.relief.look()
    await scene.relief.look()

    assert [0] == scene.stored
