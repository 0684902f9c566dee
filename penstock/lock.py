"""
Locks between the processes of one host, which the kernel gives back even after `kill -9`.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from penstock.errors import Unavailable

_OWNER_ONLY = 0o600
_FIRST_PAUSE = 0.000_1  # seconds between looks at a turn that another has
_PATIENCE = 10.0  # seconds to wait for a turn
_LONGEST_PAUSE = 0.001  # seconds


class Kept(Unavailable):
    """
    Another process writes, and does not end.
    """


class Turn:
    """
    The right to write a file that several processes of one host share, held for one transaction.

    Whoever wants it queues for a second lock first, so that the last holder cannot take it again
    before the one who waits.
    """

    def __init__(self, folder: Path, *, what: str) -> None:
        """
        Use the files `turn` and `next` in *folder*, which is made; *what* is written, for messages.
        """
        self._what = what
        folder.mkdir(parents=True, exist_ok=True)
        self._turn, self._next = (
            os.open(folder / name, os.O_RDWR | os.O_CREAT, _OWNER_ONLY) for name in ("turn", "next")
        )

    def take(self, within: float) -> bool:
        """
        Take it; False when others kept it for *within* seconds.
        """
        until = time.monotonic() + within
        if not _had(self._next, until):
            return False
        try:
            return _had(self._turn, until)
        finally:
            fcntl.flock(self._next, fcntl.LOCK_UN)

    @contextmanager
    def held(self, within: float = _PATIENCE) -> Iterator[None]:
        """
        Have it while the context is open; raises `Kept` when others kept it for *within* seconds.
        """
        if not self.take(within):
            raise Kept(f"{self._what} is kept by another process for more than {within:g} s; does it hang?")
        try:
            yield
        finally:
            self.give_back()

    def give_back(self) -> None:
        """
        Let the next one write.
        """
        fcntl.flock(self._turn, fcntl.LOCK_UN)

    def close(self) -> None:
        """
        Close the files; a second call does nothing.
        """
        handles, self._turn, self._next = {self._turn, self._next} - {-1}, -1, -1
        for handle in handles:
            os.close(handle)


def locked(handle: int, *, wait: bool) -> bool:
    """
    Lock the file *handle* is open on; False when somebody else has it and we do not *wait*.
    """
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
        return False
    return True


def _had(handle: int, until: float) -> bool:
    pause = _FIRST_PAUSE
    while not locked(handle, wait=False):
        if time.monotonic() > until:
            return False
        time.sleep(pause)
        pause = min(2 * pause, _LONGEST_PAUSE)
    return True
