"""
What most people write: many tasks, each with exponential back-off: `python -m benchmarks.quota.naive ACCOUNT …`.
"""

from __future__ import annotations

import argparse
import asyncio
import random

import aiohttp

from benchmarks.engine.workload import Workload

TASKS = 64
FIRST_PAUSE, LONGEST_PAUSE = 1.0, 60.0  # seconds
ROOM = 300  # tokens


async def _one(session: aiohttp.ClientSession, url: str, account: str, text: str) -> None:
    body = {"model": "gpt-5-mini", "messages": [{"role": "user", "content": text}], "max_tokens": ROOM}
    pause = FIRST_PAUSE
    while True:
        headers = {"authorization": f"Bearer {account}"}
        async with session.post(f"{url}/v1/chat/completions", json=body, headers=headers) as answer:
            await answer.read()
            if answer.status == 200:
                return
        await asyncio.sleep(pause * random.uniform(0.5, 1.5))
        pause = min(pause * 2, LONGEST_PAUSE)


async def _run(url: str, account: str, events: int) -> None:
    work = Workload(seed=3, events=events, keys=0)
    numbers = iter(range(events))

    async def task(session: aiohttp.ClientSession) -> None:
        for number in numbers:
            await _one(session, url, account, work.record(number)[2].decode())

    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=TASKS)) as session:
        await asyncio.gather(*(task(session) for _ in range(TASKS)))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("account")
    parser.add_argument("--model", required=True)
    parser.add_argument("--events", type=int, required=True)
    given = parser.parse_args()
    asyncio.run(_run(given.model, given.account, given.events))
