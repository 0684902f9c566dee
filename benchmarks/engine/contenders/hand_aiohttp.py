"""
By hand, on aiokafka and aiohttp.
"""

from __future__ import annotations

import aiohttp
import uvloop

from benchmarks.engine.contenders.hand import consume
from benchmarks.engine.contenders.words import HEADERS, given


async def main() -> None:
    """
    Work off the topic for ever.
    """
    to = given()
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(
        connector=connector, headers=HEADERS, timeout=aiohttp.ClientTimeout(total=60)
    ) as session:

        async def exchange(method: str, url: str, body: bytes) -> bytes:
            async with session.request(method, url, data=body) as answer:
                answer.raise_for_status()
                return await answer.read()

        await consume(to, exchange)


if __name__ == "__main__":
    uvloop.run(main())
