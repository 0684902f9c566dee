"""
Money: a reservation is a row per provider call over its (scope, period) rows.

It is held, then settled (what it really cost), released (no byte left us) or swept (its lane's fence
moved), once. A swept one may be corrected once, by the answer that came after all.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Literal

import orjson

from ledger import alerts, holds, lanes
from ledger.connection import Connection, Row
from ledger.contract import Cap, Claim
from ledger.limits import CapReached
from ledger.locks import Sum
from ledger.queries import queries
from penstock.errors import OverBudget
from schemas.entries import ModelCall

NO_FENCE = 2**62  # above every fence: no lane that is taken has passed it
Ending = Literal["settled", "released"]


def reserve(
    connection: Connection,
    claim: Claim,
    step: str,
    call: str,
    *,
    amount: int,
    caps: Sequence[Cap],
    per_event: int | None,
    now: int,
    model: str = "",
    priced: bool = True,
    outlives: bool = False,
) -> bool:
    """
    Hold *amount* for *call* under every cap, or raise `OverBudget` and change nothing.

    One that *outlives* its lane's fence is never swept: an item of a batch owns it. Return whether the lane was
    looked at: not when the call is held already.
    """
    named = lanes.values(claim) | {"call": bytes.fromhex(call)}
    if connection.execute(queries["reservation"], named).fetchone():
        return False
    lanes.hold(connection, claim)
    _within_event(connection, claim, amount, per_event)
    ordered = sorted(caps, key=lambda cap: (cap.scope, cap.period))
    new = [cap for cap in ordered if not _within(connection, claim, cap, amount)]
    for cap in new:
        connection.execute(queries["add_budget"], _budget(cap))
    rows = [(cap.scope, cap.period) for cap in ordered]
    _move(connection, rows, spent=0, reserved=amount)
    holds.passed(connection, claim, ordered, amount)
    named |= {"step": step, "amount": amount, "rows": orjson.dumps(rows).decode(), "now": now}
    named |= {"model": model, "priced": int(priced)}
    if outlives:
        named["fence"] = NO_FENCE
    connection.execute(queries["reserve"], named)
    return True


def end(connection: Connection, entry: ModelCall, ending: Ending) -> None:
    """
    Settle or release the reservation of *entry*'s call and keep the entry; a second time does nothing.
    """
    booked = entry.cost if ending == "settled" else 0
    named: dict[str, Any] = {"call": bytes.fromhex(entry.call)}
    held = connection.execute(queries["reservation"], named).fetchone()
    if held is None or held["state"] not in {"held", "swept"}:
        return
    late = held["state"] == "swept"
    _book(connection, named, held, state="corrected" if late else ending, booked=booked, now=entry.at)
    if entry.cost != booked or late > entry.late:
        entry = entry.model_copy(update={"cost": booked, "late": True if late else entry.late})
    keep_call(connection, entry)


def sweep(connection: Connection, claim: Claim, now: int) -> None:
    """
    Book everything that earlier holders of *claim*'s lane still hold as spent.
    """
    for stale in connection.execute(queries["stale_reservations"], lanes.values(claim)).fetchall():
        named = {"call": stale["call"]}
        held = connection.execute(queries["reservation"], named).fetchone()
        _book(connection, named, held, state="swept", booked=held["amount"], now=now)
        entry = unanswered(
            call=stale["call"].hex(),
            run=stale["run"].hex(),
            step=stale["step"],
            cost=held["amount"],
            outcome="swept",
            now=now,
            model=stale["model"],
            priced=bool(stale["priced"]),
        )
        keep_call(connection, entry)


def sums_under(connection: Connection, places: Iterable[Row]) -> list[Sum]:
    """
    Return the budget rows of everything that is held under these lanes.
    """
    named = ({"tenant": lane["tenant"], "pipeline": lane["pipeline"], "lane": lane["lane"]} for lane in places)
    held = (row for one in named for row in connection.execute(queries["sums_under"], one).fetchall())
    return [(scope, period) for row in held for scope, period in orjson.loads(row["rows"])]


def unanswered(
    *,
    call: str,
    run: str,
    step: str,
    cost: int,
    outcome: Literal["lost", "swept", "withdrawn"],
    now: int,
    model: str = "",
    priced: bool = True,
) -> ModelCall:
    """
    Return the entry of a call nobody told us the end of; its whole worst case is booked.
    """
    return ModelCall(
        call=call,
        run=run,
        step=step,
        model=model,
        provider="",
        request_model="",
        outcome=outcome,
        cost=cost,
        at=now,
        priced=priced,
    )


def keep_call(connection: Connection, entry: ModelCall) -> None:
    """
    Keep one entry per call; the ledger's own gives way to the real one.
    """
    named = {
        "call": bytes.fromhex(entry.call),
        "run": bytes.fromhex(entry.run),
        "step": entry.step,
        "rung": entry.rung,
        "attempt": entry.attempt,
        "model": entry.model,
        "provider": entry.provider,
        "outcome": entry.outcome,
        "tokens_in": entry.usage.input,
        "tokens_out": entry.usage.output,
        "tokens_cached": entry.usage.cache_read,
        "cost": entry.cost,
        "latency_ms": entry.latency_ms,
        "late": int(entry.late),
        "at": entry.at,
        "entry": entry.model_dump_json(exclude={"priced", "cause"}),  # older code refuses names it does not know
        "priced": int(entry.priced),
        "cause": entry.cause,
    }
    connection.execute(queries["keep_call"], named)


def _within_event(connection: Connection, claim: Claim, amount: int, limit: int | None) -> None:
    if limit is None:
        return
    cost, held = connection.execute(queries["committed"], lanes.values(claim)).fetchone()
    if cost + held + amount > limit:
        message = (
            f"a call of at most {amount} micro-USD does not fit: this event has used {cost + held} of {limit} "
            "(raise `limits.per_event`, or shorten the context or the answer)"
        )
        raise OverBudget(message, scope="per_event", forever=cost + amount > limit)


def _within(connection: Connection, claim: Claim, cap: Cap, amount: int) -> bool:
    """
    Raise unless *amount* fits under *cap*, and nobody waits for it; say whether its row is there as it should be.
    """
    row = connection.execute(queries["budget"], {"scope": cap.scope, "period": cap.period}).fetchone()
    spent, reserved = (row["spent"], row["reserved"]) if row else (0, 0)
    if spent + reserved + amount > cap.limit:
        raise CapReached(cap, amount=amount, spent=spent, reserved=reserved)
    holds.queue(connection, claim, cap, amount, (spent, reserved))
    should = _budget(cap)
    return row is not None and all(row[name] == should[name] for name in ("cap", "alert_at"))


def _budget(cap: Cap) -> dict[str, Any]:
    alert_at = orjson.dumps(cap.alert_at).decode()
    return {"scope": cap.scope, "period": cap.period, "cap": cap.limit, "alert_at": alert_at}


def _book(connection: Connection, named: dict[str, Any], held: Row, *, state: str, booked: int, now: int) -> None:
    """
    Move a reservation's money from reserved to spent, or correct what a sweep had spent; tell who must know.
    """
    more = booked - held["booked"]
    freed = held["amount"] if held["state"] == "held" else 0
    rows = orjson.loads(held["rows"])
    _move(connection, rows, spent=more, reserved=-freed)
    for scope, period in rows if more > 0 else ():
        alerts.spent(connection, scope, period, amount=held["amount"], booked=booked, now=now)
    named = named | {"run": held["run"]}
    connection.execute(queries["book"], named | {"state": state, "booked": booked})
    connection.execute(queries["add_cost"], named | {"cost": more})


def _move(connection: Connection, rows: Sequence[Sequence[str]], *, spent: int, reserved: int) -> None:
    for scope, period in rows:
        named = {"scope": scope, "period": period, "spent": spent, "reserved": reserved}
        connection.execute(queries["move_money"], named)
