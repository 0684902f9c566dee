"""
What every bus promises, whatever it is made of.
"""

from __future__ import annotations

import asyncio
import uuid
from collections import defaultdict
from collections.abc import Callable, Sequence

import pytest

from bus import Bus, Message, Outgoing, Partition, Subscription, partition_of
from penstock.clock import ManualClock
from penstock.errors import Fenced, Invalid, Unavailable

TOPIC = "penstock.events.helpdesk"
SOON = 0.02  # seconds a fetch waits when the test expects nothing
SOON_ELSEWHERE = 0.6  # a broker is asked again five times a second, a file of several processes a hundred times


@pytest.fixture(autouse=True)
def _shared_broker(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    Give each test on a broker a topic of its own.
    """
    if kind == "kafka":
        monkeypatch.setitem(globals(), "TOPIC", f"{TOPIC}.{uuid.uuid4().hex}")
    if kind in {"kafka", "shared"}:
        monkeypatch.setitem(globals(), "SOON", SOON_ELSEWHERE)


def note(key: str | None, value: str = "") -> Outgoing:
    return Outgoing(topic=TOPIC, key=key.encode() if key is not None else None, value=value.encode())


async def drain(subscription: Subscription) -> list[Message]:
    """Return everything there is to fetch now."""
    found: list[Message] = []
    while batch := await subscription.fetch(7, wait=SOON):
        found += batch
    return found


def texts(messages: Sequence[Message]) -> list[str]:
    return sorted(message.value.decode() for message in messages)


def past(messages: Sequence[Message]) -> dict[Partition, int]:
    """Return the positions that say all of *messages* are done."""
    ends: dict[Partition, int] = defaultdict(int)
    for message in messages:
        ends[message.source] = max(ends[message.source], message.offset + 1)
    return dict(ends)


async def test_messages_of_one_key_keep_their_order(bus: Bus) -> None:
    """A reader sees the messages of a key as they were published, one after another and at once."""
    subscription = await bus.subscribe(TOPIC, "g")
    for number in range(5):
        await bus.publish([note(key, f"{number}") for key in "abc"])
    await asyncio.gather(*(bus.publish([note(key, f"{number}")]) for number in range(5, 20) for key in "abc"))
    seen = defaultdict(list)
    for message in await drain(subscription):
        seen[message.key].append(int(message.value))

    assert {key.encode(): list(range(20)) for key in "abc"} == seen


async def test_a_position_says_where_a_message_is(bus: Bus) -> None:
    """What publish returns leads `read` to the message, and nowhere else."""
    positions = await bus.publish([note("a", "one"), note("b", "two")])
    found = [await bus.read(*position) for position in positions]

    assert ["one", "two"] == [message.value.decode() for message in found if message]
    assert await bus.read(TOPIC, positions[0].partition, 99) is None
    assert await bus.read(TOPIC, positions[0].partition, -1) is None
    assert await bus.read("elsewhere", 0, 0) is None


async def test_headers_keys_and_bytes_come_back_unchanged(bus: Bus) -> None:
    """Repeated and empty headers, no key, an empty key and an empty value are kept as they are."""
    headers = (("ce_id", b"1"), ("ce_id", b""), ("ümlaut", b"\x00\xff"))
    subscription = await bus.subscribe(TOPIC, "g")
    await bus.publish([Outgoing(topic=TOPIC, key=None, value=b"", headers=headers)])
    await bus.publish([Outgoing(topic=TOPIC, key=b"", value=b"\x00")])
    found = await drain(subscription)

    assert {(None, b"", headers), (b"", b"\x00", ())} == {(m.key, m.value, m.headers) for m in found}


async def test_a_message_of_one_mebibyte_is_ordinary(bus: Bus) -> None:
    """Ingress takes bodies of 1 MiB, so the bus must."""
    subscription = await bus.subscribe(TOPIC, "g")
    value = bytes(range(256)) * 4096
    await bus.publish([Outgoing(topic=TOPIC, key=b"k", value=value)])

    assert [value] == [message.value for message in await drain(subscription)]


async def test_one_fetch_does_not_fill_the_memory(bus: Bus) -> None:
    """A fetch of many huge messages stops early, and the next goes on where it stopped."""
    subscription = await bus.subscribe(TOPIC, "g")
    await bus.publish([Outgoing(topic=TOPIC, key=b"k", value=bytes(8 * 1024 * 1024)) for _ in range(6)])
    first = await subscription.fetch(100, wait=SOON)
    rest = await drain(subscription)

    assert 6 > len(first)
    assert list(range(6)) == [message.offset for message in first + rest]


async def test_a_publish_is_all_or_none(bus: Bus) -> None:
    """When one message of a call cannot be taken, none of them is."""
    subscription = await bus.subscribe(TOPIC, "g")
    with pytest.raises(Invalid, match="at most"):
        await bus.publish([note("a", "good"), Outgoing(topic=TOPIC, key=b"a", value=bytes(17 * 1024 * 1024))])
    await bus.publish([note("a", "later")])

    assert ["later"] == texts(await drain(subscription))


async def test_publishing_nothing_is_nothing(bus: Bus) -> None:
    """An empty call returns at once."""
    assert [] == await bus.publish([])


async def test_a_topic_keeps_its_partition_count(bus: Bus) -> None:
    """Asking for the same count again is fine; another count would move keys and is refused."""
    await bus.ensure_topic(TOPIC, 3)
    await bus.ensure_topic(TOPIC, 3)

    with pytest.raises(Invalid, match="has 3 partitions, not 5"):
        await bus.ensure_topic(TOPIC, 5)


@pytest.mark.parametrize(("name", "partitions"), [("a b", 1), ("", 1), ("ok", 0)])
async def test_a_topic_that_kafka_would_refuse_is_refused(bus: Bus, name: str, partitions: int) -> None:
    """Names and counts are such that the hub can move to Kafka."""
    with pytest.raises(Invalid):
        await bus.ensure_topic(name, partitions)


async def test_what_was_not_committed_is_read_again(bus: Bus) -> None:
    """The next member of a group begins at the stored position, not where the last one read."""
    first = await bus.subscribe(TOPIC, "g")
    await bus.publish([note("a", f"{number}") for number in range(5)])
    read = await drain(first)
    await first.commit(past(read[:2]))
    await first.close()
    second = await bus.subscribe(TOPIC, "g")

    assert ["2", "3", "4"] == texts(await drain(second))


async def test_groups_do_not_disturb_each_other(bus: Bus) -> None:
    """Each group reads everything, at its own pace."""
    one, two = await bus.subscribe(TOPIC, "one"), await bus.subscribe(TOPIC, "two")
    await bus.publish([note("a", "x"), note("b", "y")])
    read = await drain(one)
    await one.commit(past(read))

    assert ["x", "y"] == texts(read)
    assert ["x", "y"] == texts(await drain(two))


async def test_a_paused_partition_gives_nothing_and_loses_nothing(bus: Bus) -> None:
    """Other partitions go on; after resume everything arrives, in order."""
    subscription = await bus.subscribe(TOPIC, "g")
    paused = (await bus.publish([note("a", "0")]))[0].partition
    subscription.pause([Partition(TOPIC, paused)])
    other = next(key for key in "bcdefgh" if partition_of(key.encode(), 4) != paused)
    await bus.publish([note("a", "1"), note(other, "other"), note("a", "2")])
    during = await drain(subscription)
    subscription.resume([Partition(TOPIC, paused)])
    after = await drain(subscription)

    assert ["other"] == texts(during)
    assert ["0", "1", "2"] == [message.value.decode() for message in after]


async def test_pausing_while_a_fetch_waits_is_respected(bus: Bus) -> None:
    """A partition paused after the fetch began gives nothing to it."""
    subscription = await bus.subscribe(TOPIC, "g")
    waiting = asyncio.create_task(subscription.fetch(5, wait=SOON))
    await asyncio.sleep(0)
    subscription.pause([Partition(TOPIC, number) for number in range(4)])
    await bus.publish([note("a", "held")])

    assert [] == await waiting
    subscription.resume([Partition(TOPIC, number) for number in range(4)])
    assert ["held"] == texts(await drain(subscription))


async def test_every_partition_gets_its_turn(bus: Bus) -> None:
    """A long backlog in one partition does not keep the others waiting."""
    await bus.publish([note("a", "long")] * 50)
    await bus.publish([note(None, "short") for _ in range(4)])
    subscription = await bus.subscribe(TOPIC, "g", start="oldest")
    first = await subscription.fetch(10, wait=SOON) + await subscription.fetch(10, wait=SOON)

    assert 3 <= texts(first).count("short")


async def test_a_new_group_starts_now_unless_told(bus: Bus) -> None:
    """The default start is behind the last message."""
    await bus.publish([note("a", "old")])
    subscription = await bus.subscribe(TOPIC, "g")
    await bus.publish([note("a", "new")])

    assert ["new"] == texts(await drain(subscription))


async def test_a_new_group_may_start_at_the_oldest(bus: Bus) -> None:
    """`oldest` is the first message kept."""
    await bus.publish([note("a", "old"), note("b", "old")])

    assert ["old", "old"] == texts(await drain(await bus.subscribe(TOPIC, "g", start="oldest")))


async def test_a_new_group_may_start_at_a_time(bus: Bus, clock: ManualClock) -> None:
    """A time starts at the first message appended then or later."""
    await bus.publish([note("a", "old"), note("b", "old")])
    await clock.advance(10)
    at = clock.now_ms()
    await bus.publish([note("a", "new"), note("b", "new")])
    subscription = await bus.subscribe(TOPIC, "g", start=at)

    assert ["new", "new"] == texts(await drain(subscription))


async def test_a_new_group_may_start_where_somebody_remembers(bus: Bus) -> None:
    """Offsets per partition: known ones are gone on from, lost ones begin at the oldest, others at the end."""
    sent = await bus.publish([note("a", f"a{n}") for n in range(4)])
    partition = sent[0].partition
    there = await bus.subscribe(TOPIC, "there", start={partition: 2})
    lost = await bus.subscribe(TOPIC, "lost", start={partition: 99})
    other = await bus.subscribe(TOPIC, "other", start={(partition + 1) % 4: 0})

    assert ["a2", "a3"] == texts(await drain(there))
    assert ["a0", "a1", "a2", "a3"] == texts(await drain(lost))
    assert [] == texts(await drain(other))


async def test_the_start_matters_only_once(bus: Bus) -> None:
    """A group seen before goes on, even when it has committed nothing: its start was recorded."""
    first = await bus.subscribe(TOPIC, "g", start="now")
    await first.close()
    await bus.publish([note("a", "between")])

    assert ["between"] == texts(await drain(await bus.subscribe(TOPIC, "g", start="now")))


async def test_lag_counts_what_lies_behind_the_stored_position(bus: Bus) -> None:
    """Reading alone does not lower it; committing does."""
    subscription = await bus.subscribe(TOPIC, "g")
    await bus.publish([note("a", "x")] * 3)
    read = await drain(subscription)
    before = await subscription.lag()
    await subscription.commit(past(read[:2]))

    assert [0, 0, 0, 3] == sorted(before.values())
    assert 1 == sum((await subscription.lag()).values())


async def test_committed_returns_what_was_stored(bus: Bus) -> None:
    """Every assigned partition has a stored position from the beginning."""
    subscription = await bus.subscribe(TOPIC, "g")
    await bus.publish([note("a", "x")] * 3)
    done = past(await drain(subscription))
    await subscription.commit(done)

    assert {Partition(TOPIC, number): done.get(Partition(TOPIC, number), 0) for number in range(4)} == (
        await subscription.committed()
    )


async def test_seeking_reads_again_from_a_time(bus: Bus, clock: ManualClock) -> None:
    """Back and forth: what was read comes again, what is older is passed over."""
    subscription = await bus.subscribe(TOPIC, "g")
    await bus.publish([note(key, f"{key}1") for key in "abcd"])
    await clock.advance(5)
    at = clock.now_ms()
    await bus.publish([note(key, f"{key}2") for key in "abcd"])
    await drain(subscription)
    await subscription.seek_to_time(at)
    again = await drain(subscription)
    await subscription.seek_to_time(at + 60_000)

    assert ["a2", "b2", "c2", "d2"] == texts(again)
    assert [] == await drain(subscription)


async def test_two_members_share_and_everything_is_read_once(bus: Bus) -> None:
    """Each partition belongs to one of them; nothing committed comes twice."""
    assigned: dict[str, set[Partition]] = {"one": set(), "two": set()}
    one = await join(bus, assigned, "one")
    before = set(assigned["one"])
    two = await join(bus, assigned, "two")
    await until(lambda: [2, 2] == [len(partitions) for partitions in assigned.values()])
    await bus.publish([note(None, f"{number}") for number in range(40)])
    mine, theirs = await drain(one), await drain(two)

    assert {Partition(TOPIC, number) for number in range(4)} == before
    assert [2, 2] == [len(partitions) for partitions in assigned.values()]
    assert assigned["one"].isdisjoint(assigned["two"])
    assert sorted(str(number) for number in range(40)) == texts(mine + theirs)


async def join(bus: Bus, assigned: dict[str, set[Partition]], name: str) -> Subscription:
    """Subscribe and keep the book of what *name* was given and lost."""

    async def gain(partitions: Sequence[Partition]) -> None:
        assigned[name].update(partitions)

    async def lose(partitions: Sequence[Partition]) -> None:
        assigned[name].difference_update(partitions)

    return await bus.subscribe(TOPIC, "g", on_assigned=gain, on_revoked=lose)


async def until(reached: Callable[[], bool]) -> None:
    """Wait for a rebalance, which takes Kafka a second or so."""
    async with asyncio.timeout(30):
        while not reached():
            await asyncio.sleep(0.02)


async def test_a_revoked_partition_can_be_committed_until_its_callback_returns(bus: Bus) -> None:
    """So a clean hand-over runs nothing twice; afterwards a commit is fenced."""
    done: dict[Partition, int] = {}
    mine: set[Partition] = set()

    async def gain(partitions: Sequence[Partition]) -> None:
        mine.update(partitions)

    async def finish(partitions: Sequence[Partition]) -> None:
        await one.commit({partition: done[partition] for partition in partitions if partition in done})
        mine.difference_update(partitions)

    one = await bus.subscribe(TOPIC, "g", on_assigned=gain, on_revoked=finish)
    await bus.publish([note(None, f"{number}") for number in range(8)])
    done.update(past(await drain(one)))
    two = await bus.subscribe(TOPIC, "g")
    await until(lambda: 2 == len(mine))

    assert [] == await drain(two)
    with pytest.raises(Fenced, match="another member"):
        await one.commit({min(done.keys() - mine): 1})


async def test_a_partition_on_its_way_out_is_not_fetched(bus: Bus) -> None:
    """While the callback finishes what was read, nothing new is read from there."""
    leaving: set[Partition] = set()
    during: list[Message] = []

    async def finish(partitions: Sequence[Partition]) -> None:
        leaving.update(partitions)
        during.extend(await drain(one))

    one = await bus.subscribe(TOPIC, "g", on_revoked=finish)
    await bus.publish([note(None, f"{number}") for number in range(8)])
    two = await bus.subscribe(TOPIC, "g")

    assert leaving.isdisjoint({message.source for message in during})
    found = during + await drain(one) + await drain(two)
    assert 8 == len({(message.source, message.offset) for message in found})


async def test_two_fetches_at_once_give_each_message_once(bus: Bus) -> None:
    """A fetch that was overtaken while it read the disk keeps what it read to itself."""
    subscription = await bus.subscribe(TOPIC, "g")
    await bus.publish([note("a", f"{number}") for number in range(9)])
    found = await asyncio.gather(*(subscription.fetch(5, wait=SOON) for _ in range(3)))

    assert list(range(9)) == sorted(message.offset for batch in found for message in batch)


async def test_the_partitions_of_a_member_that_leaves_go_to_the_others(bus: Bus) -> None:
    """What it had not committed is read again by them."""
    assigned: dict[str, set[Partition]] = {"one": set(), "two": set()}
    one, two = await join(bus, assigned, "one"), await join(bus, assigned, "two")
    await bus.publish([note(None, f"{number}") for number in range(8)])
    await drain(one)
    await one.close()
    await until(lambda: {Partition(TOPIC, number) for number in range(4)} == assigned["two"])

    assert 8 == len(await drain(two))


async def test_a_failing_rebalance_callback_is_not_swallowed(bus: Bus) -> None:
    """Its own member's next fetch raises it; the member that joined is not harmed."""

    async def fail(_partitions: Sequence[Partition]) -> None:
        raise ZeroDivisionError

    one = await bus.subscribe(TOPIC, "g", on_revoked=fail)
    two = await bus.subscribe(TOPIC, "g")
    await bus.publish([note(None, "x")] * 4)

    with pytest.raises(ZeroDivisionError):
        while True:  # until it has heard of the other
            await one.fetch(5, wait=SOON)
    assert 2 == len(await drain(two))


async def test_a_waiting_fetch_wakes_when_something_is_published(bus: Bus) -> None:
    """It does not sit its wait out: this one would take an hour."""
    subscription = await bus.subscribe(TOPIC, "g")
    waiting = asyncio.create_task(subscription.fetch(5, wait=3600))
    await asyncio.sleep(0)
    await bus.publish([note("a", "hello")])

    assert ["hello"] == texts(await waiting)


async def test_a_waiting_fetch_wakes_when_its_partition_resumes(bus: Bus) -> None:
    """Resume is news as well."""
    subscription = await bus.subscribe(TOPIC, "g")
    everything = [Partition(TOPIC, number) for number in range(4)]
    subscription.pause(everything)
    await bus.publish([note("a", "hello")])
    waiting = asyncio.create_task(subscription.fetch(5, wait=3600))
    await asyncio.sleep(0)
    subscription.resume(everything)

    assert ["hello"] == texts(await waiting)


async def test_a_cancelled_fetch_loses_nothing(bus: Bus) -> None:
    """Whatever it had begun to read, the next fetch gives."""
    subscription = await bus.subscribe(TOPIC, "g")
    await bus.publish([note("a", f"{number}") for number in range(20)])
    given: list[Message] = []
    for _ in range(3):
        waiting = asyncio.create_task(subscription.fetch(5, wait=3600))
        await asyncio.sleep(0)
        waiting.cancel()
        (result,) = await asyncio.gather(waiting, return_exceptions=True)
        given += result if isinstance(result, list) else []

    assert list(range(20)) == [message.offset for message in given + await drain(subscription)]


async def test_a_closed_bus_is_unavailable(bus: Bus) -> None:
    """Everything is refused, and who waits is told."""
    subscription = await bus.subscribe(TOPIC, "g")
    waiting = asyncio.create_task(subscription.fetch(5, wait=3600))
    await asyncio.sleep(0)
    await bus.close()
    await bus.close()

    for attempt in (bus.publish([note("a")]), bus.subscribe(TOPIC, "h"), bus.read(TOPIC, 0, 0), waiting):
        with pytest.raises(Unavailable, match="closed"):
            await attempt
    with pytest.raises(Unavailable, match="closed"):
        await subscription.commit({})


async def test_a_closed_subscription_is_unavailable(bus: Bus) -> None:
    """It neither fetches nor commits any more."""
    subscription = await bus.subscribe(TOPIC, "g")
    await subscription.close()
    await subscription.close()

    with pytest.raises(Unavailable, match="closed"):
        await subscription.fetch(1, wait=SOON)
