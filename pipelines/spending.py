"""
Who pays for a call: the caps of a pipeline, its own and those of every budget that covers it.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Literal
from urllib.parse import quote
from zoneinfo import ZoneInfo

from ledger.contract import Cap
from ledger.limits import Allowed
from penstock.units import Rate, Spend
from pipelines.anatomy import Limits, Pipeline
from pipelines.declaration import Budget, Declaration

LONGEST_NAME = 120  # characters of a value in a scope, or of a user; a longer one is named by its hash

Per = Literal["tenant", "user", "key"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Whose:
    """
    For whom a call is made.
    """

    tenant: str = ""
    user: str = ""
    """Empty for events whose user is null: they are one user together."""
    key: str = ""
    """Connection and key: what keeps order there."""

    def named(self, per: Per) -> str:
        """
        Return one of them as the end of a scope, e.g. `user=acme,42`; no two are named alike.
        """
        values = {"tenant": (self.tenant,), "user": (self.tenant, self.user), "key": (self.tenant, self.key)}[per]
        text = ",".join(quote(value, safe="/:@ ") for value in values if value or len(values) == 1)
        if len(values) > 1 and not values[-1]:
            text += ","  # a user without a name is not the tenant of that name
        return f"{per}={short(text)}"


def short(name: str) -> str:
    """
    Return *name*, or the hash of a very long one.
    """
    return name if len(name) <= LONGEST_NAME else hashlib.sha256(name.encode(errors="replace")).hexdigest()[:32]


NOBODY = Whose()


@dataclass(frozen=True, slots=True, kw_only=True)
class Ceiling:
    """
    A cap before its moment, and before it is known for whom.
    """

    scope: str
    spend: Spend
    per: Per | None = None
    alert_at: tuple[float, ...] = ()
    at_limit: Literal["hold", "drop"] = "drop"

    def cap(self, now_ms: int, zone: ZoneInfo, whose: Whose) -> Cap:
        """
        Return the cap of a call made now.
        """
        period, ends_at = period_of(now_ms, self.spend.period, zone)
        return Cap(
            scope=self.scope if self.per is None else f"{self.scope}/{whose.named(self.per)}",
            period=period,
            limit=self.spend.amount,
            ends_at=ends_at,
            alert_at=self.alert_at,
            at_limit=self.at_limit,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Spending:
    """
    Everything that limits what one pipeline may do.
    """

    scope: str
    """Of its own limits."""
    ceilings: tuple[Ceiling, ...]
    limits: Limits
    timezone: ZoneInfo

    @property
    def wide_scopes(self) -> list[str]:
        """
        The scopes under which every call falls, whoever it is for.
        """
        return [ceiling.scope for ceiling in self.ceilings if ceiling.per is None]

    def caps(self, now_ms: int, whose: Whose = NOBODY) -> list[Cap]:
        """
        Return the caps that hold for a call made now.
        """
        return [ceiling.cap(now_ms, self.timezone, whose) for ceiling in self.ceilings]

    def rates(self, whose: Whose) -> list[Allowed]:
        """
        Return the rates an event counts against.
        """
        wanted: tuple[tuple[Per, Rate | None], ...] = (("user", self.limits.per_user), ("key", self.limits.per_key))
        return [
            Allowed(scope=f"{self.scope}/{whose.named(per)}", count=rate.count, window_ms=int(rate.seconds * 1000))
            for per, rate in wanted
            if rate is not None
        ]


def period_of(now_ms: int, kind: str, zone: ZoneInfo) -> tuple[str, int]:
    """
    Return the day or month of a moment in *zone*, `2026-11-24` or `2026-11`, and the UTC ms at which it ends.
    """
    return _period_of(now_ms // _MINUTE, kind, zone)


_MINUTE = 60_000  # ms: in every zone a day begins with a full one


@lru_cache(64)
def _period_of(minute: int, kind: str, zone: ZoneInfo) -> tuple[str, int]:
    midnight = datetime.fromtimestamp(minute * _MINUTE / 1000, UTC).astimezone(zone).replace(hour=0, minute=0, second=0)
    midnight = midnight.replace(microsecond=0, fold=0)
    if kind == "day":
        return midnight.strftime("%Y-%m-%d"), _ms(midnight + timedelta(days=1))
    following = (midnight.replace(day=1) + timedelta(days=31)).replace(day=1)
    return midnight.strftime("%Y-%m"), _ms(following)


def spending_of(declaration: Declaration, name: str) -> Spending:
    """
    Return what limits the pipeline *name*.
    """
    pipeline, scope = declaration.pipelines[name], f"pipeline:{name}"
    found = [_of_budget(each, budget) for each, budget in declaration.budgets.items() if covers(budget, pipeline)]
    limits = pipeline.limits
    if limits.spend is not None:
        at_limit: Literal["hold", "drop"] = "hold" if limits.at_limit == "hold" else "drop"
        found.append(Ceiling(scope=scope, spend=limits.spend, at_limit=at_limit))
    zone = ZoneInfo(declaration.hub.timezone)
    return Spending(scope=scope, ceilings=tuple(found), limits=limits, timezone=zone)


def covers(budget: Budget, pipeline: Pipeline) -> bool:
    """
    Return whether *pipeline* carries all labels of *budget*.
    """
    return (budget.labels or {}).items() <= dict(pipeline.labels).items()


def _of_budget(name: str, budget: Budget) -> Ceiling:
    return Ceiling(
        scope=f"budget:{name}",
        spend=budget.spend,
        per=budget.per,
        alert_at=budget.alert_at,
        at_limit=budget.at_limit,
    )


def _ms(moment: datetime) -> int:
    return int(moment.timestamp() * 1000)
