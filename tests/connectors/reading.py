"""
Reads of a source by tests that count pages.
"""

from __future__ import annotations

import contextlib

from connectors import open_source_call
from connectors.contract import Connector
from penstock.clock import SystemClock
from penstock.http import Http
from schemas.events import Event


async def read_pages(
    connector: Connector, source: str, cursor: bytes | None, http: Http, *, pages: int = 1_000
) -> tuple[list[Event], bytes]:
    """
    Return the events of at most so many *pages* from *cursor* on, and the cursor behind them.
    """
    call = open_source_call(connector, http, key="s", timeout=5.0, clock=SystemClock())
    found: list[Event] = []
    reading = connector.sources[source].read(cursor, call)
    async with contextlib.aclosing(reading) as some:  # type: ignore[type-var]
        async for page in some:
            found += page.events
            cursor = page.cursor or cursor
            pages -= 1
            if not pages:
                break
    assert cursor is not None
    return found, cursor
