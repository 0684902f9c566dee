"""
The topics as they were when the ledger first knew them, and as they are.

Another partition count moves keys to other partitions, where a later event could overtake an earlier one:
nothing is taken in before somebody has read the topic to its end. Another identity is another log, in
which the positions of the old one mean nothing: it is read from its start.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence

from bus.contract import Bus, Lost, Partition, TopicFacts
from engine.patience import firmly
from ledger.contract import Ledger, TopicEntry
from penstock.clock import Clock
from penstock.errors import Invalid

log = logging.getLogger(__name__)


class Topics:
    """
    Prepares the topics of a hub before anything reads or writes them.
    """

    def __init__(self, bus: Bus, ledger: Ledger, *, partitions: int, readers: Mapping[str, Sequence[str]]) -> None:
        self._bus = bus
        self._ledger = ledger
        self._partitions = partitions
        self._readers = readers
        """By topic, the pipelines that read it."""

    async def prepare(self, *, taking: bool) -> None:
        """
        Make every topic as it must be; raises `Invalid` when one was changed and events are to be taken in.
        """
        for topic in self._readers:
            await self._prepare(topic, taking=taking)

    async def _prepare(self, topic: str, *, taking: bool) -> None:
        known, facts = await self._ledger.topic(topic), await self._bus.facts(topic)
        if known is not None and facts is not None and _same(known, facts) and facts.partitions != known.partitions:
            if taking:
                raise _changed(topic, known.partitions, facts.partitions)
            await self._begin_added(topic, known.partitions, facts.partitions)
            return
        if taking or facts is None:
            await self._bus.ensure_topic(topic, self._partitions)
            facts = await self._bus.facts(topic)
        if facts is not None:
            await self._settle(topic, known, facts)

    async def _settle(self, topic: str, known: TopicEntry | None, facts: TopicFacts) -> None:
        """
        Keep what *topic* is; one that was made anew begins at its start.
        """
        if known is not None and not _same(known, facts):
            log.error(
                "topic %r was made anew: what it held and nobody had read is lost; it is read from its start", topic
            )
            for pipeline in self._readers[topic]:
                if await self._ledger.positions(pipeline, topic):
                    await self._ledger.keep_positions(pipeline, topic, dict.fromkeys(range(facts.partitions), 0))
        entry = TopicEntry(partitions=facts.partitions, identity=facts.identity)
        if known != entry:
            await self._ledger.keep_topic(topic, entry)

    async def _begin_added(self, topic: str, before: int, now: int) -> None:
        """
        Let every pipeline that knows the topic read its new partitions from their start.
        """
        for pipeline in self._readers[topic]:
            known = await self._ledger.positions(pipeline, topic)
            added = {number: 0 for number in range(before, now) if number not in known}
            if known and added:
                await self._ledger.keep_positions(pipeline, topic, added)


def lost_by(pipeline: str, *, ledger: Ledger, clock: Clock) -> Lost:
    """
    Return who notes what the bus lost of *pipeline*.
    """

    async def lost(partition: Partition, messages: int) -> None:
        await firmly(clock, lambda: ledger.note_lost(pipeline, partition.topic, partition.number, messages))

    return lost


def _same(known: TopicEntry, facts: TopicFacts) -> bool:
    return known.identity == facts.identity or not (known.identity and facts.identity)


def _changed(topic: str, before: int, now: int) -> Invalid:
    return Invalid(
        f"topic {topic!r} had {before} partitions and has {now} now; keys have changed places",
        where="hub.bus",
        hint="stop every worker, read it to its end with `penstock run --once`, then `penstock bus repartition`",
    )
