"""
Processes that spend from one budget until they are told to stop, or killed: forked, so that they start fast.
"""

from __future__ import annotations

import asyncio
import os
import random
import sys
from pathlib import Path

import ledger
from ledger import Cap, Claim
from penstock.clock import SystemClock
from penstock.errors import Fenced, OverBudget, Unavailable
from penstock.lock import Kept
from schemas.entries import ModelCall
from tests.ledger.postgres_child import offered

CAP = Cap(scope="hub", period="-", limit=2_000)
WORST = 100
AT_ONCE = 6
LEASE = 2.0  # seconds


async def spend(book: ledger.Ledger, name: str, chance: random.Random, stop: Path) -> None:
    number = 0
    while not stop.exists():  # noqa: ASYNC240 # one look takes microseconds
        number += 1
        try:
            await once(book, f"{name}-{number}", chance)
        except (Fenced, Unavailable):
            await asyncio.sleep(0.01)  # it was called dead on a busy machine, and goes on as another worker


async def once(book: ledger.Ledger, name: str, chance: random.Random) -> None:
    claim = await book.claim(offered(name, name))
    assert isinstance(claim, Claim)
    try:
        async with book.step(claim, "ask", kind="ask", action_class="ai", timeout=0.0) as step:
            async with step.call(amount=WORST, caps=[CAP]) as slot:
                await asyncio.sleep(chance.random() / 100)
                names = {"run": claim.run, "step": "ask", "model": "m", "provider": "p", "request_model": "m"}
                await slot.settle(ModelCall(call=slot.call, cost=chance.randrange(8), **names))
            await step.done({})
    except OverBudget:
        await book.finish(claim, "over-budget")
    else:
        await book.finish(claim, "delivered")


async def opened(place: Path | str) -> ledger.Ledger:
    """
    Open the ledger as whoever starts workers does: one that got no turn at a disk that stands still comes again.
    """
    while True:
        try:
            return await ledger.open(place, clock=SystemClock(), lease=LEASE)
        except Kept:
            await asyncio.sleep(0.1)


async def main(place: Path | str, name: str, stop: Path) -> None:
    book = await opened(place)
    chance = random.Random(name)
    await asyncio.gather(*(spend(book, f"{name}-{part}", chance, stop) for part in range(AT_ONCE)))
    await book.close()


def forked(place: Path | str, processes: int, stop: Path) -> None:
    for number in range(processes):
        if not (pid := os.fork()):
            asyncio.run(main(place, str(number), stop))
            os._exit(0)
        sys.stdout.write(f"{pid}\n")
    sys.stdout.flush()
    ends = sorted(os.waitstatus_to_exitcode(os.wait()[1]) for _ in range(processes))
    sys.stdout.write(f"{' '.join(map(str, ends))}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    forked(sys.argv[1] if "://" in sys.argv[1] else Path(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3]))
