"""
One worker of many: a real executor on Kafka and a ledger on PostgreSQL, whose work is to take a while and say so.
"""

from __future__ import annotations

import asyncio
import logging
import os
import random
import signal
import sys
import time

import bus.kafka
import ledger
from bus.cluster import Cluster
from engine import Executor
from ledger import Claim
from penstock.clock import SystemClock
from schemas.events import Event
from tests.engine.bench import ScriptedRunner

SESSION = 6_000  # ms, the least a broker takes; so that a test need not wait for ours
LEASE = 8.0  # seconds
GRACE = 5.0  # seconds
DAY = 86_400.0  # seconds
MEAN = 0.03  # seconds a run takes


class Diary:
    """
    A line per begin and per effect, in the file as soon as it happened.
    """

    def __init__(self, path: str) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        self._chance = random.Random(os.getpid())

    def note(self, what: str, claim: Claim, event: Event) -> None:
        line = f"{what} {time.monotonic():.6f} {os.getpid()} {claim.lane} {event.id} {claim.fence}\n"
        os.write(self._file, line.encode())

    async def work(self, _runner: ScriptedRunner, claim: Claim, event: Event) -> None:
        self.note("begin", claim, event)
        await asyncio.sleep(min(1.0, self._chance.expovariate(1 / MEAN)))
        self.note("end", claim, event)


async def main(kafka: str, prefix: str, dsn: str, diary: str, member: str) -> None:
    stopped = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopped.set)
    cluster = Cluster(servers=(kafka,), prefix=prefix, member=None if member == "-" else member)
    opened = await bus.kafka.KafkaBus.connect(cluster, partitions=8, keep=DAY)
    book = await ledger.open(dsn, clock=SystemClock(), lease=LEASE)
    runner = ScriptedRunner(book, Diary(diary).work)
    executor = Executor(
        [runner],  # type: ignore[list-item]
        bus=opened,
        ledger=book,
        clock=SystemClock(),
        topic=lambda name: f"{prefix}.{name}",
        in_flight=20,
    )
    await executor.start()
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    await stopped.wait()
    await executor.stop(GRACE)
    await book.close()
    await opened.close()


if __name__ == "__main__":
    logging.getLogger("aiokafka").setLevel(logging.ERROR)  # at every rebalance it says that there is one
    bus.kafka.SESSION = SESSION
    asyncio.run(main(*sys.argv[1:]))
