"""
Steps in the ledger: an intent before anything leaves, and an end that only an unmoved fence may write.

`doubt` is kept beside the intent: once an attempt may have taken effect, later failures cannot make the
step surely without effect again; only its end can.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

import orjson

from ledger import cache, lanes, pairs, reading
from ledger.caching import Hit
from ledger.connection import Connection, Row
from ledger.contract import Claim, WriteIntent
from ledger.locks import Ask
from ledger.pairing import Pair
from ledger.queries import queries
from schemas.entries import ActionClass, StepKind, WriteEntry

Found = Literal["fresh", "done", "unknown"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """
    What a step is about to do.
    """

    name: str
    kind: StepKind
    action_class: ActionClass | Literal["ai"]
    timeout_ms: int
    input_hash: str
    anew: bool
    write: WriteIntent | None
    token: bytes
    """Id of this begin."""

    def named(self, claim: Claim) -> dict[str, Any]:
        """
        Return what names the step, and this begin of it, in statements.
        """
        return lanes.values(claim) | {"step": self.name, "generation": claim.generation, "token": self.token}


@dataclass(frozen=True, slots=True, kw_only=True)
class Begun:
    """
    What a begin found.
    """

    found: Found
    result: Any = None
    attempts: int
    first_at: int
    quiet_at: int
    last: WriteEntry | None = None
    """Of a write: the newest one before that is done, by this step on this record."""


@dataclass(frozen=True, slots=True, kw_only=True)
class End:
    """
    What a step ended with.
    """

    result: str
    receipt: str | None
    version: str | None
    hit: Hit | None = None
    """Of an ask: where its result comes from, when it was taken from the cache."""
    pair: Pair | None = None
    """Two answers that can be compared since it ended."""


def key(claim: Claim, step: str) -> str:
    """
    Return the idempotency key: the same in every attempt, another in every generation.
    """
    text = "\x00".join((claim.run, step, str(claim.generation)))
    return hashlib.sha256(text.encode()).hexdigest()


def begin(connection: Connection, claim: Claim, plan: Plan, now: int, *, held: bool = False) -> Begun:
    """
    Store the intent of a step, unless it is done. That the lane is *held* may be known in this transaction.
    """
    if not held:
        lanes.hold(connection, claim)
    if (write := plan.write) is None:
        return _begin(connection, claim, plan, now)
    last = reading.last_write(connection, claim.pipeline, write.connection, write.record, plan.name)
    return replace(_begin(connection, claim, plan, now), last=last)


def intend(connection: Connection, held: bool, *, claim: Claim, plan: Plan, now: int) -> None:
    """
    Store the first intent of a step; raises `AssertionError` when it is not the first. *held* as for `begin`.
    """
    begun = begin(connection, claim, plan, now, held=held)
    if begun.found != "fresh" or begun.attempts != 1:
        raise AssertionError(f"step {plan.name!r} of run {claim.run} was called new, and is known: {begun.found}")


def first(plan: Plan, now: int) -> Begun:
    """
    Return what `intend` finds of a step: nothing.
    """
    return Begun(found="fresh", attempts=1, first_at=now, quiet_at=now + plan.timeout_ms)


def _begin(connection: Connection, claim: Claim, plan: Plan, now: int) -> Begun:
    named = plan.named(claim)
    old = connection.execute(queries["step"], named).fetchone()
    if old is None:
        return _intend(connection, claim, plan, now, old=None, doubt=False, intent_at=now)
    if old["token"] == plan.token and old["state"] == "intent":
        return _begun(old, "unknown" if old["doubt"] else "fresh")
    if old["state"] == "done":
        if not _asked_anew(connection, plan, named, old):
            return _begun(old, "done", orjson.loads(old["result"]))
        return _intend(connection, claim, plan, now, old=old, doubt=False, intent_at=now)
    doubt = old["state"] in {"intent", "unknown"}
    if doubt and plan.kind == "ask" and (begun := _late(connection, plan, named, old, now)):
        return begun
    quiet_at = old["intent_at"] + old["timeout_ms"]
    waits = doubt and plan.action_class == "read-back" and now < quiet_at
    return _intend(connection, claim, plan, now, old=old, doubt=doubt, intent_at=old["intent_at"] if waits else now)


def finish(connection: Connection, claim: Claim, plan: Plan, end: End, now: int) -> bool:
    """
    End the step; False when the fence has moved. The result of an ask is kept even then.
    """
    named = _ended(claim, plan, end, now)
    old = connection.execute(queries["step"], named).fetchone()
    if not lanes.holds(connection, claim) or old["token"] != plan.token:
        if plan.kind == "ask":
            connection.execute(queries["keep_answer"], named | {"input_hash": plan.input_hash})
        return False
    _close(connection, plan, named)
    if end.hit is not None:
        cache.note_hit(connection, claim, end.hit, now)
    if end.pair is not None:
        pairs.keep(connection, claim, end.pair, now)
    return True


@dataclass(frozen=True, slots=True, kw_only=True)
class Ending:
    """
    The end of a write, to be kept together with the end of its run; `ledger.contract.Ending`.
    """

    claim: Claim
    plan: Plan
    end: End
    now: int

    def keep(self, connection: Connection) -> None:
        """
        End the step of a run that holds its lane. Raises `Fenced` when another attempt has begun it.
        """
        named = _ended(self.claim, self.plan, self.end, self.now)
        old = connection.execute(queries["step"], named).fetchone()
        if old is None or old["token"] != self.plan.token:
            raise lanes.fenced(self.claim)
        _close(connection, self.plan, named)

    def asks(self) -> tuple[Ask, ...]:
        """
        Return what it will ask.
        """
        return (("step", self.plan.named(self.claim)),)


def _ended(claim: Claim, plan: Plan, end: End, now: int) -> dict[str, Any]:
    return plan.named(claim) | {"result": end.result, "receipt": end.receipt, "version": end.version, "now": now}


def _close(connection: Connection, plan: Plan, named: dict[str, Any]) -> None:
    connection.execute(queries["end_step"], named)
    if plan.kind == "write":
        connection.execute(queries["end_write"], named)


def leave(connection: Connection, claim: Claim, plan: Plan, state: Literal["failed", "unknown"], now: int) -> None:
    """
    End a step without a result: *state* is `failed` when this attempt surely had no effect.
    """
    named = plan.named(claim) | {"state": state, "now": now}
    old = connection.execute(queries["step"], named).fetchone()
    if old is None or old["token"] != plan.token or old["state"] != "intent" or not lanes.holds(connection, claim):
        return
    connection.execute(queries["leave_step"], named)
    sure = state == "failed" and not old["doubt"]
    connection.execute(queries["drop_write" if sure else "leave_write"], named)


def doubt(connection: Connection, claim: Claim) -> None:
    """
    The fence of *claim*'s lane has moved: whatever its run left open may have taken effect.
    """
    named = lanes.values(claim)
    connection.execute(queries["doubt_steps"], named)
    connection.execute(queries["doubt_writes"], named)


def answer(connection: Connection, run: str, step: str, generation: int) -> tuple[Any, bool] | None:
    """
    Return the result of an ask, also a late one, and whether a delivery was begun.
    """
    named = {"run": bytes.fromhex(run), "step": step, "generation": generation}
    row = connection.execute(queries["step"], named).fetchone()
    if row is not None and row["state"] == "done":
        kept = row["result"]
    elif late := connection.execute(queries["late_answer"], named).fetchone():
        kept = late["body"]
    else:
        return None
    return orjson.loads(kept), _delivering(connection, named)


def answered_late(connection: Connection, claim: Claim, plan: Plan) -> bool:
    """
    Say whether an answer of use is there that came after *plan* was begun, from a worker that had lost the lane.
    """
    return _late_one(connection, plan, plan.named(claim)) is not None


def _late_one(connection: Connection, plan: Plan, named: dict[str, Any]) -> Row | None:
    late: Row | None = connection.execute(queries["late_answer"], named).fetchone()
    if late is None or plan.anew or (plan.input_hash and plan.input_hash != late["ask_hash"]):
        return None
    return late


def _delivering(connection: Connection, named: dict[str, Any]) -> bool:
    return connection.execute(queries["delivery_begun"], named).fetchone() is not None


def _asked_anew(connection: Connection, plan: Plan, named: dict[str, Any], old: Row) -> bool:
    """
    Say whether a kept answer is of no use: it was to another question, and no delivery relies on it.
    """
    if plan.kind != "ask":
        return False
    other = bool(plan.input_hash) and plan.input_hash != old["input_hash"]
    return plan.anew or (other and not _delivering(connection, named))


def _late(connection: Connection, plan: Plan, named: dict[str, Any], old: Row, now: int) -> Begun | None:
    """
    End an ask with the answer that came after its worker had lost the lane.
    """
    if (late := _late_one(connection, plan, named)) is None:
        return None
    taken = {"result": late["body"], "receipt": late["receipt"], "now": now}
    connection.execute(queries["adopt_answer"], named | taken)
    return _begun(old, "done", orjson.loads(late["body"]))


def _intend(
    connection: Connection,
    claim: Claim,
    plan: Plan,
    now: int,
    *,
    old: Row | None,
    doubt: bool,
    intent_at: int,
) -> Begun:
    named = plan.named(claim) | {
        "kind": plan.kind,
        "class": plan.action_class,
        "key": key(claim, plan.name),
        "input_hash": plan.input_hash,
        "doubt": int(doubt),
        "attempts": old["attempts"] + 1 if old else 1,
        "first_at": old["first_at"] if old else now,
        "intent_at": intent_at,
        "timeout_ms": max(plan.timeout_ms, old["timeout_ms"]) if old and doubt else plan.timeout_ms,
    }
    connection.execute(queries["begin_step"], named)
    if plan.write is not None:
        _open_write(connection, plan.write, named, now)
    shown = old if old is not None and doubt else named
    return _begun(shown, "unknown" if doubt else "fresh", attempts=named["attempts"])


def _open_write(connection: Connection, write: WriteIntent, named: dict[str, Any], now: int) -> None:
    what = {
        "connection": write.connection,
        "record": write.record,
        "fields": orjson.dumps(dict(write.fields)).decode(),
        "value_hash": write.value_hash,
        "now": now,
    }
    connection.execute(queries["open_write"], named | what)


def _begun(row: Row | Mapping[str, Any], found: Found, result: Any = None, *, attempts: int | None = None) -> Begun:
    return Begun(
        found=found,
        result=result,
        attempts=row["attempts"] if attempts is None else attempts,
        first_at=row["first_at"],
        quiet_at=row["intent_at"] + row["timeout_ms"],
    )
