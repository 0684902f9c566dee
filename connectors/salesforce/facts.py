"""
What changes and records of Salesforce say, one by one.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson

from connectors.salesforce.pubsub import Change

OVERLAP = 120.0  # seconds a change may take until it can be read
SEEN = 20_000  # states that a cursor remembers
LONGEST = 20_000  # characters of one field


def flat(name: str) -> str:
    """
    Return the field that a nested name stands for: `Name.FirstName` is `FirstName`, `BillingAddress.City` is `BillingCity`.
    """
    outer, dot, inner = name.partition(".")
    if not dot:
        return name
    return outer.removesuffix("Address") + inner if outer.endswith("Address") else inner


def named(changed: Sequence[str]) -> set[str]:
    """
    Return every field that changed: of a part of an address or name the part and the whole.
    """
    return {name for one in changed for name in (flat(one), one.partition(".")[0])}


def literal(time: datetime) -> str:
    """
    Return a time as SOQL writes it: whole seconds of UTC.
    """
    return time.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def ids(change: Change) -> list[str]:
    """
    Return the records that a change is about.
    """
    return [str(one) for one in change.header.get("recordIds") or ()]


def kind(change: Change) -> str:
    """
    Return what happened, whether it is told whole or as a gap.
    """
    return str(change.header.get("changeType") or "").removeprefix("GAP_")


def committed(change: Change) -> datetime:
    """
    Return when a change was committed.
    """
    return datetime.fromtimestamp(int(change.header.get("commitTimestamp") or 0) / 1000, UTC)


def instant(text: str) -> datetime:
    """
    Return a time that Salesforce wrote, in UTC.
    """
    return datetime.fromisoformat(text.replace("+0000", "+00:00")).astimezone(UTC)


def states(records: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """
    Return the states of records, and when each came to be.
    """
    return {state(record): instant(record["SystemModstamp"]).isoformat() for record in records}


def state(record: Mapping[str, Any]) -> str:
    """
    Return what tells one state of a record from another.
    """
    return f"{record['Id']}/{record['SystemModstamp']}/{digest(record)}"


def digest(record: Mapping[str, Any]) -> str:
    """
    Return the digest of what a record says; who made it does not change.
    """
    values = {name: value for name, value in record.items() if name not in ("attributes", "CreatedById")}
    return hashlib.sha256(orjson.dumps(values, option=orjson.OPT_SORT_KEYS, default=dict)).hexdigest()[:12]


def kept(begun: str, times: Mapping[str, str], seen: Mapping[str, str]) -> bytes:
    """
    Return the cursor of polls.
    """
    oldest = (datetime.fromisoformat(min(times.values())) - timedelta(seconds=OVERLAP)).isoformat()
    kept = dict([(one, time) for one, time in seen.items() if time >= oldest][-SEEN:])
    return orjson.dumps({"begun": begun, "times": dict(times), "seen": kept})


def plain(value: Any) -> Any:
    """
    Return a field as JSON data, bounded.
    """
    if isinstance(value, bytes):
        return f"({len(value)} bytes)"
    if isinstance(value, str) and len(value) > LONGEST:
        return value[:LONGEST] + " […]"
    return value
