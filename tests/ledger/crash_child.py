"""
A worker that is killed: run as `python crash_child.py FOLDER POINT ...`, one ledger and one death per point.

`POINT` is a failpoint, or `point#n` for its nth time. Each child is forked, works through the same
events, tells what it did in `said.jsonl` and dies by SIGKILL at its point.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import ledger
from ledger import Cap, NewRun, WriteIntent
from penstock.clock import SystemClock
from penstock.errors import Unavailable
from schemas.entries import ModelCall

EVENTS = 6
COST = 7  # of a call, micro-USD
WORST = 100  # held for it
CAP = Cap(scope="pipeline:p", period="-", limit=1_000_000)
BODY = b'{"specversion":"1.0"}'


def event(number: int) -> NewRun:
    """
    Return the run of one of the events; two lanes take turns.
    """
    return NewRun(
        pipeline="p",
        lane=f"k{number % 2}",
        source="s",
        event_id=str(number),
        subject="7",
        body_hash="h",
        config_hash="c",
        topic="t",
        partition=0,
        offset=number,
        bus_time=1,
    )


async def work(book: ledger.Ledger, claim: ledger.Claim, say: Any) -> None:
    """
    Ask, write and finish one run; the second event of each lane fails once before.
    """
    async with book.step(claim, "ask", kind="ask", action_class="ai", timeout=0.0) as step:
        if step.found != "done":
            async with step.call(amount=WORST, caps=[CAP], per_event=1000) as slot:
                say(claim.run, "asked")
                names = {"run": claim.run, "step": "ask", "model": "m", "provider": "p", "request_model": "m"}
                await slot.settle(ModelCall(call=slot.call, cost=COST, **names))
            await step.done({"summary": "x"})
            say(claim.run, "answered")
    intent = WriteIntent(connection="desk", record=claim.run, fields={"comments": "h"}, value_hash="v")
    write: dict[str, Any] = {"kind": "write", "action_class": "read-back", "timeout": 0.0, "write": intent}
    async with book.step(claim, "note", **write) as step:
        if step.found != "done":
            if not (step.found == "unknown" and say.has(claim.run, "written")):
                say(claim.run, "written")
            await step.done({"id": 1})
    await book.finish(claim, "delivered", body=BODY)


async def everything(book: ledger.Ledger, say: Any, *, fails: bool) -> None:
    """
    Do what an executor does: offer every event in order, admit what cannot start, pick up what waits.
    """
    for number in range(EVENTS):
        run = event(number)
        claimed = await book.claim(run)
        if isinstance(claimed, ledger.Busy):
            await book.admit(run, BODY, reason="behind")
        elif isinstance(claimed, ledger.Claim) and fails and number < 2:
            await book.wait(claimed, "retry", BODY, why="once", attempt=True)
        elif isinstance(claimed, ledger.Claim):
            await work(book, claimed, say)
    while picked := await book.pick_up(["p"], 1):
        await work(book, picked[0].claim, say)


class Said:
    """
    What the outside world saw, kept over the worker's death.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def __call__(self, run: str, what: str) -> None:
        with self._path.open("a") as file:
            file.write(f"{run} {what}\n")

    def has(self, run: str, what: str) -> bool:
        """
        Look into the other system, as a read-back action does.
        """
        return f"{run} {what}" in self.lines()

    def lines(self) -> list[str]:
        """
        Return everything that was said.
        """
        return self._path.read_text().splitlines() if self._path.exists() else []


def die_at(point: str) -> Any:
    """
    Return a failpoint handler that kills this process.
    """
    name, _, nth = point.partition("#")
    seen: Counter[str] = Counter()

    def hit(passed: str) -> None:
        seen[passed] += 1
        if passed == name and seen[passed] == int(nth or 1):
            os.kill(os.getpid(), signal.SIGKILL)

    return hit


async def live(folder: Path, point: str) -> None:
    """
    Work until the point kills us.
    """
    book = await ledger.open(folder / "ledger.db", clock=SystemClock(), fail=die_at(point))
    try:
        await everything(book, Said(folder / "said"), fails=True)
    except Unavailable:
        os._exit(3)


def main(folder: Path, points: list[str]) -> None:
    """
    Let one child die per point; exit 1 unless every one was killed.
    """
    for point in points:
        place = folder / point
        place.mkdir()
        child = os.fork()
        if not child:
            asyncio.run(live(place, point))
            os._exit(0)
        _, status = os.waitpid(child, 0)
        if not os.WIFSIGNALED(status):
            sys.exit(f"nobody came past {point!r}: {status}")


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
