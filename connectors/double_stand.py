"""
A double as a program of its own, for tests that kill and restart what they test.
"""

from __future__ import annotations

import argparse
import asyncio
import signal
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

import orjson

from connectors.double import Double, serving


class Opening(Protocol):
    """
    The class of a double.
    """

    def __call__(self, *, hook: str | None, secret: str, calls: Path | None) -> Double:
        """
        Return a double with fresh state.
        """
        ...


def main(double: Opening) -> None:
    """
    Serve *double* until SIGTERM or SIGINT; its base URL is the first line on stdout, as JSON.
    """
    parser = argparse.ArgumentParser(description=(double.__doc__ or "").strip())
    parser.add_argument("--port", type=int, default=0, help="0 takes any free one")
    parser.add_argument("--hook", help="URL that is told of every change")
    parser.add_argument("--secret", default="", help="what deliveries are signed with")
    parser.add_argument("--calls", type=Path, help="file that gets one JSON line per request")
    asyncio.run(_serve(double, parser.parse_args()))


async def _serve(double: Opening, wanted: Any) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    pretended = double(hook=wanted.hook, secret=wanted.secret, calls=wanted.calls)
    async with serving(pretended, port=wanted.port) as url:
        sys.stdout.write(orjson.dumps({"url": url}).decode() + "\n")
        sys.stdout.flush()
        await stop.wait()


def moment(*, fraction: bool = False) -> str:
    """
    Return the time now as the vendors write it.
    """
    now = datetime.now(UTC)
    return now.isoformat(timespec="microseconds" if fraction else "seconds").replace("+00:00", "Z")
