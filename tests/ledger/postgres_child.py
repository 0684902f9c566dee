"""
One of several processes that spend from the same budgets, in orders that cross.
"""

from __future__ import annotations

import asyncio
import random
import sys
import time

import ledger
from ledger import Cap, Claim, NewRun
from penstock.clock import SystemClock
from penstock.errors import OverBudget
from schemas.entries import ModelCall

LIMIT = 40_000
SCOPES = [f"team:{letter}" for letter in "abcdef"]


def offered(event: str, lane: str) -> NewRun:
    return NewRun(
        pipeline="p",
        lane=lane,
        source="s",
        event_id=event,
        subject="7",
        body_hash="h",
        config_hash="c",
        topic="t",
        partition=0,
        offset=0,
        bus_time=0,
    )


async def spend(book: ledger.Ledger, name: str, period: str, chance: random.Random) -> None:
    claim = await book.claim(offered(name, name))
    assert isinstance(claim, Claim)
    caps = [Cap(scope=scope, period=period, limit=LIMIT) for scope in chance.sample(SCOPES, 3)]
    try:
        async with book.step(claim, "ask", kind="ask", action_class="ai", timeout=5) as step:
            async with step.call(amount=100, caps=caps) as slot:
                entry = ModelCall(
                    call=slot.call, run=claim.run, step="ask", model="m", provider="p", request_model="m", cost=60
                )
                await slot.settle(entry)
            await step.done({})
    except OverBudget:
        pass
    await book.finish(claim, "delivered")


async def main(dsn: str, name: str, events: int, seconds: float) -> None:
    """
    Spend in rounds, each in a period of its own, until the time is over.
    """
    chance, until = random.Random(name), time.monotonic() + seconds
    book = await ledger.open(dsn, clock=SystemClock())
    period = 0
    while not period or time.monotonic() < until:
        await asyncio.gather(*(spend(book, f"{name}-{period}-{n}", str(period), chance) for n in range(events)))
        period += 1
    shared = [await book.claim(offered(f"shared-{number}", f"shared-{number}")) for number in range(50)]
    won = [claim for claim in shared if isinstance(claim, Claim)]
    await asyncio.gather(*(book.finish(claim, "delivered") for claim in won))
    sys.stdout.write(f"{len(won)}\n")
    await book.close()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3]), float(sys.argv[4])))
