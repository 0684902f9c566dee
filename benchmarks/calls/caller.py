"""
One contender, measured from inside: `python -m benchmarks.calls.caller NAME URL CALLS`. Prints a `Figures` as JSON.
"""

from __future__ import annotations

import asyncio
import importlib
import itertools
import json
import os
import resource
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import uvloop

from benchmarks.calls.contenders import CONTENDERS, Ask, Contender
from benchmarks.calls.model import INPUT, OUTPUT, SAID
from benchmarks.engine.usage import usage

IN_FLIGHT = 200
FEW = 20  # in flight, to tell what one more takes
WARM = 2  # calls of each place before it counts


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """
    What one contender took.
    """

    calls: int
    cpu: float
    """Seconds of processor per call, user and system, all threads."""
    wall: float
    """Seconds from the first call that counts to the last."""
    imported: float
    """Seconds its modules took to load."""
    peak: int
    """Bytes resident at most above those after the import."""
    each: float
    """Bytes one more call in flight takes: the peak with 200 less that with 20, through 180."""


def measured(contender: Contender, url: str, calls: int) -> Figures:
    """
    Load *contender*, let it warm up, and measure *calls* calls of it.
    """
    began = time.perf_counter()
    for module in contender.modules:
        importlib.import_module(module)
    imported = time.perf_counter() - began
    base = _resident()
    cpu, wall, few, peak = uvloop.run(_calling(contender, url, calls))
    each = (peak - few) / (IN_FLIGHT - FEW)
    return Figures(calls=calls, cpu=cpu / calls, wall=wall, imported=imported, peak=peak - base, each=each)


async def _calling(contender: Contender, url: str, calls: int) -> tuple[float, float, int, int]:
    numbers = itertools.count()
    async with contender.open(url) as ask:
        await _all(ask, numbers, FEW, FEW * WARM)
        few = _peak()
        await _all(ask, numbers, IN_FLIGHT, IN_FLIGHT * WARM)
        began, used = time.perf_counter(), _used()
        await _all(ask, numbers, IN_FLIGHT, calls)
        return _used() - used, time.perf_counter() - began, few, _peak()


async def _all(ask: Ask, numbers: Iterator[int], at_once: int, calls: int) -> None:
    """
    Make *calls* calls, *at_once* at a time; an answer that is not the model's ends everything.
    """
    mine = iter(list(itertools.islice(numbers, calls)))

    async def place() -> None:
        for number in mine:
            said, given, made = await ask(number)
            assert json.loads(said) == _TRUTH, said
            assert (given, made) in ((INPUT, OUTPUT), (0, 0))

    async with asyncio.TaskGroup() as group:
        for _ in range(at_once):
            group.create_task(place())


_TRUTH = json.loads(SAID)


def _used() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def _resident() -> int:
    return int(Path("/proc/self/statm").read_text("ascii").split()[1]) * resource.getpagesize()


def _peak() -> int:
    return usage(os.getpid()).peak


def main() -> int:
    """
    Measure one contender.
    """
    name, url, calls = sys.argv[1:]
    print(json.dumps(asdict(measured(CONTENDERS[name], url, int(calls)))))
    return 0


if __name__ == "__main__":
    sys.exit(main())
