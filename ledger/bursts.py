"""
Bursts: events of one lane that came so close together that the newest runs for all of them.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Burst:
    """
    What a run stands for besides its own event.
    """

    count: int = 1
    """Events, its own included."""
    changed: tuple[str, ...] = ()
    """The fields that any of them changed, in the order they were first named."""

    def followed_by(self, later: Burst) -> Burst:
        """
        Return both as one.
        """
        return Burst(count=self.count + later.count, changed=tuple(dict.fromkeys((*self.changed, *later.changed))))
