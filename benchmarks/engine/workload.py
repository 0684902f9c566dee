"""
What every contender is given: the same events, and for each the same time the model and the desk take.

Nothing here is random twice: times and texts follow from the seed and the event's number.
"""

from __future__ import annotations

import hashlib
import heapq
import json
import math
import random
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Literal

Kind = Literal["model", "desk"]

MEDIAN: dict[Kind, float] = {"model": 1.0, "desk": 0.01}  # seconds
P99: dict[Kind, float] = {"model": 8.0, "desk": 0.03}  # seconds
LONGEST: dict[Kind, float] = {"model": 12.0, "desk": 0.1}  # seconds; a call longer than that would be all we measure
PARTITIONS = 12
EVENT_TYPE = "ticket.created"
SOURCE = "https://bench.example"
SCHEDULED = "scheduled"  # header: monotonic seconds at which the event should have been sent
_NORMAL = NormalDist()
_SIGMAS = _NORMAL.inv_cdf(0.99)
_TEXT = (
    "the parcel has not arrived and nobody answers when I call about order invoice refund window customer wrote again "
    "yesterday evening please look into delivery address street house number courier said left neighbour door today "
    "warehouse label broken screen replacement promised week ago still waiting account login password reset mail"
)
_WORDS = _TEXT.split()
_WORDS_IN_TEXT = 150


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """
    A number of events over a number of keys.
    """

    seed: int
    events: int
    keys: int
    """How many keys the events are spread over; 0 gives each its own."""

    def key(self, number: int) -> str:
        """
        Return what keeps the order of event *number*: a ticket.
        """
        drawn = int(_share(self.seed, "key", number) * self.keys) if self.keys else number
        return str(1_000_000 + drawn)

    def seconds(self, kind: Kind, number: int) -> float:
        """
        Return how long the model or the desk takes over event *number*: lognormal, cut off at `LONGEST`.
        """
        share = min(max(_share(self.seed, kind, number), 1e-12), 1 - 1e-12)
        sigma = math.log(P99[kind] / MEDIAN[kind]) / _SIGMAS
        return min(MEDIAN[kind] * math.exp(sigma * _NORMAL.inv_cdf(share)), LONGEST[kind])

    def service(self, number: int) -> float:
        """
        Return the seconds event *number* takes when nobody waits for anything.
        """
        return self.seconds("model", number) + self.seconds("desk", number)

    def record(self, number: int) -> tuple[bytes, list[tuple[str, bytes]], bytes]:
        """
        Return key, headers and value of event *number* on Kafka: a CloudEvent in binary mode.
        """
        key = self.key(number)
        headers = {
            "content-type": "application/json",
            "ce_specversion": "1.0",
            "ce_id": f"ticket/{key}/{number}",
            "ce_source": SOURCE,
            "ce_type": EVENT_TYPE,
            "ce_subject": key,
            "ce_time": "2026-01-05T09:00:00Z",
            "ce_actor": key,
        }
        value = json.dumps(self._ticket(number, key)).encode()
        return key.encode(), [(name, text.encode()) for name, text in headers.items()], value

    def _ticket(self, number: int, key: str) -> dict[str, object]:
        words = random.Random(f"{self.seed}/{number}").choices(_WORDS, k=_WORDS_IN_TEXT)
        return {
            "id": key,
            "subject": f"{reference(number)} is late",
            "description": f"My order {reference(number)}: {' '.join(words)}.",
            "category": "question",
            "status": "new",
            "priority": "normal",
            "tags": [],
            "requester_id": key,
            "actor_id": key,
        }

    def bound(self, in_flight: int) -> float:
        """
        Return the seconds of a drain by an executor that costs nothing: *in_flight* places, the events in
        their order, one of a key at a time, the oldest that may start first.
        """
        numbers = range(self.events)
        return ideal([self.key(number) for number in numbers], list(map(self.service, numbers)), in_flight)

    def even_bound(self, in_flight: int) -> float:
        """
        Return the seconds of the work spread evenly over *in_flight* places, as if it could be cut anywhere.
        """
        return sum(map(self.service, range(self.events))) / min(in_flight, self.events)


def ideal(keys: Sequence[str], services: Sequence[float], in_flight: int) -> float:
    """
    Return when the last of the events ends if starting one costs nothing.
    """
    waiting: dict[str, deque[int]] = {}
    for number, key in enumerate(keys):
        waiting.setdefault(key, deque()).append(number)
    ready = [queue[0] for queue in waiting.values()]
    heapq.heapify(ready)
    running: list[tuple[float, int]] = []
    now = 0.0
    while ready or running:
        while ready and len(running) < in_flight:
            number = heapq.heappop(ready)
            heapq.heappush(running, (now + services[number], number))
        now, ended = heapq.heappop(running)
        queue = waiting[keys[ended]]
        queue.popleft()
        if queue:
            heapq.heappush(ready, queue[0])
    return now


def reference(number: int) -> str:
    """
    Return the text by which both doubles recognise event *number*.
    """
    return f"REF-{number:07d}"


def _share(seed: int, what: str, number: int) -> float:
    digest = hashlib.blake2b(f"{seed}/{what}/{number}".encode(), digest_size=8).digest()
    return int.from_bytes(digest) / 2**64
