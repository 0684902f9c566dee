"""
Patience with our own disk: what must be written is offered until it is taken.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import TypeVar

from penstock.clock import Clock
from penstock.errors import Unavailable

log = logging.getLogger(__name__)

FIRST_PAUSE = 0.2  # seconds
LONGEST_PAUSE = 5.0  # seconds

T = TypeVar("T")


async def firmly(clock: Clock, ask: Callable[[], Awaitable[T]]) -> T:
    """
    Repeat *ask* while the ledger cannot be used: no event and no end is given up for a full disk.
    """
    pause = FIRST_PAUSE
    while True:
        try:
            return await ask()
        except Unavailable as error:
            log.warning("the ledger cannot be used: %s", error)
            await clock.sleep(pause)
            pause = min(pause * 2, LONGEST_PAUSE)
