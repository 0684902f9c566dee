"""
What a replay would do, run by run, before anybody says yes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from ledger.contract import Ledger
from ledger.returning import Prospect, Return, StepSketch
from pipelines.deliveries import DeliveryPlan
from pipelines.plan import Plan
from schemas.entries import Run

Writing = Literal["done", "write", "resend", "look", "park", "repeat"]
"""
Of each delivery: done before, left alone · written for the first time, or again with a new generation ·
sent again under the same key · looked for, and written if it is not there · a person decides about it ·
written again although it may be there.
"""
Asking = Literal["kept", "asked"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Forecast:
    """
    What would become of one run.
    """

    run: Run
    left: str | None = None
    """Why it would be left alone; None when it would come back."""
    newer: str | None = None
    """The newer run of its lane to which it would give way."""
    asking: Asking | None = None
    """Whether its paid answer is used; None when it gives way or is left alone."""
    writes: tuple[tuple[str, Writing], ...] = ()
    """Deliveries by name, in their order."""

    @property
    def back(self) -> bool:
        """
        Whether it would come back at all.
        """
        return self.left is None


async def forecast(
    runs: Sequence[Run], *, ledger: Ledger, plans: Mapping[str, Plan], again: bool, insist: bool
) -> list[Forecast]:
    """
    Return what a replay of *runs* would do, in their order; nothing is changed.
    """
    known = {one.run: one for one in await ledger.prospects([run.run for run in runs])}
    return [_forecast(run, known.get(run.run), plans.get(run.pipeline), again=again, insist=insist) for run in runs]


def returns(forecasts: Sequence[Forecast], *, insist: bool) -> list[Return]:
    """
    Return the runs that come back, as they were looked at.
    """
    return [Return(run=one.run.run, seq=one.run.seq, insist=insist) for one in forecasts if one.back]


def _forecast(run: Run, prospect: Prospect | None, plan: Plan | None, *, again: bool, insist: bool) -> Forecast:
    if (left := _left(run, prospect, plan, again=again)) is not None or prospect is None or plan is None:
        return Forecast(run=run, left=left)
    if prospect.newer is not None and not insist:
        return Forecast(run=run, newer=prospect.newer)
    steps = {} if again else {step.step: step for step in prospect.steps}
    return Forecast(
        run=run,
        asking=_asking(plan, steps),
        writes=tuple((delivery.step, _writing(delivery, steps.get(delivery.step))) for delivery in plan.deliveries),
    )


def _left(run: Run, prospect: Prospect | None, plan: Plan | None, *, again: bool) -> str | None:
    if run.state != "final":
        return f"it is {run.state}: it goes on by itself, or a person decides (penstock runs decide)"
    if run.verdict != "dead" and not again:
        return f"it ended {run.verdict}; --again asks, pays and writes again"
    if plan is None:
        return f"pipeline {run.pipeline} is not declared any more"
    if prospect is None or not prospect.kept:
        return "its event is not kept: it was no event, or its details were pruned (hub.keep)"
    return None


def _asking(plan: Plan, steps: Mapping[str, StepSketch]) -> Asking:
    """
    Say whether the kept answer is used: it is to the question of now, or a delivery relies on it.
    """
    asked = steps.get("ask")
    if asked is None or asked.state != "done":
        return "asked"
    relied = any(step.kind == "write" for step in steps.values())
    return "kept" if relied or not asked.input_hash or asked.input_hash == plan.ask_hash else "asked"


def _writing(delivery: DeliveryPlan, step: StepSketch | None) -> Writing:
    if step is None or step.state == "failed":
        return "write"
    if step.state == "done":
        return "done"
    if step.action_class == "keyed":
        return "resend"
    if step.action_class == "read-back":
        return "look"
    return "park" if delivery.on_unknown == "park" else "repeat"
