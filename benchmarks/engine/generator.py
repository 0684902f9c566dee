"""
Events onto a topic, in a process of its own: `python -m benchmarks.engine.generator --broker … --topic …`.

Without a rate it fills the topic at once. With a rate it is an open loop: when each event is due is
drawn before the first one leaves (Poisson), and neither a slow hub nor a slow broker puts any of them
off. Who is late in more than 1 % of its sends has measured itself, so it refuses the run (exit code 3).
Latency counts from the time an event was due, which it carries in a header and the schedule file keeps.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import random
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import uvloop
from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from benchmarks.engine.workload import SCHEDULED, Workload

LATE = 0.02  # seconds after which a send is late
LATE_MOST = 0.01  # share of sends
REFUSED = 3  # exit code
_LEAD = 3.0  # seconds from drawing the schedule to its first event
_FILL = 500  # events at once


def due_times(seed: int, events: int, rate: float) -> list[float]:
    """
    Return when each event is due, in seconds from the start.
    """
    drawn = random.Random(f"{seed}/arrivals")
    return list(itertools.accumulate(drawn.expovariate(rate) for _ in range(events)))


def scheduled(seed: int, events: int, rate: float, file: Path) -> list[float]:
    """
    Draw the schedule from now on, and keep it in *file* for the judge.
    """
    start = time.monotonic() + _LEAD
    due = [start + after for after in due_times(seed, events, rate)]
    file.write_text("".join(f"{number} {at:.6f}\n" for number, at in enumerate(due)), "ascii")
    return due


def refused(lags: Sequence[float]) -> bool:
    """
    Tell whether too many sends were late.
    """
    return sum(lag > LATE for lag in lags) > LATE_MOST * len(lags)


async def make_topic(broker: str, topic: str, partitions: int) -> None:
    """
    Make *topic*, empty.
    """
    admin = AIOKafkaAdminClient(bootstrap_servers=broker)
    await admin.start()
    try:
        await admin.create_topics([NewTopic(topic, partitions, 1)])
    finally:
        await admin.close()


async def fill(producer: AIOKafkaProducer, topic: str, workload: Workload) -> None:
    """
    Put every event of *workload* on *topic*.
    """
    for start in range(0, workload.events, _FILL):
        numbers = range(start, min(start + _FILL, workload.events))
        sent = [await _send(producer, topic, workload.record(number)) for number in numbers]
        await asyncio.gather(*sent)


async def drive(producer: AIOKafkaProducer, topic: str, workload: Workload, due: Sequence[float]) -> list[float]:
    """
    Send each event when it is *due*, in monotonic seconds; return by how much each was late.
    """
    records = [workload.record(number) for number in range(workload.events)]
    lags, sent = [], []
    for at, (key, headers, value) in zip(due, records, strict=True):
        await asyncio.sleep(max(0.0, at - time.monotonic()))
        lags.append(time.monotonic() - at)
        sent.append(await _send(producer, topic, (key, [*headers, (SCHEDULED, b"%.6f" % at)], value)))
    await asyncio.gather(*sent)
    return lags


async def _send(
    producer: AIOKafkaProducer, topic: str, record: tuple[bytes, list[tuple[str, bytes]], bytes]
) -> asyncio.Future[object]:
    key, headers, value = record
    sent: asyncio.Future[object] = await producer.send(topic, value, key=key, headers=headers)
    return sent


async def _generate(given: argparse.Namespace, due: Sequence[float]) -> int:
    workload = Workload(seed=given.seed, events=given.events, keys=given.keys)
    producer = AIOKafkaProducer(bootstrap_servers=given.broker)
    await producer.start()
    try:
        if not given.rate:
            await fill(producer, given.topic, workload)
            return 0
        lags = await drive(producer, given.topic, workload, due)
    finally:
        await producer.stop()
    print(f"{sum(lag > LATE for lag in lags)} of {len(lags)} sends were late", file=sys.stderr)
    return REFUSED if refused(lags) else 0


def main() -> int:
    """
    Fill, or drive.
    """
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--broker", required=True)
    parser.add_argument("--topic", required=True)
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--events", type=int, required=True)
    parser.add_argument("--keys", type=int, default=0)
    parser.add_argument("--rate", type=float, default=0.0)
    parser.add_argument("--schedule", type=Path)
    given = parser.parse_args()
    due = scheduled(given.seed, given.events, given.rate, given.schedule) if given.rate else ()
    return uvloop.run(_generate(given, due))


if __name__ == "__main__":
    sys.exit(main())
