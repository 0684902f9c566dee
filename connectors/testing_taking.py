"""
What a hub does with the deliveries of every connector. The fixture `door` is of `console.testing_door`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Protocol

from connectors.contract import Connector, Delivery, Sample
from connectors.testing_bench import OnBench
from connectors.testing_points import point
from schemas.events import Event

SOON = 0.05  # seconds in which an answer that waits for nothing comes


class Door(Protocol):
    """
    A hub's way in, with a bus that can be down.
    """

    kept: list[Event]
    """What was published, oldest first."""
    down: bool
    """Whether the bus takes nothing."""
    open: asyncio.Event
    """The bus answers once this is set, as it is at first."""

    async def take(self, connector: Connector, delivery: Delivery) -> int:
        """
        Return the status a delivery is answered with.
        """
        ...


class TakingContract(OnBench):
    """
    A delivery is taken once its events are kept, and not before.
    """

    @point(7, "deliveries")
    async def test_answered_after_it_is_kept(self, connector: Connector, door: Door) -> None:
        """The answer waits for the bus."""
        sample = _eventful(connector)
        door.open.clear()
        taking = asyncio.create_task(door.take(connector, self.sampled(connector, sample)))
        await asyncio.sleep(SOON)
        assert not taking.done()
        door.open.set()

        assert 200 <= await taking < 300
        assert len(door.kept) == len(sample.events)

    @point(7, "deliveries")
    async def test_a_bus_that_is_down(self, connector: Connector, door: Door) -> None:
        """A delivery nobody could keep is answered 503; delivered again, it is kept."""
        sample = _eventful(connector)
        door.down = True
        assert await door.take(connector, self.sampled(connector, sample)) == 503
        assert not door.kept
        door.down = False

        assert 200 <= await door.take(connector, self.sampled(connector, sample)) < 300
        assert len(door.kept) == len(sample.events)

    @point(7, "deliveries")
    async def test_delivered_again(self, connector: Connector, door: Door) -> None:
        """However often it is delivered, a change is one event."""
        sample = _eventful(connector)
        for late in (60, 0, 0):
            assert 200 <= await door.take(connector, self.sampled(connector, sample, late=late)) < 300

        assert len({(event.source, event.id) for event in door.kept}) == len(sample.events)

    @point(3, "deliveries")
    async def test_nothing_forged_is_kept(self, connector: Connector, door: Door) -> None:
        """Whatever does not prove its sender is answered 401, and nothing comes of it."""
        good = self.sampled(connector, _eventful(connector))
        for forged in self.forgeries(connector, good):
            assert await door.take(connector, forged) == 401

        assert not door.kept


def _eventful(connector: Connector) -> Sample:
    samples: Sequence[Sample] = connector.samples
    return next(sample for sample in samples if sample.events)
