"""
A process beside others on one ledger file: it claims, asks, and ends when it is told to.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path

import ledger
from ledger import Cap, Claim
from penstock.clock import SystemClock
from penstock.errors import Fenced
from schemas.entries import ModelCall
from tests.ledger.postgres_child import offered

LEASE = 1.0  # seconds
CAP = Cap(scope="hub", period="-", limit=1000)


def say(word: str) -> None:
    sys.stdout.write(word + "\n")
    sys.stdout.flush()


async def main(path: Path) -> None:
    book = await ledger.open(path, clock=SystemClock(), lease=LEASE)
    claim = await book.claim(offered("held", "held"))
    assert isinstance(claim, Claim)
    try:
        async with book.step(claim, "ask", kind="ask", action_class="ai", timeout=0.0, input_hash="h") as step:
            async with step.call(amount=600, caps=[CAP]) as call:
                say("asked")
                os.kill(os.getpid(), signal.SIGSTOP)
                names = {"run": claim.run, "step": "ask", "model": "m", "provider": "p", "request_model": "m"}
                await call.settle(ModelCall(call=call.call, cost=250, **names))
            await step.done({"answer": "late"})
    except Fenced:
        say("fenced")
    await book.finish(await _claimed(book), "delivered")
    say("went on")
    await book.close()


async def _claimed(book: ledger.Ledger) -> Claim:
    """
    Claim something under the lease this worker has by now; it renews it by itself.
    """
    while True:
        try:
            claim = await book.claim(offered("next", "next"))
        except Fenced:
            await asyncio.sleep(0.05)
            continue
        assert isinstance(claim, Claim)
        return claim


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1])))
