"""
How a test says to which point of the contract suite it belongs, and what it needs of a connector.
"""

from __future__ import annotations

from typing import Literal

import pytest

from connectors.quality import POINTS

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
    "changes_both_ways",  # so it does when a record changes, and not only when it is made
    "subscriptions",  # deliveries end when nobody renews them
    "echoes",  # its system tells us of our own writes
    "retry_after",  # its system says how long to wait
]
EXEMPT, MISSING = "exempt: ", "missing: "


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
    pytest.xfail(f"{EXEMPT}{reason}")


def missing(reason: str) -> None:
    """
    End a test of a point that the connector does not reach. It is shown as expected to fail, never as passed.
    """
    pytest.xfail(f"{MISSING}{reason}")
