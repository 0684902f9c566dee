"""
One subscription on Kafka: a consumer in a group, under the pull contract.

Kafka rebalances eagerly here: everything is taken away, then handed out anew. Positions can be stored until
`on_revoked` returns, and never between then and `on_assigned`: a commit in between would start the
rebalance over.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence

from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, ConsumerRecord, TopicPartition
from aiokafka.errors import (
    ConsumerStoppedError,
    IllegalStateError,
    KafkaError,
    NoOffsetForPartitionError,
    OffsetOutOfRangeError,
)

from bus.cluster import Cluster
from bus.contract import Lost, Message, Partition, Rebalanced
from bus.mishaps import BACK_IN, reason, told
from bus.starts import offsets_at, unplaced
from penstock.errors import Fenced, Unavailable

_log = logging.getLogger(__name__)

COMMIT_WITHIN = 10.0  # seconds
LOOK_WITHIN = 10.0  # seconds
CLOSE_WITHIN = 10.0  # seconds
_SLICE = 0.1  # seconds a fetch waits before it looks whether something else happened


class KafkaMember(ConsumerRebalanceListener):  # type: ignore[misc]  # aiokafka has no types
    """
    One member of a consumer group reading one topic.
    """

    def __init__(
        self,
        cluster: Cluster,
        topic: str,
        group: str,
        *,
        on_assigned: Rebalanced | None = None,
        on_revoked: Rebalanced | None = None,
        on_lost: Lost | None = None,
    ) -> None:
        self._cluster = cluster
        self._topic = topic
        self._group = group
        self._on_assigned = on_assigned
        self._on_revoked = on_revoked
        self._on_lost = on_lost
        self._consumer: AIOKafkaConsumer | None = None
        self._leave: Callable[[], Awaitable[None]] | None = None
        self._turns: list[Partition] = []
        """Assigned partitions, the one whose turn is next first."""
        self._paused: set[Partition] = set()
        self._pulled: list[Message] = []
        """Read from Kafka and not given yet: a rebalance or a pause came in between."""
        self._settled = asyncio.Event()
        """Set while no rebalance is under way."""
        self._committing = asyncio.Lock()
        self._fetching = asyncio.Lock()
        self._closed = False
        self._failed: Exception | None = None

    # ---- life -------------------------------------------------------------------------------

    async def joined(self, consumer: AIOKafkaConsumer, leave: Callable[[], Awaitable[None]], *, within: float) -> None:
        """
        Take over the started *consumer*; return when the group has given it its share.
        """
        self._consumer, self._leave = consumer, leave
        async with told(f"let us join group {self._group!r}", within=within):
            await self._settled.wait()

    async def close(self) -> None:
        """
        Leave the group; a member with a name of its own only stops, and keeps its share for a quick restart.
        """
        if self._closed:
            return
        self._closed = True
        self._settled.set()
        if self._leave is not None:
            try:
                async with asyncio.timeout(CLOSE_WITHIN):
                    await self._leave()
            except (KafkaError, TimeoutError) as error:
                _log.warning("leaving group %r: %s", self._group, reason(error))
            except asyncio.CancelledError:
                task = asyncio.current_task()
                if task is None or task.cancelling():
                    raise
                # aiokafka cancels its fetch from a broker that is away, and lets us hear of it
                _log.warning("leaving group %r: Kafka is away", self._group)

    async def on_partitions_revoked(self, revoked: Collection[TopicPartition]) -> None:
        """
        Let the owner finish and commit, then let go.
        """
        self._settled.clear()
        self._pulled.clear()
        gone = sorted(Partition(*one) for one in revoked)
        if gone:
            await self._tell(self._on_revoked, gone)
        async with self._committing:  # one under way must not arrive in the middle of the rebalance
            self._turns = []
            self._paused.clear()

    async def on_partitions_assigned(self, assigned: Collection[TopicPartition]) -> None:
        """
        Take partitions over; nothing is fetched before the owner has heard of it.
        """
        self._turns = sorted(Partition(*one) for one in assigned)
        if self._turns:
            await self._tell(self._on_assigned, list(self._turns))
        self._settled.set()

    # ---- reading ----------------------------------------------------------------------------

    async def fetch(self, most: int, *, wait: float) -> list[Message]:
        """
        Return up to *most* messages, waiting up to *wait* seconds for the first.
        """
        until = time.monotonic() + wait
        while True:
            consumer = self._check()
            left = max(0.0, min(_SLICE, until - time.monotonic()))
            if self._settled.is_set():
                await self._pull(consumer, most, left)
            else:
                await asyncio.sleep(left)
            self._check()
            if found := self._give(most):
                return found
            if time.monotonic() >= until:
                return []

    def pause(self, partitions: Sequence[Partition]) -> None:
        """
        Stop fetching *partitions*.
        """
        mine = [one for one in partitions if one in self._turns]
        self._paused.update(mine)
        self._check().pause(*(TopicPartition(*one) for one in mine))

    def resume(self, partitions: Sequence[Partition]) -> None:
        """
        Fetch *partitions* again.
        """
        mine = [one for one in partitions if one in self._turns]
        self._paused.difference_update(mine)
        self._check().resume(*(TopicPartition(*one) for one in mine))

    async def seek_to_time(self, at_ms: int) -> None:
        """
        Read next the first message appended at or after *at_ms*, in every assigned partition.
        """
        consumer = self._check()
        async with told("look for a time", within=LOOK_WITHIN):
            partitions = [TopicPartition(*one) for one in self._turns]
            for one, offset in (await offsets_at(consumer, partitions, at_ms)).items():
                if Partition(*one) in self._turns:
                    consumer.seek(one, offset)
            self._pulled.clear()

    def _give(self, most: int) -> list[Message]:
        """
        Return what was pulled and may go out now.
        """
        if not self._settled.is_set() or most <= 0:
            return []
        open_ = [message for message in self._pulled if message.source not in self._paused]
        given, later = open_[:most], open_[most:]
        self._pulled = [message for message in self._pulled if message.source in self._paused] + later
        return given

    async def _pull(self, consumer: AIOKafkaConsumer, most: int, wait: float) -> None:
        async with self._fetching:
            try:
                await self._take(consumer, most - len(self._pulled))
                if not self._pulled and wait > 0:
                    await self._next(consumer, most, wait)
            except OffsetOutOfRangeError as error:
                await self._mend(consumer, error)
            except NoOffsetForPartitionError as error:
                raise await self._unplaced() from error
            except (ConsumerStoppedError, IllegalStateError):
                return
            except KafkaError as error:
                raise Unavailable(f"Kafka could not be read: {reason(error)}", retry_after=BACK_IN) from error
            finally:
                # aiokafka counts a fetch that was cut off as one that waits for ever, and such a member as alive.
                consumer._subscription._fetch_count = 0  # noqa: SLF001  it has no other way in

    async def _take(self, consumer: AIOKafkaConsumer, most: int) -> None:
        """
        Pull what has been fetched already, each partition in its turn.
        """
        for one in [one for one in self._turns if one not in self._paused]:
            if most <= 0:
                return
            place = TopicPartition(*one)
            records = (await consumer.getmany(place, timeout_ms=0, max_records=most)).get(place)
            if records:
                most -= len(records)
                self._pulled += map(read_as_message, records)
                self._last_in_turn(one)

    async def _next(self, consumer: AIOKafkaConsumer, most: int, wait: float) -> None:
        if most <= 0:
            return
        batches = await consumer.getmany(timeout_ms=max(1, int(wait * 1000)), max_records=most)
        for place, records in batches.items():
            self._pulled += map(read_as_message, records)
            self._last_in_turn(Partition(*place))

    async def _unplaced(self) -> Exception:
        stored = await self.committed()
        return unplaced(self._cluster, self._group, [one for one in self._turns if one not in stored] or self._turns)

    def _last_in_turn(self, partition: Partition) -> None:
        if partition in self._turns:
            self._turns.remove(partition)
            self._turns.append(partition)

    async def _mend(self, consumer: AIOKafkaConsumer, error: OffsetOutOfRangeError) -> None:
        """
        Go on at the oldest message: what lay before it is older than Kafka keeps, or the topic was made anew.
        """
        wanted: Mapping[TopicPartition, int] = error.args[0]
        async with told("find the oldest messages", within=LOOK_WITHIN):
            firsts = await consumer.beginning_offsets(list(wanted))
        for place, offset in wanted.items():
            if Partition(*place) not in self._turns:
                continue
            if offset < firsts[place]:
                lost = "group %r had not read %s/%d up to offset %d, and it is older than Kafka keeps messages"
                _log.error(lost, self._group, place.topic, place.partition, firsts[place])
                if self._on_lost is not None:
                    await self._on_lost(Partition(*place), firsts[place] - offset)
            else:
                anew = "%s/%d ends before offset %d, where group %r was: it was made anew and is read from its start"
                _log.error(anew, place.topic, place.partition, offset, self._group)
            consumer.seek(place, firsts[place])

    # ---- positions --------------------------------------------------------------------------

    async def commit(self, positions: Mapping[Partition, int]) -> None:
        """
        Store the next offset to read per partition; raises `Fenced` when another member reads one of them now.
        """
        consumer = self._check()
        async with self._committing:
            if lost := sorted(one for one in positions if one not in self._turns):
                names = ", ".join(f"{one.topic}/{one.number}" for one in lost)
                message = f"group {self._group!r} gave {names} to another member; drop what was read from there"
                raise Fenced(message)
            if positions:
                async with told("store positions", within=COMMIT_WITHIN):
                    await consumer.commit({TopicPartition(*one): offset for one, offset in positions.items()})

    async def committed(self) -> dict[Partition, int]:
        """
        Return the stored next offset per assigned partition.
        """
        consumer = self._check()
        turns = sorted(self._turns)
        async with told("look up positions", within=LOOK_WITHIN):
            stored = await asyncio.gather(*(consumer.committed(TopicPartition(*one)) for one in turns))
        return {one: offset for one, offset in zip(turns, stored, strict=True) if offset is not None}

    async def lag(self) -> dict[Partition, int]:
        """
        Return how many messages lie after the stored position, per assigned partition.
        """
        consumer = self._check()
        stored = await self.committed()
        places = [TopicPartition(*one) for one in stored]
        async with told("look up positions", within=LOOK_WITHIN):
            ends = await consumer.end_offsets(places)
            firsts = await consumer.beginning_offsets(places)
        return {Partition(*one): max(0, ends[one] - max(firsts[one], stored[Partition(*one)])) for one in places}

    # ---- parts ------------------------------------------------------------------------------

    def _check(self) -> AIOKafkaConsumer:
        if self._failed is not None:
            raise self._failed
        if self._closed or self._consumer is None:
            message = f"the subscription of {self._group!r} to {self._topic!r} is closed"
            raise Unavailable(message)
        return self._consumer

    async def _tell(self, callback: Rebalanced | None, partitions: Sequence[Partition]) -> None:
        if callback is None:
            return
        try:
            await callback(partitions)
        except Exception as error:  # noqa: BLE001  aiokafka would only log it
            _log.exception("a rebalance callback of group %r failed", self._group)
            self._failed = error


def read_as_message(record: ConsumerRecord) -> Message:
    """
    Return *record* in our words.
    """
    return Message(
        topic=record.topic,
        partition=record.partition,
        offset=record.offset,
        key=record.key,
        value=record.value if record.value is not None else b"",
        headers=tuple(record.headers),
        timestamp_ms=record.timestamp,
    )
