"""
Reading the ledger for money: sums of calls.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import groupby
from typing import Any, get_args

from ledger.connection import Connection, Row
from ledger.costs import SLOT, ClimbSum, CostQuery, CostSum, Dimension, SavingSum
from ledger.pairing import SHADOW
from ledger.queries import queries

_COLUMNS: dict[Dimension, str] = {
    "pipeline": "coalesce(r.pipeline, '')",
    "tenant": "coalesce(r.tenant, '')",
    "user": "coalesce(r.\"user\", '')",
    "model": "c.model",
    "config_hash": "coalesce(r.config_hash, '')",
    "slot": f"c.at / {SLOT}",
}
_MOST_NAMES = 500  # in one statement


def costs(connection: Connection, query: CostQuery) -> list[CostSum]:
    """
    Return the sums of every call in the time of *query*.
    """
    by = _dimensions(query)
    places = "".join(f", {_COLUMNS[name]}" for name in by)
    return [_sum(row, by) for row in _summed(connection, query, queries["costs"].replace(":places", places))]


def savings(connection: Connection, query: CostQuery) -> list[SavingSum]:
    """
    Return the sums of every answer that was taken from the cache in the time of *query*.
    """
    by = _dimensions(query)
    grouped = "GROUP BY " + ", ".join(_COLUMNS[name] for name in by) if by else ""
    rows = _summed(connection, query, queries["savings"].replace(":grouped", grouped))
    return [
        SavingSum(hits=int(row["hits"]), saved=int(row["saved"]), **{name: row[name] for name in by})
        for row in rows
        if row["hits"]
    ]


def configs(connection: Connection, hashes: Collection[str]) -> dict[str, str]:
    """
    Return the texts of these configurations, as far as they are known.
    """
    found: dict[str, str] = {}
    wanted = sorted(hashes)
    for start in range(0, len(wanted), _MOST_NAMES):
        names = wanted[start : start + _MOST_NAMES]
        text = queries["configs"].replace(":hashes", ",".join("?" * len(names)))
        found |= {row["config_hash"]: row["body"] for row in connection.execute(text, names)}
    return found


def _dimensions(query: CostQuery) -> list[Dimension]:
    return [name for name in get_args(Dimension) if name in query.by]


def _summed(connection: Connection, query: CostQuery, text: str) -> list[Row]:
    """
    Return the sums that *text* asks for, told apart and narrowed as *query* says.
    """
    names = "".join(f', {_COLUMNS[name]} AS "{name}"' for name in _dimensions(query))
    narrowed = "" if query.pipeline is None else "AND r.pipeline = :pipeline"
    named: dict[str, Any] = {"since": query.since, "until": query.until}
    if query.pipeline is not None:
        named["pipeline"] = query.pipeline
    return connection.execute(text.replace(":names", names).replace(":narrowed", narrowed), named).fetchall()


def _sum(row: Row, by: Sequence[Dimension]) -> CostSum:
    sums = ("calls", "tokens_in", "tokens_out", "tokens_cached", "cost")
    known: dict[str, Any] = {name: row[name] for name in by}
    return CostSum(
        outcome=row["outcome"],
        late=bool(row["late"]),
        priced=bool(row["priced"]),
        **known | {name: int(row[name]) for name in sums},
    )


def climbs(connection: Connection, query: CostQuery) -> list[ClimbSum]:
    """
    Return how the asks of the pipeline of *query* went.
    """
    named = {"since": query.since, "until": query.until, "pipeline": query.pipeline, "shadow": SHADOW}
    rows = connection.execute(queries["climbs"], named)
    found: dict[tuple[Any, ...], ClimbSum] = {}
    for _, calls in groupby(rows, key=lambda row: (row["run"], row["step"])):
        for climb in _climbs(calls):
            one = _climb(climb)
            key = (one.models, one.causes, one.outcome)
            found[key] = _both(found[key], one) if key in found else one
    return list(found.values())


def _climbs(calls: Iterable[Row]) -> Iterator[list[Row]]:
    """
    Cut the calls of a step where somebody began at the bottom again.
    """
    climb: list[Row] = []
    for call in calls:
        if climb and call["rung"] < climb[-1]["rung"]:
            yield climb
            climb = []
        climb.append(call)
    yield climb


def _climb(calls: Sequence[Row]) -> ClimbSum:
    rungs = [list(of) for _, of in groupby(calls, key=lambda call: call["rung"])]
    last = calls[-1]
    costs = tuple(sum(int(call["cost"]) for call in rung) for rung in rungs)
    return ClimbSum(
        models=tuple(rung[-1]["model"] for rung in rungs),
        causes=tuple(rung[0]["cause"] for rung in rungs[1:]),
        outcome=last["outcome"],
        asks=1,
        cost=sum(costs),
        costs=costs,
        tokens_in=last["tokens_in"],
        tokens_out=last["tokens_out"],
        tokens_cached=last["tokens_cached"],
    )


def _both(one: ClimbSum, other: ClimbSum) -> ClimbSum:
    names = ("asks", "cost", "tokens_in", "tokens_out", "tokens_cached")
    sums: dict[str, Any] = {name: getattr(one, name) + getattr(other, name) for name in names}
    costs = tuple(left + right for left, right in zip(one.costs, other.costs, strict=True))
    return replace(one, costs=costs, **sums)
