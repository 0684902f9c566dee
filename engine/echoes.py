"""
Loop net 2: a change of only fields we wrote, with the values we wrote, is our own echo.

The system may send its webhook before it answers our write. A change of a record with an open write
therefore waits until that write ended, and is judged then.
"""

from __future__ import annotations

import hashlib
from typing import Any

import orjson

from ledger.contract import Ledger
from penstock.clock import Clock
from penstock.errors import PenstockError
from schemas.entries import WriteEntry
from schemas.events import Event

ECHO_SPAN = 24 * 3600 * 1000  # ms: how long after a write its echo is looked for
OPEN_WAIT = 5_000  # ms between looks while a write to the record is open
OPEN_MOST = 120_000  # ms after which an open write is no reason to wait any more


class EchoPending(PenstockError):
    """
    A write to this record is open; judge the change when it ended.
    """

    def __init__(self, message: str, due_at: int) -> None:
        super().__init__(message)
        self.due_at = due_at


def value_hash(value: Any) -> str:
    """
    Return the hash by which a written value is recognised; *value* is JSON data.
    """
    return hashlib.sha256(orjson.dumps(value, option=orjson.OPT_SORT_KEYS)).hexdigest()[:32]


async def echo_of(event: Event, connection: str, *, ledger: Ledger, clock: Clock) -> str | None:
    """
    Return why *event* is the echo of a write of ours; None when it is not. Raises `EchoPending`.
    """
    changed = event.data.get("changed")
    if not isinstance(changed, list) or not changed:
        return None
    now = clock.now_ms()
    writes = await ledger.writes_of(connection, event.subject, now - ECHO_SPAN)
    for write in writes:
        if _covers(write, event, changed) and write.state in ("done", "unknown"):
            return f"only fields written by {write.step} changed, to the values it wrote"
    for write in writes:
        if write.state == "open" and now - write.at < OPEN_MOST:
            raise EchoPending(f"{write.step} is writing to this record", now + OPEN_WAIT)
    return None


def _covers(write: WriteEntry, event: Event, changed: list[Any]) -> bool:
    return all(
        isinstance(name, str) and name in write.fields and write.fields[name] == value_hash(event.data.get(name))
        for name in changed
    )
