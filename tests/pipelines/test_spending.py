"""
Who pays for a call: every cap that covers it, in the right period, for the right people.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.contract import Cap
from pipelines.declaration import Declaration
from pipelines.spending import LONGEST_NAME, NOBODY, Whose, period_of, spending_of

PARIS = ZoneInfo("Europe/Paris")
NOW = int(datetime(2026, 11, 24, 23, 30, tzinfo=UTC).timestamp() * 1000)
PIPELINE: dict[str, Any] = {
    "trigger": {"connection": "desk", "events": ["ticket.created"]},
    "context": {"tokens": 500, "sections": {"ticket": {"from": "event.data"}}},
    "ask": {"model": "small", "template": "ask.j2", "output": "out.json"},
    "deliver": [{"to": "desk.note", "template": "note.j2"}],
}


def ms(text: str, zone: Any = UTC) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=zone).timestamp() * 1000)


def caps(budgets: dict[str, Any], whose: Whose = NOBODY, **pipeline: Any) -> list[Cap]:
    declared = Declaration.model_validate(
        {"version": 1, "hub": {"timezone": "Europe/Paris"}, "budgets": budgets, "pipelines": {"p": PIPELINE | pipeline}}
    )
    return spending_of(declared, "p").caps(NOW, whose)


def test_every_budget_that_covers_a_pipeline_is_a_cap() -> None:
    """A budget without labels covers all, one with labels who carries all of them, and the pipeline has its own."""
    budgets = {
        "everything": {"spend": "2000 USD/month", "alert_at": ["50%"]},
        "support": {"spend": "20 USD/day", "labels": {"team": "support"}, "at_limit": "drop"},
        "sales": {"spend": "20 USD/day", "labels": {"team": "sales"}},
        "both": {"spend": "20 USD/day", "labels": {"team": "support", "tier": "1"}},
    }
    found = caps(budgets, labels={"team": "support"}, limits={"spend": "5 USD/day", "at_limit": "hold"})

    assert [
        ("budget:everything", "2026-11", 2_000_000_000, (0.5,), "hold"),
        ("budget:support", "2026-11-25", 20_000_000, (), "drop"),
        ("pipeline:p", "2026-11-25", 5_000_000, (), "hold"),
    ] == [(cap.scope, cap.period, cap.limit, cap.alert_at, cap.at_limit) for cap in found]


def test_each_has_money_of_its_own() -> None:
    """A budget per tenant, user or record has a scope for each of them."""
    budgets = {per: {"spend": "1 USD/day", "per": per} for per in ("tenant", "user", "key")}
    found = caps(budgets, Whose(tenant="acme", user="42", key="desk/35"))

    assert ["budget:tenant/tenant=acme", "budget:user/user=acme,42", "budget:key/key=acme,desk/35"] == [
        cap.scope for cap in found
    ]


@given(st.text(), st.text(), st.text(), st.text())
def test_nobody_pays_for_another(tenant: str, user: str, other_tenant: str, other: str) -> None:
    """Two users share a scope only when they are one user of one tenant, and no scope is long."""
    one, two = Whose(tenant=tenant, user=user).named("user"), Whose(tenant=other_tenant, user=other).named("user")

    assert ((tenant, user) == (other_tenant, other)) == (one == two)
    assert len(one) <= LONGEST_NAME + len("user=")


@pytest.mark.parametrize(
    ("moment", "kind", "period", "ends"),
    [
        ("2026-11-24T23:59:59", "day", "2026-11-24", "2026-11-25T00:00:00"),
        ("2026-10-25T01:00:00", "day", "2026-10-25", "2026-10-26T00:00:00"),
        ("2026-12-31T23:00:00", "month", "2026-12", "2027-01-01T00:00:00"),
        ("2027-01-31T12:00:00", "month", "2027-01", "2027-02-01T00:00:00"),
        ("2026-03-29T12:00:00", "day", "2026-03-29", "2026-03-30T00:00:00"),
    ],
)
def test_periods_end_at_midnight_where_the_hub_is(moment: str, kind: str, period: str, ends: str) -> None:
    """Days of 23 and 25 hours and months of any length end when the next one begins in the hub's time zone."""
    assert (period, ms(ends, PARIS)) == period_of(ms(moment, PARIS), kind, PARIS)
