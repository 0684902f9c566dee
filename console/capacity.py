"""
How many runs at once this process has open files for.
"""

from __future__ import annotations

import logging

log = logging.getLogger(__name__)

PER_RUN = 2  # connections: the one in use, and one to another system that is kept for the next
FEWEST = 64  # connections, also where few runs go at once: one may look things up side by side
OTHERS = 128  # open files of ledger, bus, deliveries and logs


def places(wanted: int) -> int:
    """
    Return *wanted* runs at once, or as many as there can be open files for.
    """
    allowed = _raised(connections(wanted) + OTHERS)
    if allowed is None or (most := max(1, (allowed - OTHERS) // PER_RUN)) >= wanted:
        return wanted
    log.warning(
        "hub.in_flight is %d, and this process may open only %d files: %d runs at once. Raise `ulimit -n` to %d.",
        wanted,
        allowed,
        most,
        connections(wanted) + OTHERS,
    )
    return most


def connections(places: int) -> int:
    """
    Return how many connections that many runs may have open.
    """
    return max(PER_RUN * places, FEWEST)


def _raised(needed: int) -> int | None:
    """
    Return how many files this process may open, after asking for *needed*; None when nobody counts.
    """
    try:
        import resource
    except ImportError:  # not on Windows
        return None
    allowed, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    if allowed == resource.RLIM_INFINITY or allowed >= needed:
        return None
    wanted = needed if most == resource.RLIM_INFINITY else min(needed, most)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, most))
    except (ValueError, OSError):
        return allowed
    return wanted
