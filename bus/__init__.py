"""
How events travel.
"""

from __future__ import annotations

from pathlib import Path

from bus.cluster import Cluster, Login, Tls
from bus.contract import (
    Bus,
    Lost,
    Message,
    Outgoing,
    Partition,
    Position,
    Rebalanced,
    Start,
    Subscription,
    TopicFacts,
)
from bus.embedded import EmbeddedBus
from bus.memory import MemoryBus
from bus.partitioner import partition_of
from bus.reader import Archive
from penstock.clock import Clock

__all__ = [
    "Archive",
    "Bus",
    "Cluster",
    "EmbeddedBus",
    "Login",
    "Lost",
    "MemoryBus",
    "Message",
    "Outgoing",
    "Partition",
    "Position",
    "Rebalanced",
    "Start",
    "Subscription",
    "Tls",
    "TopicFacts",
    "connect",
    "open",
    "partition_of",
]


async def connect(cluster: Cluster, *, partitions: int = 12, keep: float) -> Bus:
    """
    Open the bus on the Kafka *cluster*; raises `Unreachable`. Topics it makes get *partitions*, and keep *keep* seconds.
    """
    from bus.kafka import KafkaBus

    return await KafkaBus.connect(cluster, partitions=partitions, keep=keep)


def open(path: Path | None, *, partitions: int = 12, keep: float, clock: Clock) -> Bus:  # noqa: A001  read as `bus.open`
    """
    Open the bus in the file *path*, or one in memory; topics it makes get *partitions*, messages live *keep* seconds.
    """
    if path is None:
        return MemoryBus(partitions=partitions, keep=keep, clock=clock)
    return EmbeddedBus(path, partitions=partitions, keep=keep, clock=clock)
