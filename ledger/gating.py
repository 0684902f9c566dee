"""
Gates: shut by the first run that meets an outage, opened by the first that gets through.
"""

from __future__ import annotations

from typing import Protocol

from schemas.entries import GateEntry


class Gating(Protocol):
    """
    Shuts and opens gates.
    """

    async def shut(self, gate: str, reason: str, *, probe_at: int, refused: bool = False) -> None:
        """
        Shut *gate*, or put its next probe off; that we are *refused* is an alert, once until it opens.
        """
        ...

    async def reopen(self, gate: str) -> None:
        """
        Open *gate*: a probe got through. Runs that wait at it become due, oldest first.
        """
        ...

    async def gates(self) -> list[GateEntry]:
        """
        Return the gates that are not open.
        """
        ...
