"""
The outbox as those see it who send what is in it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from ledger.parcels import Parcel


class Sending(Protocol):
    """
    Gives parcels out, and notes what became of them.
    """

    async def take_parcels(self, kinds: Sequence[str], most: int, *, hold: float) -> list[Parcel]:
        """
        Take up to *most* unsent parcels, oldest first; for *hold* seconds no other worker takes them.
        """
        ...

    async def parcel_sent(self, parcel: str) -> None:
        """
        Note that a parcel has arrived.
        """
        ...

    async def put_parcel_off(self, parcel: str, until: int) -> None:
        """
        Let a parcel that could not be sent be taken again at UTC ms *until*.
        """
        ...
