"""
What people decide about runs that ended or stand aside, and what a plan must know before it acts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol

if TYPE_CHECKING:
    from ledger.contract import Claim

Decided = Literal["delivered", "again", "approved", "discarded"]
"""
Of a run that stands aside: its write took effect · write again · it may go on · it ends here.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """
    Where a run died.
    """

    step: str | None
    """`trigger`, `context`, `ask` or a delivery's name."""
    config_hash: str
    """Of the configuration it ran with by then."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Return:
    """
    A run that is to come back, as it was when somebody decided so.
    """

    run: str
    seq: int
    """Its place by then. It has another one once it came back, so that no decision acts twice."""
    insist: bool = False
    """Run also when a newer run of the lane was delivered."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Newer:
    """
    What runs of the same lane wrote that came later than this one.
    """

    run: str
    """The newest of them."""
    targets: frozenset[tuple[str, str]]
    """Connection and record of each write."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StepSketch:
    """
    How far a step came.
    """

    step: str
    kind: str
    action_class: str
    state: str
    input_hash: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Prospect:
    """
    What would be met by a run that came back.
    """

    run: str
    kept: bool
    """Whether its event is still here; without it nothing can be replayed."""
    newer: str | None
    """The newest run of its lane that came later and was delivered."""
    steps: tuple[StepSketch, ...]


class Returning(Protocol):
    """
    The part of the ledger by which runs come back.
    """

    async def replay(self, runs: Sequence[Return], *, person: str, again: bool = False) -> list[str]:
        """
        Put dead runs at their lanes' tails, waiting; with *again* every final one, in a new generation.

        Returns those it put there: not runs that came back since they were looked at, or whose events are gone.
        """
        ...

    async def decide(self, run: Return, what: Decided, *, person: str) -> bool:
        """
        Let a run that stands aside go on at its lane's tail, or end; False when it does not stand there any more.
        """
        ...

    async def newer(self, claim: Claim) -> Newer | None:
        """
        Return what runs wrote that came later than this one, if it gives way to them.
        """
        ...

    async def prospects(self, runs: Sequence[str]) -> list[Prospect]:
        """
        Return what each of these runs would meet if it came back; unknown ones are absent.
        """
        ...
