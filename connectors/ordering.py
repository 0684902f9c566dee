"""
In which order a system lists what changed: how far a reading that breaks off has come depends on it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta


@dataclass(slots=True, kw_only=True)
class Order:
    """
    In which order the records of a reading come.
    """

    slack: timedelta
    """How much earlier the next reading begins: what comes so much too late is met again."""
    rises: bool = False
    """Whether a record was newer than the one before it."""
    falls: bool = False
    """Whether a record was older than one before it, by more than *slack*."""
    _newest: datetime | None = None
    _last: datetime | None = None

    @property
    def holds(self) -> bool:
        """
        Whether all until the newest was met: the oldest come first.
        """
        return self.rises and not self.falls

    def take(self, times: Sequence[datetime]) -> None:
        """
        Look at the times of a page.
        """
        for time in times:
            self._newest = max(time, self._newest or time)
            self.rises |= time > (self._last or time)
            self.falls |= time < self._newest - self.slack
            self._last = time

    def anew(self) -> None:
        """
        Expect records from an earlier time on: another request begins there.
        """
        self._newest = self._last = None
