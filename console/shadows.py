"""
What shadows found: how often the cheap model of a route agrees with the next one, and where its threshold should stand.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson

from ai import Comparison, OutputSchema
from ai.thresholds import ENOUGH, Proposal, Standing, propose, threshold_of, wilson
from ledger.contract import Ledger
from ledger.costs import CostQuery
from ledger.pairing import Pair
from penstock.units import usd
from pipelines.declaration import Declaration
from pipelines.ladders import scores_of

THOUSAND = 1_000  # asks that savings are told for


@dataclass(frozen=True, kw_only=True)
class Shadowed:
    """
    The compared answers of one pipeline, as far as its route asks the same two models now.
    """

    share: float
    """Of the used answers that are compared; 0.0 for none."""
    fields: tuple[str, ...]
    """Of the answer, that are compared; empty when none can be."""
    pairs: Sequence[Pair] = field(repr=False)
    cost: int
    """Micro-USD of all calls that only compared."""

    @property
    def kept(self) -> list[Pair]:
        """
        Those whose first answer was used.
        """
        return [pair for pair in self.pairs if pair.kept]

    @property
    def agreement(self) -> tuple[float, float, float] | None:
        """
        The share of the used answers that agree, and between which shares that truly is (Wilson, 95 %).
        """
        agree, of = sum(pair.agree for pair in self.kept), len(self.kept)
        return (agree / of, *wilson(agree, of)) if of else None

    def as_data(self) -> dict[str, Any]:
        """
        Return it as JSON data.
        """
        escalated = [pair for pair in self.pairs if not pair.kept]
        found = self.agreement
        return {
            "share": self.share,
            "fields": list(self.fields),
            "pairs": len(self.kept),
            "agreement": None if found is None else round(found[0], 4),
            "agreement_95": None if found is None else [round(each, 4) for each in found[1:]],
            "escalated_pairs": len(escalated),
            "escalated_agree": sum(pair.agree for pair in escalated),
            "cost": self.cost,
        }


async def shadowed(ledger: Ledger, declaration: Declaration, root: Path, name: str, query: CostQuery) -> Shadowed:
    """
    Return what was compared for the pipeline *name*, whose declaration stands in *root*.
    """
    ask = declaration.pipelines[name].ask
    route = declaration.routes[ask.route or ""]
    found = [each for each in await ledger.pairs(query) if (each.small, each.large) == route.try_[:2]]
    schema = root / "schemas" / ask.output
    output = OutputSchema(name=name, schema=orjson.loads(schema.read_bytes()) if schema.is_file() else {})
    return Shadowed(
        share=route.shadow,
        fields=Comparison(output=output, scores=scores_of(route)).fields,
        pairs=found,
        cost=await ledger.shadow_cost(query),
    )


@dataclass(frozen=True, kw_only=True)
class Proposed:
    """
    Where the threshold of one pipeline's route should stand, or why nobody can say.
    """

    target: float
    """Of the kept answers, how many may disagree."""
    found: Proposal | None = None
    why_not: str | None = None

    def as_data(self) -> dict[str, Any]:
        """
        Return it as JSON data; money is micro-USD for 1,000 asks.
        """
        best = self.found.best if self.found else None
        told: dict[str, Any] = {"target": self.target, "why_not": self.why_not, "escalate_when": None}
        if self.found is None:
            return told
        told["now"], told["proposed"] = asdict(self.found.now), None if best is None else asdict(best)
        if best is not None:
            told["escalate_when"] = f"{self.found.threshold.path} {self.found.threshold.operator} {best.at:g}"
            told["saved_against_now"] = round(THOUSAND * (self.found.now.cost - best.cost))
            told["saved_against_large"] = round(THOUSAND * (self.found.large_cost - best.cost))
        return told | {"escalated_at_most": round(self.found.most_escalated, 4)}

    def lines(self) -> Iterator[str]:
        """
        Yield it in words.
        """
        if self.found is None or self.found.best is None:
            yield f"no proposal: {self.why_not}"
            return
        found, best = self.found, self.found.best
        yield f"escalate_when: {found.threshold.path} {found.threshold.operator} {best.at:g}   (now {found.threshold})"
        yield _expected("proposed", best)
        yield _expected("now", found.now)
        now, large = (round(THOUSAND * (cost - best.cost)) for cost in (found.now.cost, found.large_cost))
        yield f"saves about {usd(now)} per 1,000 asks against now, {usd(large)} against always asking the large model"
        escalated, most = 1 - best.share_kept, found.most_escalated
        if escalated >= most:
            yield f"{escalated:.1%} would climb, and above {most:.1%} a route costs more than it saves: ask the large one"


def _expected(name: str, standing: Standing) -> str:
    return (
        f"  {name}: {standing.share_kept:.1%} kept small, {standing.disagreement:.2%} of them disagree "
        f"(at most {standing.disagreement_at_most:.2%}), {usd(round(standing.cost))} per ask"
    )


def proposed(shadow: Shadowed, escalate_when: str | None, target: float, now: int) -> Proposed:
    """
    Return the threshold that keeps at most *target* of disagreement, as far as *shadow* tells at UTC ms *now*.
    """
    threshold = threshold_of(escalate_when)
    if threshold is None:
        example = "output.confidence < 0.75"
        return Proposed(target=target, why_not=f"`escalate_when` compares no single number of the answer, as {example}")
    if not shadow.fields:
        return Proposed(target=target, why_not=NOTHING)
    usable = [pair for pair in shadow.pairs if threshold.path in pair.scores]
    kept = [pair for pair in usable if pair.kept]
    if len(kept) < ENOUGH:
        return Proposed(target=target, why_not=_too_few(kept, shadow.share, now))
    found = propose(usable, threshold, target)
    if found is None or found.best is None:
        best = "" if found is None else f"; {found.least.disagreement_at_most:.2%} at {found.least.at:g} is the least"
        why = f"no threshold keeps disagreement surely at or under {target:.2%}{best}: more pairs, or a higher target"
        return Proposed(target=target, found=found, why_not=why)
    return Proposed(target=target, found=found)


NOTHING = "no field of the answer can be compared: give the schema an enum, a number or a boolean"


def _too_few(kept: Sequence[Pair], share: float, now: int) -> str:
    said = f"{len(kept)} of {ENOUGH} compared answers are there"
    if not share:
        return f"{said}; give the route a `shadow`, for example 2%"
    if len(kept) < 2 or now <= kept[0].at:
        return f"{said}; nobody can tell yet when there will be enough"
    ready = now + (ENOUGH - len(kept)) * (now - kept[0].at) / len(kept)
    return f"{said}; there will probably be enough on {datetime.fromtimestamp(ready / 1000, UTC):%Y-%m-%d}"
