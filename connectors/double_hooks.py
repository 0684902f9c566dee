"""
The webhooks a double sends: signed, redelivered until somebody takes them.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import httpx
import orjson

from connectors.contract import Delivery
from connectors.verification import Verify, signed

TRIES = 24
FIRST_WAIT = 0.2  # seconds before the second try; doubled each time
LONGEST_WAIT = 5.0  # seconds
AT_ONCE = 16  # deliveries
TIMEOUT = 10.0  # seconds, as vendors give


@dataclass(slots=True, kw_only=True)
class Sent:
    """
    One delivery and how it went.
    """

    url: str
    secret: str = field(repr=False)
    headers: Mapping[str, str]
    body: bytes
    statuses: list[int] = field(default_factory=list)
    """One per try; 0 where nobody answered."""

    @property
    def taken(self) -> bool:
        """
        Whether the receiver took it.
        """
        return bool(self.statuses) and 200 <= self.statuses[-1] < 300

    def shown(self) -> dict[str, Any]:
        """
        Return what `/_double/deliveries` tells of it.
        """
        try:
            body: Any = orjson.loads(self.body)
        except ValueError:
            body = self.body.decode()
        return {"url": self.url, "statuses": self.statuses, "body": body}


class Hooks:
    """
    Who is told of changes.
    """

    def __init__(self, rule: Verify, *, url: str | None = None, secret: str = "") -> None:
        self._rule = rule
        self._targets: list[tuple[str, str]] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._client: httpx.AsyncClient | None = None
        self._room = asyncio.Semaphore(AT_ONCE)
        self.deliveries: list[Sent] = []
        """Everything sent so far, oldest first."""
        if url:
            self.subscribe(url, secret)

    def subscribe(self, url: str, secret: str) -> None:
        """
        Tell *url* of every change from now on.
        """
        self._targets.append((url, secret))

    def unsubscribe(self, url: str) -> None:
        """
        Tell *url* nothing any more.
        """
        self._targets = [target for target in self._targets if target[0] != url]

    def emit(self, body: Mapping[str, Any] | list[Any], headers: Mapping[str, str]) -> None:
        """
        Deliver *body* to everybody who subscribed.
        """
        self.send(orjson.dumps(body), headers)

    def send(self, body: bytes, headers: Mapping[str, str]) -> None:
        """
        The same for a body that may be no JSON.
        """
        for url, secret in self._targets:
            self._begin(Sent(url=url, secret=secret, headers=headers, body=body))

    def redeliver(self, last: int) -> None:
        """
        Deliver the *last* deliveries once more, the same bytes under a new signature.
        """
        for sent in self.deliveries[-last:]:
            self._begin(Sent(url=sent.url, secret=sent.secret, headers=sent.headers, body=sent.body))

    async def settled(self) -> None:
        """
        Wait until every delivery was taken or given up.
        """
        while self._tasks:
            await asyncio.wait(self._tasks)

    async def close(self) -> None:
        """
        Give up what is under way.
        """
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._client is not None:
            await self._client.aclose()
            self._client = None

    def _begin(self, sent: Sent) -> None:
        self.deliveries.append(sent)
        task = asyncio.get_running_loop().create_task(self._deliver(sent))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _deliver(self, sent: Sent) -> None:
        wait = FIRST_WAIT
        for _ in range(TRIES):
            async with self._room:
                sent.statuses.append(await self._once(sent))
            if sent.taken:
                return
            await asyncio.sleep(wait)
            wait = min(2 * wait, LONGEST_WAIT)

    async def _once(self, sent: Sent) -> int:
        if self._client is None:
            self._client = httpx.AsyncClient(timeout=TIMEOUT, trust_env=False)
        delivery = Delivery(
            method="POST",
            url=sent.url,
            headers={"content-type": "application/json", **sent.headers},
            body=sent.body,
            received_ms=time.time_ns() // 1_000_000,
        )
        try:
            headers = dict(signed(self._rule, delivery, sent.secret))
            response = await self._client.post(sent.url, content=sent.body, headers=headers)
        except httpx.HTTPError:
            return 0
        return response.status_code
