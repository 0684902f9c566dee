"""
What the ledger booked against what the model metered: to the micro-USD.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from ai import ModelSpec
from ai.double import Call
from ai.prices import Price, find
from ledger.contract import Ledger
from penstock.clock import utc
from schemas.entries import ModelCall, RunDetail, Usage
from tests.crash.judge import Told
from tests.crash.model import question

UNANSWERED = {"lost", "swept"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Money:
    """
    All in micro-USD.
    """

    metered: int
    """What the model counted."""
    spent: int
    """What the budgets say."""
    entries: int
    """What the entries of the calls add up to."""
    reserved: int
    """What is still held, though nothing runs."""
    unanswered: int
    """Of *spent*: booked whole for calls nobody told us the end of."""
    unbooked: int
    """Metered calls that no entry accounts for, or that were booked too low."""

    @property
    def differences(self) -> dict[str, int]:
        """
        Return what must be zero.
        """
        return {
            "budgets and entries": self.spent - self.entries,
            "still reserved": self.reserved,
            "metered and not booked": self.unbooked,
            "spent below metered": min(0, self.spent - self.metered),
        }


async def count(ledger: Ledger, details: Sequence[RunDetail], calls: Sequence[Call], pipelines: Iterable[str]) -> Money:
    """
    Compare every run's entries with the calls the model metered about it.
    """
    price = find(ModelSpec(name="small", provider="openai", model="gpt-5-mini"))
    assert price is not None
    metered: dict[tuple[str, str], list[int]] = defaultdict(list)
    for call in calls:
        pipeline, item, seq = question(call.begins)
        metered[pipeline, f"item/{item}/{seq}"].append(_cost(price, call))
    entries = unanswered = unbooked = 0
    days: set[str] = set()
    for detail in details:
        entries += sum(entry.cost for entry in detail.calls)
        unanswered += sum(entry.cost for entry in detail.calls if entry.outcome in UNANSWERED)
        days |= {utc(entry.at).strftime("%Y-%m-%d") for entry in detail.calls}
        unbooked += _unbooked(detail.calls, metered.pop((detail.run.pipeline, detail.run.event_id), []))
    spent = reserved = 0
    for pipeline in pipelines:
        for day in sorted(days):
            more, held = await ledger.spent(f"pipeline:{pipeline}", day)
            spent, reserved = spent + more, reserved + held
    return Money(
        metered=sum(_cost(price, call) for call in calls),
        spent=spent,
        entries=entries,
        reserved=reserved,
        unanswered=unanswered,
        unbooked=unbooked + sum(cost for left in metered.values() for cost in left),
    )


def _cost(price: Price, call: Call) -> int:
    return price.cost(Usage(input=call.input, output=call.output))


def told(details: Sequence[RunDetail]) -> Told:
    """
    Return what the ledger says of the model's answers.
    """
    calls = [(detail.run, call) for detail in details for call in detail.calls]
    return Told(
        kept={
            call.response_id: call.at / 1000
            for _, call in calls
            if call.outcome == "ok" and not call.late and call.response_id
        },
        taken=frozenset(
            (run.pipeline, *place(run.event_id)) for run, call in calls if call.late or call.outcome == "swept"
        ),
    )


def place(event: str) -> tuple[str, int]:
    """
    Return the item and the number of an event by its id.
    """
    _, item, seq = event.split("/")
    return item, int(seq)


def _unbooked(entries: Sequence[ModelCall], metered: Sequence[int]) -> int:
    """
    Return what of the metered calls of one run its entries do not cover, each entry one call.
    """
    left = Counter(metered)
    others = []
    for entry in entries:
        if entry.outcome == "ok" and left[entry.cost] > 0:
            left[entry.cost] -= 1
        else:
            others.append(entry.cost)
    short = 0
    for cost in sorted(left.elements(), reverse=True):
        found = max(others, default=0)
        if found:
            others.remove(found)
        short += max(0, cost - found)
    return short
