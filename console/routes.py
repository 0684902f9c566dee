"""
What routes come to: how far asks had to climb, why, and what that saved.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ai import ModelSpec, prices
from console.shadows import Proposed, Shadowed, proposed, shadowed
from ledger.contract import Ledger
from ledger.costs import ClimbSum, CostQuery
from pipelines.declaration import Declaration
from pipelines.models import model_specs
from schemas.entries import Usage


@dataclass(kw_only=True)
class Rung:
    """
    One model of a route.
    """

    model: str
    asks: int = 0
    """That ended here."""
    cost: int = 0
    """Micro-USD of all calls here, of asks that went on as well."""


@dataclass(kw_only=True)
class Routed:
    """
    The asks of one pipeline that has a route.
    """

    pipeline: str
    route: str
    rungs: list[Rung]
    asks: int = 0
    cost: int = 0
    escalations: Counter[str] = field(default_factory=Counter)
    """How often the next model was asked, by cause: `unsure`, or the class of an error."""
    elsewhere: int = 0
    """Asks of other models: at a limit, or under an earlier declaration. They are counted nowhere else."""
    dearest: str | None = None
    """The model that would have cost most; None when a price is unknown, or nothing was asked."""
    saved: int | None = None
    """Micro-USD, about: what always asking it would have cost more. Below zero, the route costs more."""
    shadow: Shadowed
    proposal: Proposed | None = None
    """None when nobody wanted one."""

    def as_data(self) -> dict[str, Any]:
        """
        Return it as JSON data.
        """
        rungs = [vars(rung) | {"share": self.share(rung)} for rung in self.rungs]
        more = {"shadow": self.shadow.as_data(), "proposal": self.proposal and self.proposal.as_data()}
        return vars(self) | {"rungs": rungs, "escalations": dict(self.escalations)} | more

    def share(self, rung: Rung) -> float:
        """
        Return which part of the asks ended at *rung*.
        """
        return round(rung.asks / self.asks, 4) if self.asks else 0.0


async def routed(
    ledger: Ledger,
    declaration: Declaration,
    root: Path,
    *,
    since: int,
    until: int,
    pipeline: str | None = None,
    target: float | None = None,
) -> list[Routed]:
    """
    Return how the asks of every pipeline with a route went that made their calls from *since* until *until* (UTC ms).

    *root* is where the declaration stands; with *target*, thresholds are proposed that keep that much disagreement.
    """
    specs, found = model_specs(declaration), []
    for name, declared in declaration.pipelines.items():
        if declared.ask.route is None or pipeline not in (None, name):
            continue
        models = declaration.routes[declared.ask.route].try_
        query = CostQuery(since=since, until=until, pipeline=name)
        climbs, shadow = await ledger.climbs(query), await shadowed(ledger, declaration, root, name, query)
        mine = [each for each in climbs if each.models == models[: len(each.models)]]
        line = Routed(
            pipeline=name, route=declared.ask.route, rungs=[Rung(model=model) for model in models], shadow=shadow
        )
        for climb in mine:
            _count(line, climb)
        line.elsewhere = sum(each.asks for each in climbs) - line.asks
        if target is not None:
            line.proposal = proposed(shadow, declaration.routes[declared.ask.route].escalate_when, target, until)
        _compare(line, mine, [specs[model] for model in models])
        found.append(line)
    return found


def _count(line: Routed, climb: ClimbSum) -> None:
    line.asks += climb.asks
    line.cost += climb.cost
    line.rungs[len(climb.models) - 1].asks += climb.asks
    for rung, cost in zip(line.rungs, climb.costs, strict=False):
        rung.cost += cost
    for cause in climb.causes:
        line.escalations[cause or "unknown"] += climb.asks  # older versions did not say


def _compare(line: Routed, climbs: Sequence[ClimbSum], specs: Sequence[ModelSpec]) -> None:
    """
    Reckon what each model would have cost for every answer, with the tokens of the calls that gave it.
    """
    answered = [climb for climb in climbs if climb.outcome == "ok"]
    would = {spec.name: [_alone(climb, spec) for climb in answered] for spec in specs}
    known = {name: [cost for cost in costs if cost is not None] for name, costs in would.items()}
    if not answered or any(len(known[name]) < len(costs) for name, costs in would.items()):
        return
    line.dearest = max(known, key=lambda name: sum(known[name]))
    line.saved = sum(known[line.dearest]) - sum(climb.cost for climb in answered)


def _alone(climb: ClimbSum, spec: ModelSpec) -> int | None:
    """
    Return what its answers would have cost from *spec* alone; each has the mean of their tokens.
    """
    if (price := prices.find(spec)) is None:
        return None
    mean = Usage(
        input=round(climb.tokens_in / climb.asks),
        output=round(climb.tokens_out / climb.asks),
        cache_read=round(climb.tokens_cached / climb.asks),
    )
    return price.cost(mean) * climb.asks
