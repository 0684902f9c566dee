"""
Places for runs in flight, shared so that nobody can take them all.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable

KEPT = 8  # one in so many places is kept for those who hold less than their share
KEPT_MOST = 32  # places kept; where there are many, some come free every moment
EARLY = 8  # one in so many places may be free before its run has ended


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


class Seats:
    """
    The places that runs hold, each until its end or a moment before: while only the ledger is needed any more.

    One in `EARLY` of all places may be free early like that: should the ledger be slow, runs keep theirs.
    """

    def __init__(self, slots: Slots, places: int) -> None:
        self._slots = slots
        self._most_early = places // EARLY
        self._parties: dict[Hashable, Hashable] = {}
        self._early: set[Hashable] = set()

    def take(self, run: Hashable, party: Hashable) -> None:
        """
        Let *run* take a place for *party*.
        """
        self._slots.take(party)
        self._parties[run] = party

    def leave_early(self, run: Hashable) -> bool:
        """
        Free the place of *run*, which goes on a little; False when it keeps it.
        """
        if run not in self._parties or len(self._early) >= self._most_early:
            return False
        self._slots.give_back(self._parties.pop(run))
        self._early.add(run)
        return True

    def leave(self, run: Hashable) -> None:
        """
        Forget *run*, and free its place if it has one yet.
        """
        self._early.discard(run)
        if (party := self._parties.pop(run, None)) is not None:
            self._slots.give_back(party)
