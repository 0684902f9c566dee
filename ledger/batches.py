"""
How batches are kept: a row per question, a row per batch, and who looks after them.

The reservation of an item is held under a fence that no lane ever reaches: no sweep takes it for one of a call that was
left.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import orjson

from ledger import lanes, money
from ledger.batching import Batch, Entry, Item, ItemEnd, Limits, NewItem
from ledger.connection import Connection, Row
from ledger.ids import Ids
from ledger.offer import Claim
from ledger.queries import queries
from penstock.redaction import LIVE
from schemas.entries import ModelCall

MOST = 200  # rows in one transaction
_SECOND = 1000  # ms


def put(connection: Connection, claim: Claim, step: str, call: str, new: NewItem, now: int) -> None:
    """
    Put down the question *new* under the reservation of *call*, in its transaction.
    """
    named = lanes.values(claim) | {
        "call": bytes.fromhex(call),
        "step": step,
        "generation": claim.generation,
        "model": new.model,
        "within": int(new.within * _SECOND),
        "ask_hash": new.ask_hash,
        "body": new.body.decode(),
        "size": len(new.body),
        "asked": orjson.dumps(new.asked).decode(),
        "due_at": new.due_at,
        "now": now,
    }
    connection.execute(queries["put_item"], named)


def item_of(connection: Connection, claim: Claim, step: str) -> Item | None:
    """
    Return the newest item of a run's step.
    """
    named = lanes.values(claim) | {"step": step, "generation": claim.generation}
    row = connection.execute(queries["item_of"], named).fetchone()
    if row is None:
        return None
    return Item(
        call=row["call"].hex(),
        model=row["model"],
        ask_hash=row["ask_hash"],
        asked=orjson.loads(row["asked"]),
        state=row["state"],
        answer=None if row["answer"] is None else orjson.loads(row["answer"]),
        cost=int(row["cost"]),
        why=row["why"],
        due_at=row["due_at"],
    )


def waits(connection: Connection, run: bytes) -> bool:
    """
    Say whether an item of *run* has no end yet.
    """
    return connection.execute(queries["item_waits"], {"run": run}).fetchone() is not None


def lead(connection: Connection, what: str, worker: bytes, *, until: int, now: int) -> bool:
    """
    Make *worker* the one who does *what*, unless another is alive and at it.
    """
    named = {"what": what, "worker": worker, "until": until, "now": now}
    return connection.execute(queries["lead"], named).fetchone() is not None


def withdraw(connection: Connection, now: int) -> int:
    """
    Free some open items that are due, or whose run is over.
    """
    due = connection.execute(queries["due_items"], {"now": now, "most": MOST}).fetchall()
    ends = [ItemEnd(call=row["call"].hex(), state="free", why="it was in no batch when it was due") for row in due]
    return end(connection, ends, now)


def seal(connection: Connection, limits: Limits, ids: Ids, now: int) -> int:
    """
    Make batches of the open items of every group that has enough of them, or old ones.
    """
    made = 0
    for group in connection.execute(queries["open_groups"]).fetchall():
        full = group["items"] >= limits.items or group["size"] >= limits.size
        if full or group["at"] <= now - limits.age * _SECOND:
            made += _seal(connection, group, limits, ids.new(), now)
    return made


def _seal(connection: Connection, group: Row, limits: Limits, batch: bytes, now: int) -> int:
    named = {"model": group["model"], "within": group["within"], "most": limits.items}
    chosen = list(_fitting(connection.execute(queries["open_items"], named).fetchall(), limits.size))
    for row in chosen:
        connection.execute(queries["seal_item"], {"call": row["call"], "batch": batch})
    added = {"batch": batch, "model": group["model"], "items": len(chosen), "now": now}
    connection.execute(queries["add_batch"], added | {"due_at": min(row["due_at"] for row in chosen)})
    return 1


def _fitting(rows: Sequence[Row], size: int) -> Iterator[Row]:
    """
    Yield rows up to *size* bytes, the first in any case.
    """
    total = 0
    for number, row in enumerate(rows):
        total += row["size"]
        if number and total > size:
            return
        yield row


def due(connection: Connection, now: int) -> list[Batch]:
    """
    Return some batches that are to be looked at.
    """
    return [
        Batch(**(dict(row) | {"batch": row["batch"].hex()}))
        for row in connection.execute(queries["due_batches"], {"now": now, "most": MOST}).fetchall()
    ]


def entries(connection: Connection, batch: str) -> list[Entry]:
    """
    Return the items of *batch* that have no end.
    """
    rows = connection.execute(queries["items_of_batch"], {"batch": bytes.fromhex(batch)}).fetchall()
    return [
        Entry(
            call=row["call"].hex(),
            claim=_nobody(row),
            step=row["step"],
            body=row["body"].encode(),
            asked=orjson.loads(row["asked"]),
            at=row["at"],
        )
        for row in rows
    ]


def move(connection: Connection, batch: Batch, **to: Any) -> bool:
    """
    Put *batch* into another state, if it is still in the one it was read in.
    """
    named = to | {"batch": bytes.fromhex(batch.batch), "was": batch.state, "was_sent_at": batch.sent_at}
    named["why"] = None if to["why"] is None else LIVE.hide(to["why"])
    return bool(connection.execute(queries["move_batch"], named).rowcount)


def end(connection: Connection, ends: Sequence[ItemEnd], now: int) -> int:
    """
    Book what became of items, and wake their runs; one that has an end keeps it.
    """
    found = [(one, _item(connection, one.call)) for one in ends]
    open_ones = [(one, row) for one, row in found if row is not None]
    places = {(row["tenant"], row["pipeline"], row["lane"]) for _, row in open_ones}
    sums = {(scope, period) for _, row in open_ones for scope, period in orjson.loads(row["rows"])}
    connection.lock(places, sums)
    return sum(_end(connection, one, row, now) for one, row in open_ones)


def _item(connection: Connection, call: str) -> Row | None:
    row: Row | None = connection.execute(queries["item"], {"call": bytes.fromhex(call)}).fetchone()
    return row


def _end(connection: Connection, one: ItemEnd, row: Row, now: int) -> int:
    entry = one.entry or _unanswered(one, row, now)
    booked = 0 if one.state == "free" else entry.cost
    answer = None if one.answer is None else orjson.dumps(one.answer).decode()
    why = None if one.why is None else LIVE.hide(one.why)
    named = {"call": row["call"], "state": one.state, "answer": answer, "cost": booked, "why": why}
    if not connection.execute(queries["end_item"], named).rowcount:
        return 0
    money.end(connection, entry, "released" if one.state == "free" else "settled")
    for query in ("wake_lane", "wake_run"):
        connection.execute(
            queries[query], {name: row[name] for name in ("run", "tenant", "pipeline", "lane")} | {"now": now}
        )
    return 1


def _unanswered(one: ItemEnd, row: Row, now: int) -> ModelCall:
    lost = one.state == "lost"
    return money.unanswered(
        call=one.call,
        run=row["run"].hex(),
        step=row["step"],
        cost=row["amount"] if lost else 0,
        outcome="lost" if lost else "withdrawn",
        now=now,
        model=row["model"],
        priced=bool(row["priced"]),
    )


def _nobody(row: Row) -> Claim:
    return Claim(
        run=row["run"].hex(),
        tenant=row["tenant"],
        pipeline=row["pipeline"],
        lane=row["lane"],
        fence=0,
        generation=row["generation"],
        attempts=0,
    )
