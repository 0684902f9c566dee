"""
Settling: events of a pipeline with `trigger.settle` wait in the ledger until their burst has ended.

Only what passed every filter joins a burst, so that no echo and no filtered event takes the place of
one that matters.
"""

from __future__ import annotations

from engine.echoes import EchoPending
from engine.intake import Item
from engine.patience import firmly
from engine.watch import Watch
from ledger.contract import Ledger
from penstock.clock import Clock
from pipelines.plan import Plan
from pipelines.views import changed_fields


class Settling:
    """
    Puts events into the bursts of their lanes.
    """

    def __init__(self, ledger: Ledger, clock: Clock, watch: Watch) -> None:
        self._ledger = ledger
        self._watch = watch
        self._clock = clock

    async def resume(self, plan: Plan) -> None:
        """
        Let the bursts that wait since an earlier configuration wait no longer than the present one says.
        """
        quiet = 0.0 if plan.settle is None else plan.settle.low
        await self._ledger.hurry(plan.name, within=quiet)

    async def join(self, item: Item) -> None:
        """
        Put *item* into the burst of its lane; afterwards its offset may be passed.

        While a write to its record is open nobody can tell whether it is that write's echo: then it waits
        for itself, and is judged when it is picked up.
        """
        ledger, runner = self._ledger, item.intake.runner
        try:
            echo = await firmly(self._clock, lambda: runner.echo(item.event))
        except EchoPending as pending:
            due = pending.due_at
            await firmly(self._clock, lambda: ledger.admit(item.new, item.body, reason="behind", due_at=due))
            return
        if echo is not None:
            await firmly(self._clock, lambda: ledger.conclude(item.new, "own-write", echo, body=item.body))
            self._watch.concluded(item.new.pipeline, "own-write")
            return
        span = runner.plan.settle
        assert span is not None
        changed = changed_fields(item.event)
        await firmly(
            self._clock,
            lambda: ledger.settle(item.new, item.body, quiet=span.low, most=span.high, changed=changed),
        )
