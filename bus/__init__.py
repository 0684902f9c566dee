"""
How events travel.
"""

from __future__ import annotations

from pathlib import Path

from bus.contract import Bus, Message, Outgoing, Partition, Position, Rebalanced, Start, Subscription
from bus.embedded import EmbeddedBus
from bus.memory import MemoryBus
from bus.partitioner import partition_of
from bus.reader import Archive
from penstock.clock import Clock

__all__ = [
    "Archive",
    "Bus",
    "EmbeddedBus",
    "MemoryBus",
    "Message",
    "Outgoing",
    "Partition",
    "Position",
    "Rebalanced",
    "Start",
    "Subscription",
    "open",
    "partition_of",
]


def open(path: Path | None, *, partitions: int = 12, keep: float, clock: Clock) -> Bus:  # noqa: A001  read as `bus.open`
    """
    Open the bus in the file *path*, or one in memory; topics it makes get *partitions*, messages live *keep* seconds.
    """
    if path is None:
        return MemoryBus(partitions=partitions, keep=keep, clock=clock)
    return EmbeddedBus(path, partitions=partitions, keep=keep, clock=clock)
