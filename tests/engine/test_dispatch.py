"""
The dispatch of what the outbox holds.
"""

from __future__ import annotations

from typing import Any

from engine.dispatch import Dispatch
from ledger import locks, outbox
from ledger.parcels import Parcel

ONE, TWO = "01" * 16, "02" * 16


async def test_a_parcel_that_fails_is_sent_later_and_stops_no_other(world: Any) -> None:
    """
    The first is refused once: the second arrives at once, the first at the next try, each once.
    """
    ledger, arrived, refused = world.ledger, [], [ONE]

    async def send(parcel: Parcel) -> None:
        if parcel.id in refused:
            refused.remove(parcel.id)
            raise OSError("nobody there")
        arrived.append(parcel.id)

    for parcel in (ONE, TWO):
        await ledger.store.write(
            lambda c, parcel=parcel: outbox.put(c, parcel=parcel, kind="dead", body=b"{}", now=world.clock.now_ms()),
            locks.ALONE,
        )
    dispatch = Dispatch(ledger, world.clock, {"dead": send})

    assert 1 == await dispatch.look()
    assert [TWO] == arrived
    assert 0 == await dispatch.look()
    await world.clock.sleep(3)
    assert 1 == await dispatch.look()
    assert [TWO, ONE] == arrived
