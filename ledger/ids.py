"""
Ids that nobody else has: 16 random bytes each, fetched from the system many at a time.
"""

from __future__ import annotations

import secrets

BYTES = 16
_AT_ONCE = 64


class Ids:
    """
    Gives ids. Asking the system for each alone hands the interpreter to another thread each time.

    One belongs to one process: two that went on from one copy would give the same ids.
    """

    def __init__(self) -> None:
        self._left: list[bytes] = []

    def new(self) -> bytes:
        """
        Return an id.
        """
        if not self._left:
            fetched = secrets.token_bytes(_AT_ONCE * BYTES)
            self._left = [fetched[place : place + BYTES] for place in range(0, len(fetched), BYTES)]
        return self._left.pop()
