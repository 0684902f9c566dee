"""
A process with one member of a group: it says what it is given, and stops itself once it has everything.
"""

from __future__ import annotations

import asyncio
import signal
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

import bus
from bus import Partition
from penstock.clock import SystemClock
from penstock.errors import Fenced

PARTITIONS = 4


async def main(path: Path, topic: str) -> None:
    mine: set[Partition] = set()
    opened = bus.open(path, partitions=PARTITIONS, keep=86_400.0, clock=SystemClock())

    async def gain(partitions: Sequence[Partition]) -> None:
        mine.update(partitions)

    async def lose(partitions: Sequence[Partition]) -> None:
        mine.difference_update(partitions)

    member = await opened.subscribe(topic, "g", start="oldest", on_assigned=gain, on_revoked=lose)
    read = {message.source: message.offset + 1 for message in await member.fetch(100, wait=30)}
    say(f"read {len(read)}")
    await stop_after_a_turn(opened)
    try:
        await member.commit(read)
    except Fenced:
        say("fenced")
    while len(mine) != PARTITIONS // 2:  # it is one of two now
        await member.fetch(100, wait=0.1)
    say("shares")
    await opened.close()


async def stop_after_a_turn(opened: bus.Bus) -> None:
    """
    Stop this process between two writes: within one, it would stop everybody.
    """
    writer = opened._log._writer
    write = writer._do

    def write_and_stop(group: object) -> None:
        writer._do = write
        write(group)
        # To this very thread: one to the process may be taken by another thread, while this one goes on to write.
        signal.pthread_kill(threading.get_ident(), signal.SIGSTOP)

    writer._do = write_and_stop
    await writer.submit(lambda _file: None)


def say(words: str) -> None:
    sys.stdout.write(words + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), sys.argv[2]))
