"""
Written by hand on aiokafka: many tasks at once under a semaphore, positions committed by a timer.

An event whose turn was cut short by a crash is lost, one that was done may be done again, and two of a
key may overtake each other: that is what auto-commit and tasks give.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import orjson
from aiokafka import AIOKafkaConsumer

from benchmarks.engine.contenders.words import Given, note, question, urls

Exchange = Callable[[str, str, bytes], Awaitable[bytes]]
"""`await exchange(method, url, body)` gives the answer's body."""


async def consume(to: Given, exchange: Exchange) -> None:
    """
    Work off the topic for ever.
    """
    consumer = AIOKafkaConsumer(
        to.topic, bootstrap_servers=to.broker, group_id=f"{to.prefix}.hand", auto_offset_reset="earliest"
    )
    await consumer.start()
    places = asyncio.Semaphore(to.in_flight)
    tasks: set[asyncio.Task[None]] = set()
    while True:
        for records in (await consumer.getmany(timeout_ms=500, max_records=500)).values():
            for record in records:
                await places.acquire()
                task = asyncio.create_task(_work(to, record.value, exchange, places))
                tasks.add(task)
                task.add_done_callback(tasks.discard)


async def _work(to: Given, value: bytes, exchange: Exchange, places: asyncio.Semaphore) -> None:
    try:
        ticket = orjson.loads(value)
        model, desk = urls(to, ticket)
        answer = await exchange("POST", model, question(ticket))
        await exchange("PUT", desk, note(answer))
    finally:
        places.release()
