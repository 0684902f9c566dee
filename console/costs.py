"""
What calls came to, told apart as people ask: by pipeline, label, tenant, user, model, day.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from functools import lru_cache
from typing import Any
from zoneinfo import ZoneInfo

import orjson

from ledger.contract import Ledger
from ledger.costs import SLOT, CostQuery, CostSum, Dimension, SavingSum, Shared
from penstock.errors import Invalid
from pipelines.spending import period_of

OWN: Mapping[str, Dimension] = {
    "pipeline": "pipeline",
    "tenant": "tenant",
    "user": "user",
    "model": "model",
    "day": "slot",
}
"""What every call can be told apart by; other words are labels of pipelines."""
USUAL = ("feature", "team", "tier")  # labels that may be asked for where nobody has them
_BOOKED_BY_US = ("swept", "lost")


@dataclass(kw_only=True)
class Line:
    """
    Sums of some calls; money in micro-USD.
    """

    calls: int = 0
    tokens_in: int = 0
    """All input tokens, cached ones included."""
    tokens_out: int = 0
    tokens_cached: int = 0
    cost: int = 0
    """All that is known, late, swept and lost amounts included."""
    late: int = 0
    """Of it, for answers that came after their worker had lost the lane."""
    swept: int = 0
    """Of it, worst cases of calls whose worker died."""
    lost: int = 0
    """Of it, worst cases of calls nobody told us the end of."""
    unpriced: int = 0
    """Calls to models without a known price: what they cost is not in *cost*."""
    outcomes: dict[str, int] = field(default_factory=dict)
    """How many calls ended how: `ok`, an error class, `swept` or `lost`."""
    hits: int = 0
    """Answers taken from the cache: no call was made for them."""
    saved: int = 0
    """What they had cost when a model was asked."""

    def add(self, part: CostSum) -> None:
        """
        Count *part* in.
        """
        for name in ("calls", "tokens_in", "tokens_out", "tokens_cached", "cost"):
            setattr(self, name, getattr(self, name) + getattr(part, name))
        if part.outcome in _BOOKED_BY_US:
            setattr(self, part.outcome, getattr(self, part.outcome) + part.cost)
        elif part.late:
            self.late += part.cost
        if not part.priced:
            self.unpriced += part.calls
        self.outcomes[part.outcome] = self.outcomes.get(part.outcome, 0) + part.calls

    def add_saving(self, part: SavingSum) -> None:
        """
        Count what the cache saved.
        """
        self.hits += part.hits
        self.saved += part.saved

    def as_data(self) -> dict[str, Any]:
        """
        Return it as JSON data.
        """
        return {each.name: getattr(self, each.name) for each in fields(self)}


@dataclass(frozen=True, kw_only=True)
class Report:
    """
    Lines by the values of what was asked for, the dearest first, or in order of time.
    """

    by: tuple[str, ...]
    lines: Sequence[tuple[tuple[str, ...], Line]]
    total: Line


async def report(
    ledger: Ledger, by: Sequence[str], *, since: int, until: int, zone: ZoneInfo, pipeline: str | None = None
) -> Report:
    """
    Return what the calls that ended from *since* until *until* (UTC ms) came to. Raises `Invalid`.
    """
    labels = [name for name in by if name not in OWN]
    asked: set[Dimension] = {OWN[name] for name in by if name in OWN}
    if labels:
        asked.add("config_hash")
    query = CostQuery(since=since, until=until, by=asked, pipeline=pipeline)
    parts, savings = await ledger.costs(query), await ledger.savings(query)
    told_apart: list[Shared] = [*parts, *savings]
    carried = await _labels(ledger, {part.config_hash for part in told_apart}) if labels else {}
    if told_apart:
        _known(labels, carried.values())
    total, lines = Line(), dict[tuple[str, ...], Line]()

    def of(part: Shared) -> tuple[Line, Line]:
        return lines.setdefault(tuple(_value(name, part, carried, zone) for name in by), Line()), total

    for part in parts:
        for line in of(part):
            line.add(part)
    for saving in savings:
        for line in of(saving):
            line.add_saving(saving)
    return Report(by=tuple(by), lines=sorted(lines.items(), key=_order(by)), total=total)


async def _labels(ledger: Ledger, hashes: set[str]) -> dict[str, dict[str, str]]:
    """
    Return the labels under each configuration: those its pipeline had when the event came, or died.
    """
    texts = await ledger.configs(hashes)
    return {name: orjson.loads(text).get("labels", {}) for name, text in texts.items()}


def _known(labels: Sequence[str], carried: Iterable[Mapping[str, str]]) -> None:
    known = sorted({*USUAL, *(name for one in carried for name in one)})
    for name in labels:
        if name not in known:
            hint = f"one of {', '.join((*OWN, *known))}"
            raise Invalid(f"{name!r} is nothing that calls can be told apart by", where="--by", hint=hint)


def _value(name: str, part: Shared, carried: Mapping[str, Mapping[str, str]], zone: ZoneInfo) -> str:
    if name == "day":
        return _day(part.slot, zone)
    if name in OWN:
        return str(getattr(part, name))
    return carried.get(part.config_hash, {}).get(name, "")


@lru_cache(4096)
def _day(slot: int, zone: ZoneInfo) -> str:
    return period_of(slot * SLOT, "day", zone)[0]


def _order(by: Sequence[str]) -> Any:
    """
    Return the order of lines: by day where days are told apart, else the dearest first.
    """
    place = by.index("day") if "day" in by else None

    def order(line: tuple[tuple[str, ...], Line]) -> tuple[Any, ...]:
        key, sums = line
        return ("" if place is None else key[place], -sums.cost, -sums.calls, key)

    return order
