"""
Places for runs in flight, shared so that nobody can take them all.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable

KEPT = 8  # one in so many places is kept for those who hold less than their share
KEPT_MOST = 32  # places kept; where there are many, some come free every moment


class Slots:
    """
    A fixed number of places and the parties that take them.

    Who holds less than an even share may take any free place; the others leave the last few free.
    """

    def __init__(self, places: int, parties: int) -> None:
        self._free = places
        self._share = max(1, places // max(1, parties))
        self._kept = min(places // KEPT, KEPT_MOST) if parties > 1 else 0
        self._held: Counter[Hashable] = Counter()

    def open_to(self, party: Hashable) -> int:
        """
        Return how many places *party* may take now.
        """
        short = self._share - self._held[party]
        return max(0, min(self._free, max(self._free - self._kept, short)))

    def take(self, party: Hashable, places: int = 1) -> None:
        """
        Take *places* for *party*.
        """
        self._free -= places
        self._held[party] += places

    def give_back(self, party: Hashable, places: int = 1) -> None:
        """
        Free *places* of *party*.
        """
        self._free += places
        self._held[party] -= places
