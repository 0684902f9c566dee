"""
Sharing one budget among sections.

Floors are reserved first. Then, the most important section first, each takes what fits into what is
left over the floors of the others, up to its own ceiling.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from penstock.errors import Invalid
from pipelines.cutting import Chain, Cut, Kept


@dataclass(frozen=True, slots=True, kw_only=True)
class Claimant:
    """
    A section that wants a share.
    """

    chain: Chain
    cut: Cut
    priority: int
    """1 is served first; equals in written order."""
    floor: int
    ceiling: int | None

    @property
    def reserved(self) -> int:
        """
        What it is sure to get: its floor, or all it wants if that is less.
        """
        return min(self.floor, self.chain.wanted)


def pack(budget: int, claimants: Sequence[Claimant]) -> list[Kept]:
    """
    Return what each keeps, in the order given; together never more than *budget* tokens.
    """
    reserved = sum(claimant.reserved for claimant in claimants)
    if reserved > budget:
        raise Invalid(f"the floors need {reserved} tokens and the context has {budget}", hint="lower a floor")
    kept: dict[int, Kept] = {}
    left = budget
    for place, claimant in sorted(enumerate(claimants), key=lambda pair: pair[1].priority):
        reserved -= claimant.reserved
        allot = left - reserved
        if claimant.ceiling is not None:
            allot = min(allot, claimant.ceiling)
        kept[place] = claimant.chain.fit(allot)
        left -= kept[place].tokens
    return [kept[place] for place in range(len(claimants))]
