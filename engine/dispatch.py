"""
Dispatch: what the ledger's outbox holds leaves here, at least once, in the order it was put down.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping

from ledger.contract import Ledger
from ledger.parcels import Parcel
from penstock.clock import Clock

log = logging.getLogger(__name__)

Sender = Callable[[Parcel], Awaitable[None]]
"""
Sends one parcel; whatever it raises, the parcel is tried again later.
"""

MOST = 50  # parcels at once
HOLD = 60.0  # seconds a parcel is in hand before another worker may take it
LOOK_EVERY = 1.0  # seconds
FIRST_PAUSE = 2.0  # seconds until the second try
LONGEST_PAUSE = 300.0  # seconds


class Dispatch:
    """
    Takes parcels and hands each to the sender of its kind.
    """

    def __init__(self, ledger: Ledger, clock: Clock, senders: Mapping[str, Sender]) -> None:
        self._ledger = ledger
        self._clock = clock
        self._senders = dict(senders)

    async def look(self) -> int:
        """
        Send what is there; return how many parcels arrived.
        """
        if not self._senders:
            return 0
        taken = await self._ledger.take_parcels(tuple(self._senders), MOST, hold=HOLD)
        return sum(await asyncio.gather(*(self._one(parcel) for parcel in taken)))

    async def _one(self, parcel: Parcel) -> bool:
        try:
            async with asyncio.timeout(HOLD / 2):
                await self._senders[parcel.kind](parcel)
        except Exception as error:  # noqa: BLE001 - a parcel that cannot be sent must not stop the others
            pause = min(FIRST_PAUSE * 2.0 ** min(parcel.attempts, 16), LONGEST_PAUSE)
            log.warning(
                "%s %s could not be sent, again in %g s: %s", parcel.kind, parcel.id, pause, error or "too slow"
            )
            await self._ledger.put_parcel_off(parcel.id, self._clock.now_ms() + int(pause * 1000))
            return False
        await self._ledger.parcel_sent(parcel.id)
        return True
