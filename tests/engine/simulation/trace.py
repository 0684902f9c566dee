"""
What happened, in order, in words: shown when a seed fails.
"""

from __future__ import annotations

import asyncio

from tests.engine.simulation.process import CURRENT

SHOWN = 120  # lines


class Trace:
    """
    Lines with their virtual time and the process that caused them.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self.lines: list[tuple[float, str, str, tuple[object, ...]]] = []

    def __call__(self, what: str, *more: object) -> None:
        process = CURRENT.get()
        self.lines.append((self._loop.time(), process.name if process else "world", what, more))

    def about(self, *words: str) -> str:
        """
        Return the faults and every line that has one of *words* in it; without any, the last lines.
        """
        texts = [self._text(line) for line in self.lines]
        if words:
            texts = [text for text in texts if " FAULT " in text or any(word in text for word in words)]
        return "\n".join(texts[-SHOWN:])

    @staticmethod
    def _text(line: tuple[float, str, str, tuple[object, ...]]) -> str:
        at, who, what, more = line
        return f"{at:9.3f}  {who:<8} {what} {' '.join(map(str, more))}"
