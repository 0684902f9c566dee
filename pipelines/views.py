"""
The event as expressions and templates see it.
"""

from __future__ import annotations

from typing import Any

from ledger.bursts import Burst
from schemas.events import Event


def as_data(event: Event) -> dict[str, Any]:
    """
    Return *event* as the JSON data that expressions and templates see.
    """
    return event.to_data()


def with_burst(event: Event, burst: Burst | None) -> dict[str, Any]:
    """
    Return *event* as data with what it stands for as `burst`; alone, it stands for itself.
    """
    known = burst or Burst(changed=tuple(changed_fields(event)))
    return as_data(event) | {"burst": {"count": known.count, "changed": list(known.changed)}}


def changed_fields(event: Event) -> list[str]:
    """
    Return the names of the fields that *event* says it changed.
    """
    changed = event.data.get("changed")
    return [name for name in changed if isinstance(name, str)] if isinstance(changed, list) else []
