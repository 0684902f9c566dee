"""
The event as expressions and templates see it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ledger.bursts import Burst
from schemas.events import Event


def as_data(event: Event) -> Mapping[str, Any]:
    """
    Return *event* as the JSON data that expressions and templates see, only to be read.
    """
    return event.plain


def with_burst(event: Event, burst: Burst | None) -> dict[str, Any]:
    """
    Return *event* as data with what it stands for as `burst`; alone, it stands for itself.
    """
    known = burst or Burst(changed=tuple(changed_fields(event)))
    return {**event.plain, "burst": {"count": known.count, "changed": list(known.changed)}}


def changed_fields(event: Event) -> list[str]:
    """
    Return the names of the fields that *event* says it changed.
    """
    changed = event.data.get("changed")
    return [name for name in changed if isinstance(name, str)] if isinstance(changed, list) else []
