"""
By hand, on aiokafka and httpx with its own transport; its pool is as large as there are places.
"""

from __future__ import annotations

import httpx
import uvloop

from benchmarks.engine.contenders.hand import consume
from benchmarks.engine.contenders.words import HEADERS, given


async def main() -> None:
    """
    Work off the topic for ever.
    """
    to = given()
    limits = httpx.Limits(max_connections=to.in_flight, max_keepalive_connections=to.in_flight)
    async with httpx.AsyncClient(limits=limits, headers=HEADERS, timeout=None, trust_env=False) as client:

        async def exchange(method: str, url: str, body: bytes) -> bytes:
            answer = await client.request(method, url, content=body)
            return answer.raise_for_status().content

        await consume(to, exchange)


if __name__ == "__main__":
    uvloop.run(main())
