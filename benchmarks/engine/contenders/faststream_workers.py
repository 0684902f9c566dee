"""
FastStream as its documentation shows it: a subscriber with `max_workers`, its default acknowledgement.
"""

from __future__ import annotations

from typing import Any

import aiohttp
import uvloop
from faststream import FastStream
from faststream.kafka import KafkaBroker

from benchmarks.engine.contenders.words import HEADERS, given, note, question, urls


async def main() -> None:
    """
    Work off the topic for ever.
    """
    to = given()
    broker = KafkaBroker(to.broker)
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(
        connector=connector, headers=HEADERS, timeout=aiohttp.ClientTimeout(total=60)
    ) as session:

        @broker.subscriber(
            to.topic, group_id=f"{to.prefix}.faststream", auto_offset_reset="earliest", max_workers=to.in_flight
        )
        async def work(ticket: dict[str, Any]) -> None:
            model, desk = urls(to, ticket)
            async with session.post(model, data=question(ticket)) as answered:
                answered.raise_for_status()
                answer = await answered.read()
            async with session.put(desk, data=note(answer)) as written:
                written.raise_for_status()
                await written.read()

        await FastStream(broker).run()


if __name__ == "__main__":
    uvloop.run(main())
