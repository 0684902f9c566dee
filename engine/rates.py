"""
Rates: how many events of one user or one record a pipeline takes in so much time.
"""

from __future__ import annotations

from collections.abc import Sequence

from ledger.contract import Claim, Ledger
from ledger.limits import Allowed
from penstock.clock import Clock
from penstock.errors import OverBudget


class TooMany(OverBudget):
    """
    An event of a user or a record comes too soon after the others.
    """

    def __init__(self, rates: Sequence[Allowed], due_at: int) -> None:
        names = " and ".join(f"{rate.scope!r} ({rate.count} in {rate.window_ms // 1000} s)" for rate in rates)
        super().__init__(f"more events than {names} allows", scope=rates[0].scope)
        self.due_at = due_at
        """UTC ms from which it may run; its place is kept."""


async def count(claim: Claim, rates: Sequence[Allowed], *, ledger: Ledger, clock: Clock, wait: bool) -> None:
    """
    Count the run's event, once in its life; raise `TooMany` when it may not run now.
    """
    if not rates:
        return
    due_at = await ledger.count(claim, rates, wait=wait)
    if due_at > clock.now_ms():
        raise TooMany(rates, due_at)
