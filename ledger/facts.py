"""
Facts beside the runs: where pipelines stand on the bus, what topics and configurations there were.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True, kw_only=True)
class TopicEntry:
    """
    A topic as it was when the ledger first knew it.
    """

    partitions: int
    identity: str
    """The bus' own id of it: one made anew under the same name has another. Empty where there is none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Loss:
    """
    Messages that the bus deleted before a pipeline had read them.
    """

    pipeline: str
    topic: str
    messages: int
    at: int
    """When the latest of it was seen, UTC ms."""


class Facts(Protocol):
    """
    Keeps positions, topics and configurations, and forgets what is old.
    """

    async def positions(self, pipeline: str, topic: str) -> dict[int, int]:
        """
        Return how far the pipeline had read each partition of *topic*: next offset by partition number.
        """
        ...

    async def keep_positions(self, pipeline: str, topic: str, positions: Mapping[int, int]) -> None:
        """
        Keep next offsets per partition, beside the bus that may forget them.
        """
        ...

    async def note_lost(self, pipeline: str, topic: str, partition: int, lost: int) -> None:
        """
        Note that the bus deleted *lost* messages before the pipeline had read them.
        """
        ...

    async def losses(self, since: int) -> list[Loss]:
        """
        Return what was lost of each pipeline and topic that lost something since UTC ms.
        """
        ...

    async def topic(self, topic: str) -> TopicEntry | None:
        """
        Return what *topic* was when it was first used; None when it never was.
        """
        ...

    async def keep_topic(self, topic: str, entry: TopicEntry) -> None:
        """
        Keep what *topic* is from now on.
        """
        ...

    async def remember_config(self, config_hash: str, body: str) -> None:
        """
        Keep the text of a configuration under its hash.
        """
        ...

    async def horizon(self) -> int:
        """
        Return the UTC ms before which an event without a run may have been known and forgotten: `stale`.
        """
        ...

    async def prune(self, now: int | None = None) -> int:
        """
        Forget details of runs that have been final long enough, and identities much later.

        Returns how many runs lost their details. Never touches a run that is not final.
        """
        ...
