"""
Traps of aiokafka and FastStream, each shown to be there, and to be stepped around.
"""

from __future__ import annotations

import asyncio
import contextlib
import uuid
from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest
from aiokafka import TopicPartition

import bus.kafka
from bus import Outgoing, Partition
from bus.cluster import Cluster
from bus.kafka import KafkaBus
from penstock.errors import Fenced

DAY = 86_400.0  # seconds
SILENT = 4.0  # seconds a member does not fetch; aiokafka looks once per heartbeat


@pytest.fixture
def cluster(kafka: str) -> Cluster:
    return Cluster(servers=(kafka,), prefix=f"t{uuid.uuid4().hex[:12]}")


@pytest.fixture
async def opened(cluster: Cluster) -> AsyncIterator[KafkaBus]:
    made = await KafkaBus.connect(cluster, partitions=2, keep=DAY)
    yield made
    await made.close()


@pytest.mark.parametrize(("most", "moved"), [(1_000, True), (bus.kafka.POLL_MOST, False)])
async def test_a_member_that_waits_keeps_its_share(
    opened: KafkaBus, cluster: Cluster, monkeypatch: pytest.MonkeyPatch, *, most: int, moved: bool
) -> None:
    """aiokafka throws out who does not fetch for `max_poll_interval`; ours is an hour, for the ledger may be away."""
    monkeypatch.setattr("bus.kafka.POLL_MOST", most)
    lost: list[Sequence[Partition]] = []

    async def revoked(partitions: Sequence[Partition]) -> None:
        lost.append(partitions)

    member = await opened.subscribe(f"{cluster.prefix}.t", "g", on_revoked=revoked)
    await member.fetch(1, wait=0)
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(SILENT):
            while not lost:
                await asyncio.sleep(0.05)
        await member.fetch(1, wait=1)

    assert moved == bool(lost)


async def test_nothing_is_committed_during_a_rebalance(opened: KafkaBus, cluster: Cluster) -> None:
    """Between `on_revoked` and `on_assigned` a commit would start the rebalance over: it never leaves us."""
    topic = f"{cluster.prefix}.t"
    member = await opened.subscribe(topic, "g", start="oldest")
    consumer = member._consumer
    assert consumer is not None
    both = [TopicPartition(topic, 0), TopicPartition(topic, 1)]
    sent: list[Any] = []
    real = consumer.commit

    async def commit(positions: Any) -> None:
        sent.append(positions)
        await real(positions)

    consumer.commit = commit
    await member.on_partitions_revoked(both)
    with pytest.raises(Fenced, match="gave .* to another member"):
        await member.commit({Partition(topic, 0): 0})
    during = list(sent)
    await member.on_partitions_assigned(both)
    await member.commit({Partition(topic, 0): 0})

    assert ([], 1) == (during, len(sent))


async def test_a_commit_under_way_ends_before_the_rebalance(opened: KafkaBus, cluster: Cluster) -> None:
    """Revoking waits for it: it must not arrive in the middle."""
    topic = f"{cluster.prefix}.t"
    member = await opened.subscribe(topic, "g", start="oldest")
    consumer = member._consumer
    assert consumer is not None
    arrived, go = asyncio.Event(), asyncio.Event()

    async def commit(_positions: Any) -> None:
        arrived.set()
        await go.wait()

    consumer.commit = commit
    committing = asyncio.create_task(member.commit({Partition(topic, 0): 0}))
    await arrived.wait()
    revoking = asyncio.create_task(member.on_partitions_revoked([TopicPartition(topic, 0)]))
    await asyncio.sleep(0.05)
    waited = not revoking.done()
    go.set()
    await asyncio.gather(committing, revoking)

    assert waited


async def test_what_a_listener_raises_is_heard(opened: KafkaBus, cluster: Cluster) -> None:
    """aiokafka only logs it, and goes on with half a takeover; our next fetch raises it."""
    calls = 0

    async def assigned(_partitions: Sequence[Partition]) -> None:
        nonlocal calls
        calls += 1
        message = "no room for these"
        raise RuntimeError(message)

    with pytest.raises(RuntimeError, match="no room for these"):
        member = await opened.subscribe(f"{cluster.prefix}.t", "g", on_assigned=assigned)
        await member.fetch(1, wait=1)

    assert calls


async def test_a_cancelled_fetch_does_not_count_as_waiting(opened: KafkaBus, cluster: Cluster) -> None:
    """aiokafka's counter of fetches stays up when one is cut off, and a stuck member would never be noticed."""
    topic = f"{cluster.prefix}.t"
    member = await opened.subscribe(topic, "g", start="oldest")
    consumer = member._consumer
    assert consumer is not None
    theirs = asyncio.create_task(consumer.getmany(timeout_ms=5_000))
    await asyncio.sleep(0.05)
    theirs.cancel()
    await asyncio.gather(theirs, return_exceptions=True)
    leaked = consumer._subscription._fetch_count
    ours = asyncio.create_task(member.fetch(1, wait=5))
    await asyncio.sleep(0.05)
    ours.cancel()
    await asyncio.gather(ours, return_exceptions=True)
    await opened.publish([Outgoing(topic=topic, key=b"k", value=b"x")])

    assert (1, 0) == (leaked, consumer._subscription._fetch_count)
    assert [b"x"] == [message.value for message in await member.fetch(1, wait=10)]
