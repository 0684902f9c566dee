"""
The sender: signed webhooks at a steady rate, many lanes and some hot, in order within each lane.

A delivery without its 202 is sent again, to the next worker, before the lane's next event: that is the
sender's duty. One in twenty that was taken is sent again later, under another delivery id.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from random import Random

import aiohttp
import orjson

from connectors.contract import Delivery
from connectors.verification import signed
from tests.crash.desk import MANIFEST, SECRET

LANES = 48
HOT = 4
HOT_SHARE = 0.35  # of all events
AGAIN_SHARE = 0.05  # of all events
AGAIN_WITHIN = 4.0  # seconds
PATIENCE = 4.0  # seconds for an answer
PAUSES = (0.1, 1.0)  # seconds before a delivery is tried again: first, longest
AT_ONCE = 24  # deliveries


class Source:
    """
    Sends until it is told to end; then until everything was taken.
    """

    def __init__(
        self,
        urls: Callable[[], Sequence[str]],
        *,
        behind: Callable[[], bool],
        rate: float,
        random: Random,
        log: Path,
    ) -> None:
        """
        Send to *urls* in turn; nothing new happens while the hub is far *behind*.
        """
        self._urls = urls
        self._behind = behind
        self._rate = rate
        self._random = random
        self._log = log
        self._queues: dict[str, deque[int]] = {f"item-{number:02}": deque() for number in range(LANES)}
        self._last = dict.fromkeys(self._queues, 0)
        self._room = asyncio.Semaphore(AT_ONCE)
        self._tasks: set[asyncio.Task[None]] = set()
        self._turn = 0
        self._deliveries = 0
        self.accepted = 0
        self.again = 0

    @property
    def made(self) -> int:
        """
        How many events there are.
        """
        return sum(self._last.values())

    async def run(self, end: asyncio.Event) -> None:
        """
        Make events until *end*; return when all of them were taken.
        """
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=PATIENCE)) as self._client:
            while not end.is_set():
                if not self._behind():
                    self._next()
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(1 / self._rate):
                        await end.wait()
            while self._tasks:
                await asyncio.wait(self._tasks)

    def _next(self) -> None:
        names = list(self._queues)
        hot = self._random.random() < HOT_SHARE
        item = self._random.choice(names[:HOT] if hot else names[HOT:])
        self._last[item] += 1
        self._queues[item].append(self._last[item])
        if len(self._queues[item]) == 1:
            self._begin(self._send_lane(item))

    def _begin(self, work: object) -> None:
        task: asyncio.Task[None] = asyncio.create_task(work)  # type: ignore[arg-type]  # a coroutine
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _send_lane(self, item: str) -> None:
        queue = self._queues[item]
        while queue:
            body = _body(item, queue[0])
            await self._until_taken(body)
            self.accepted += 1
            self._note(item, queue[0])
            if self._random.random() < AGAIN_SHARE:
                self._begin(self._later(body, self._random.uniform(0.0, AGAIN_WITHIN)))
            queue.popleft()

    async def _later(self, body: bytes, seconds: float) -> None:
        self.again += 1
        await asyncio.sleep(seconds)
        await self._until_taken(body)

    async def _until_taken(self, body: bytes) -> None:
        pause, longest = PAUSES
        self._deliveries += 1
        identity = f"delivery-{self._deliveries}"
        while True:
            async with self._room:
                if await self._once(body, identity):
                    return
            await asyncio.sleep(pause)
            pause = min(2 * pause, longest)

    async def _once(self, body: bytes, identity: str) -> bool:
        urls = self._urls()
        if not urls:
            return False
        self._turn += 1
        url = f"{urls[self._turn % len(urls)]}/in/desk"
        headers = {"content-type": "application/json", "x-desk-delivery": identity}
        delivery = Delivery(method="POST", url=url, headers=headers, body=body, received_ms=0)
        assert MANIFEST.verify is not None
        try:
            async with self._client.post(url, data=body, headers=signed(MANIFEST.verify, delivery, SECRET)) as response:
                await response.read()
                return response.status == 202
        except (aiohttp.ClientError, TimeoutError, OSError):
            return False

    def _note(self, item: str, seq: int) -> None:
        with self._log.open("ab") as file:
            file.write(orjson.dumps({"item": item, "seq": seq, "at": time.time()}) + b"\n")


def _body(item: str, seq: int) -> bytes:
    now = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    text = f"Change {seq} of {item}: the parcel has not come, please say where it is."
    return orjson.dumps({"item": item, "seq": seq, "text": text, "time": now})
