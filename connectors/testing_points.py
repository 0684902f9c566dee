"""
The points of the contract suite: what every connector must do, and how far that brings it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import pytest

Tier = Literal["bronze", "silver", "gold"]
Need = Literal[
    "deliveries",  # its system sends deliveries to us
    "old_secret",  # they may be signed with an old secret during a rotation
    "handshakes",  # its system asks whether we are there before it delivers
    "rotation",  # its credential may be two
    "actions",  # any action
    "text",  # an action that takes a text
    "find",  # that action is read back
    "lookup",  # a lookup of one record
    "listing",  # a lookup of many
    "sources",  # any source
    "cursors",  # its sources keep a place, and begin there again
    "late_commits",  # a change may appear later than its time says
    "expiry",  # a place may be too old to begin at
    "both_ways",  # one change comes as a delivery and by a source
    "subscriptions",  # deliveries end when nobody renews them
    "echoes",  # its system tells us of our own writes
    "retry_after",  # its system says how long to wait
]
TIERS: tuple[Tier, ...] = ("bronze", "silver", "gold")


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """
    One thing that every connector must do.
    """

    tier: Tier
    says: str


POINTS: Mapping[int, Point] = {
    1: Point(tier="bronze", says="Settings nobody declared, secrets that are missing and wrong values are refused."),
    2: Point(tier="bronze", says="Samples give exactly their events, valid and with lasting ids."),
    3: Point(tier="bronze", says="Forged, tampered and stale deliveries are refused; two secrets live in a rotation."),
    4: Point(tier="bronze", says="Handshakes are answered as the system wants them."),
    5: Point(tier="bronze", says="Health says ok, auth or down, within 5 seconds."),
    6: Point(tier="bronze", says="No secret is in a log, an error, a repr or an event."),
    7: Point(
        tier="silver", says="A delivery is taken only once its events are kept; delivered again, it is one event."
    ),
    8: Point(tier="silver", says="Sources lose nothing: crashes, ties, late commits and expired cursors."),
    9: Point(tier="silver", says="A write takes effect once, whatever happens to it."),
    10: Point(tier="silver", says="Each way to fail has its error, and the wait that was asked for."),
    11: Point(tier="silver", says="Our own writes are recognised when they come back."),
    12: Point(tier="silver", says="A credential that is refused for good costs at most three requests."),
    13: Point(tier="silver", says="Lookups give declared fields only, bounded, and texts unchanged."),
    14: Point(tier="gold", says="The event loop is never blocked; closing is quick and leaves nothing behind."),
    15: Point(tier="gold", says="What expires is renewed in time, and what was missed is read again."),
    16: Point(tier="gold", says="It ran against a double that we did not write."),
}


def point(number: int, *needs: Need) -> pytest.MarkDecorator:
    """
    Mark a test as part of point *number*; a connector that lacks one of *needs* is exempt from it.
    """
    assert number in POINTS
    return pytest.mark.point(number, needs=needs)


def exempt(reason: str) -> None:
    """
    End a test that does not concern the connector at hand. It is shown as expected to fail, never as passed.
    """
    pytest.xfail(f"exempt: {reason}")


def missing(reason: str) -> None:
    """
    End a test of a point that the connector does not reach. It is shown as expected to fail, never as passed.
    """
    pytest.xfail(f"missing: {reason}")
