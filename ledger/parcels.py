"""
Parcels: what the outbox holds.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Parcel:
    """
    One thing to send.
    """

    id: str
    """32 hex digits; the receiver tells repetitions by it."""
    kind: str
    """Who sends it: `dead`, `alert` …"""
    body: bytes
    """JSON."""
    attempts: int
    """How often it was taken before."""
    created_at: int
    """UTC milliseconds."""
