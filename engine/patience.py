"""
Patience with our own disk: what must be written is offered until it is taken, and no loop ends of an error.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Awaitable, Callable, Iterator
from typing import TypeVar

from penstock.clock import Clock
from penstock.errors import PenstockError, Unavailable

log = logging.getLogger(__name__)

FIRST_PAUSE = 0.2  # seconds
LONGEST_PAUSE = 5.0  # seconds
AFTER_ERROR = 1.0  # seconds a loop rests after an error

T = TypeVar("T")


class LedgerDown(PenstockError):
    """
    Our own ledger cannot be used: no other system and no event is to blame.
    """


@contextlib.contextmanager
def ours() -> Iterator[None]:
    """
    Tell an outage of the ledger from one of the system that is called in the same breath.
    """
    try:
        yield
    except Unavailable as error:
        raise LedgerDown(str(error)) from error


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


async def for_ever(clock: Clock, what: str, work: Callable[[], Awaitable[object]], *, every: float = 0.0) -> None:
    """
    Repeat *work* whatever it raises: events would wait for a loop that ended without a word.
    """
    while True:
        await clock.sleep(every)
        try:
            await work()
        except PenstockError as error:
            log.warning("%s: %s", what, error)
            await clock.sleep(AFTER_ERROR)
        except Exception:
            log.exception("%s failed unforeseen", what)
            await clock.sleep(AFTER_ERROR)
