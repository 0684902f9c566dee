"""
Alerts: each threshold of a budget is reported once in its period, by the transaction that passes it.
"""

from __future__ import annotations

from dataclasses import replace

import orjson
import pytest

from ledger import Cap
from ledger.testing import beside, bury

ASK = {"kind": "ask", "action_class": "ai", "timeout": 60.0}
CAP = Cap(scope="budget:all", period="2026-11-24", limit=100, alert_at=(0.5, 0.8))


@pytest.fixture
def spend(book, site, make, cost):
    """Make a call that may cost the amount and does cost *booked*."""

    async def spending(name, amount, booked, cap=CAP, **more):
        claim = await site.claim(book, make(name, lane=name))
        async with book.step(claim, "ask", **ASK) as step, step.call(amount=amount, caps=[cap]) as slot:
            await slot.settle(cost(slot.call, booked).model_copy(update=more))

    return spending


async def told(book):
    """What waits in the outbox to be reported."""
    found = [orjson.loads(parcel.body) for parcel in await book.take_parcels(["alert"], 50, hold=60)]
    return sorted((alert["threshold"], alert["spent"], alert["limit"]) for alert in found)


async def test_each_threshold_is_reported_once(book, spend):
    """Spending reaches a half once, then 80 %, and the whole when no call of the same size fits any more."""
    await spend("a", 10, 10)
    assert await told(book) == []
    await spend("b", 40, 40)
    assert await told(book) == [("50%", 50, 100)]
    await spend("c", 10, 10)
    assert await told(book) == []
    await spend("d", 21, 21)

    assert await told(book) == [("100%", 81, 100), ("80%", 81, 100)]


async def test_a_new_period_reports_anew(book, spend):
    """The next day has alerts of its own."""
    await spend("a", 50, 50)
    await spend("b", 50, 50, replace(CAP, period="2026-11-25"))

    assert await told(book) == [("50%", 50, 100), ("50%", 50, 100)]


async def test_reserved_money_is_no_alert(book, site, make, cost):
    """What is held and given back was not spent."""
    claim = await site.claim(book, make("a"))
    async with book.step(claim, "ask", **ASK) as step, step.call(amount=100, caps=[CAP]) as slot:
        assert await told(book) == []
        await slot.release(cost(slot.call, 0))

    assert await told(book) == []


async def test_an_overrun_is_reported(book, spend):
    """A call that cost more than was reserved for it is booked, and people are told."""
    await spend("a", 10, 15)

    assert await told(book) == [("overrun", 15, 100)]
    assert await book.spent(CAP.scope, CAP.period) == (15, 0)


async def test_a_swept_call_counts(book, site, make):
    """What a dead worker may have spent reaches thresholds too."""
    other = await beside(book)
    claim = await other.claim(make("a"))
    await other.admit(make("a"), b"{}", reason="behind")
    begun = other.step(claim, "ask", **ASK)
    step = await begun.__aenter__()
    await step.call(amount=60, caps=[CAP]).__aenter__()
    await bury(other)
    await book.pick_up(["p"], 1)

    assert await told(book) == [("100%", 60, 100), ("50%", 60, 100)]


async def test_a_refusal_reports_the_whole(book, spend):
    """A call that does not fit what is left is the end of the budget, however small the calls before were."""
    await spend("a", 10, 10)
    for _ in range(2):
        await book.reached(CAP)

    assert await told(book) == [("100%", 10, 100)]


async def test_a_lowered_limit_is_noticed(book, spend):
    """The next call under another limit finds which of its thresholds are passed."""
    await spend("a", 40, 40)
    assert await told(book) == []
    await spend("b", 1, 1, replace(CAP, limit=50))

    assert await told(book) == [("50%", 41, 50), ("80%", 41, 50)]


async def test_alerts_are_listed_by_when_they_were_given(book, spend):
    """Those of every budget since some time, each once."""
    await spend("a", 40, 40, at=1000)
    await spend("b", 10, 10, at=2000)
    await spend("c", 60, 60, replace(CAP, scope="budget:each/user=1", alert_at=(0.5,)), at=3000)
    of_all, of_one = ("budget:all", CAP.period, "50%"), ("budget:each/user=1", CAP.period, "50%")
    whole = ("budget:each/user=1", CAP.period, "100%")

    assert await book.alerts(2000) == {of_all, of_one, whole}
    assert await book.alerts(2001) == {of_one, whole}


async def test_money_is_shown_with_its_limit(book, spend):
    """The money of a day and of a month is listed, that of single users is not."""
    await spend("a", 10, 10)
    await spend("b", 10, 10, replace(CAP, scope="budget:each/user=1"))
    await spend("c", 10, 10, replace(CAP, scope="pipeline:p", period="2026-11"))
    await spend("d", 10, 10, replace(CAP, period="2026-11-23"))
    found = await book.purses(("2026-11-24", "2026-11"))

    assert [(one.scope, one.period, one.spent, one.reserved, one.limit) for one in found] == [
        ("budget:all", "2026-11-24", 10, 0, 100),
        ("pipeline:p", "2026-11", 10, 0, 100),
    ]


async def test_money_of_single_users_is_forgotten(book, spend):
    """Months after, what one user spent is gone; what all spent stays."""
    await spend("a", 10, 10)
    await spend("b", 10, 10, replace(CAP, scope="budget:each/user=1"))
    await book.prune(1_801_000_000_000)

    assert await book.spent("budget:each/user=1", CAP.period) == (0, 0)
    assert await book.spent(CAP.scope, CAP.period) == (10, 0)
