"""
Estates: what a pipeline leaves in the ledger that is not declared any more, or has another name now.
"""

from __future__ import annotations

from typing import Protocol


class Estates(Protocol):
    """
    The part of the ledger that hands estates over.
    """

    async def adopt(self, old: str, new: str) -> int:
        """
        Give everything of pipeline *old* to *new*: runs, lanes, positions, pause; return how many runs.

        Raises `Invalid` when both have runs in one lane.
        """
        ...

    async def retire(self, pipeline: str, *, person: str) -> int:
        """
        Discard every run of *pipeline* that is not final; return how many. What a live worker runs is left alone.
        """
        ...
