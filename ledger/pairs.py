"""
How pairs are kept: one row per run.
"""

from __future__ import annotations

import orjson

from ledger import lanes
from ledger.connection import Connection
from ledger.costs import CostQuery
from ledger.offer import Claim
from ledger.pairing import SHADOW, Pair
from ledger.queries import queries

_BILLION = 1_000_000_000


def keep(connection: Connection, claim: Claim, pair: Pair, now: int) -> None:
    """
    Keep *pair* as that of *claim*'s run.
    """
    kept = {
        "route": pair.route,
        "small": pair.small,
        "large": pair.large,
        "kept": int(pair.kept),
        "share": round(pair.share * _BILLION),
        "agree": int(pair.agree),
        "scores": orjson.dumps(dict(pair.scores)).decode(),
        "small_cost": pair.small_cost,
        "large_cost": pair.large_cost,
        "now": now,
    }
    connection.execute(queries["keep_pair"], lanes.values(claim) | kept)


def pairs(connection: Connection, query: CostQuery) -> list[Pair]:
    """
    Return what was compared for the pipeline of *query*.
    """
    return [
        Pair(
            route=row["route"],
            small=row["small"],
            large=row["large"],
            kept=bool(row["kept"]),
            share=row["share"] / _BILLION,
            agree=bool(row["agree"]),
            scores=orjson.loads(row["scores"]),
            small_cost=int(row["small_cost"]),
            large_cost=int(row["large_cost"]),
            at=int(row["at"]),
        )
        for row in connection.execute(queries["pairs"], _named(query)).fetchall()
    ]


def shadow_cost(connection: Connection, query: CostQuery) -> int:
    """
    Return what was paid to compare, for the pipeline of *query*.
    """
    row = connection.execute(queries["shadow_cost"], _named(query) | {"step": SHADOW}).fetchone()
    return int(row["cost"])


def _named(query: CostQuery) -> dict[str, object]:
    return {"since": query.since, "until": query.until, "pipeline": query.pipeline}
