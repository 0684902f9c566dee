"""
How far a partition may be committed: the contiguous front of what is finished.
"""

from __future__ import annotations

from collections import deque


class Watermark:
    """
    Offsets of one partition in the order they were received, and which of them are finished.

    The position only passes an offset that was finished. A withdrawn message stays in its place
    unfinished: deleting it would let the position jump over it and lose it.
    """

    def __init__(self) -> None:
        self._order: deque[int] = deque()
        self._pending: set[int] = set()
        self._next: int | None = None
        self.committed: int | None = None
        """The position that was stored last."""

    @property
    def position(self) -> int | None:
        """
        The next offset to read after a restart; None before anything was received.
        """
        return self._next

    @property
    def outstanding(self) -> int:
        """
        How many received offsets are not finished.
        """
        return len(self._pending)

    def add(self, offset: int) -> bool:
        """
        Note a received offset; False when it was received before and must not be worked on again.
        """
        if offset in self._pending or (self._next is not None and offset < self._next):
            return False
        if self._order and offset <= self._order[-1]:
            return False
        if self._next is None:
            self._next = offset
        self._order.append(offset)
        self._pending.add(offset)
        return True

    def finish(self, offset: int) -> None:
        """
        Note that *offset* needs no redelivery any more.
        """
        self._pending.discard(offset)
        while self._order and self._order[0] not in self._pending:
            self._next = self._order.popleft() + 1
