"""
Offering: a message of the bus as the run it would be.
"""

from __future__ import annotations

import hashlib
from typing import Any

from bus.contract import Message
from ledger.contract import NewRun
from penstock.errors import PenstockError
from pipelines.plan import Plan
from schemas.events import Event


def offer(plan: Plan, event: Event, message: Message | None = None) -> NewRun:
    """
    Return *event* as the run it would be; *message* is where the bus had it.
    """
    try:
        tenant, key = plan.tenant(event), plan.key(event)
    except PenstockError:
        tenant, key = "", event.key  # `judge` gives such an event its verdict
    return NewRun(
        tenant=tenant,
        pipeline=plan.name,
        identity=plan.identity,
        lane=key,
        source=event.source,
        event_id=event.id,
        subject=event.subject,
        user=_user(plan, event),
        config_hash=plan.config_hash,
        **_place(message, event.to_json()),
    )


def unreadable(plan: Plan, message: Message) -> NewRun:
    """
    Return a message that is no event as a run, named after its place on the bus.
    """
    place = f"bus:{message.topic}/{message.partition}/{message.offset}"
    return NewRun(
        pipeline=plan.name,
        identity=plan.identity,
        lane=f"event:{place}",
        source="penstock:bus",
        event_id=place,
        subject=place,
        config_hash=plan.config_hash,
        **_place(message, message.value),
    )


def _user(plan: Plan, event: Event) -> str:
    """
    Return whose event it is, for the record alone: what cannot be said is said when the event is judged.
    """
    try:
        return plan.user(event).encode(errors="replace").decode()  # half a character could not be kept
    except PenstockError:
        return ""


def _place(message: Message | None, body: bytes) -> dict[str, Any]:
    found: dict[str, Any] = {"body_hash": hashlib.sha256(body).hexdigest()[:32]}
    if message is None:
        return found | {"topic": "", "partition": 0, "offset": 0, "bus_time": 0}
    return found | {
        "topic": message.topic,
        "partition": message.partition,
        "offset": message.offset,
        "bus_time": message.timestamp_ms,
    }
