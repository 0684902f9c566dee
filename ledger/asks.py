"""
What operations will ask about the rows they work on.

On PostgreSQL each question is a round trip; a batch that knows the questions of all its operations asks
them together.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from ledger import lanes
from ledger.contract import Cap, Claim, NewRun, WriteIntent
from ledger.limits import gate_of
from ledger.locks import Ask


def start(new: NewRun) -> tuple[Ask, ...]:
    """
    Return what is asked before *new* gets a row.
    """
    named = lanes.values(new)
    return (("known_run", named), ("known_before", named), ("tick", named))


def end(claim: Claim, more: tuple[Ask, ...] = ()) -> tuple[Ask, ...]:
    """
    Return what is asked before *claim*'s run leaves its lane, and *more*.
    """
    return (("next_of_lane", lanes.values(claim)), *more)


def step(named: Mapping[str, Any], write: WriteIntent | None = None) -> tuple[Ask, ...]:
    """
    Return what is asked before a step ends, or begins with the intent to *write*.
    """
    if write is None:
        return (("step", named),)
    return (("step", named), ("last_write", {**named, "connection": write.connection, "record": write.record}))


def call(claim: Claim, call: str, caps: Iterable[Cap]) -> tuple[Ask, ...]:
    """
    Return what is asked before money is reserved or booked.
    """
    named = lanes.values(claim) | {"call": bytes.fromhex(call)}
    gates: list[Ask] = [("held_before", {"gate": gate_of(cap.scope)}) for cap in caps]
    return (("reservation", named), ("committed", named), *gates)
