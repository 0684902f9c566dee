"""
Cutting one section: a nested chain of what may be kept, and the largest member that fits.

The chain r0 < r1 < … grows by one piece at a time: from the start (`cut: end`), from the end
(`cut: start`), or from both at an even pace (`cut: middle`). It depends on the text alone, never on
the budget, so that more budget never keeps less. Each member's cost is exact.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate
from typing import Literal, NamedTuple

from ai import tokens
from pipelines.cleaning import opening
from pipelines.framing import Frame
from pipelines.pieces import Piece, parts, refine

Cut = Literal["end", "start", "middle"]
Unit = Literal["records", "paragraphs", "sentences", "words"]

_LONGEST_WORD = 40  # characters; where words are not set apart, so many count as one


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """
    What was kept of a section.
    """

    text: str
    """Framed and marked, whole lines; empty when nothing was kept."""
    body: str
    """The kept text alone."""
    tokens: int
    """Exact tokens of *text*."""
    chars: int
    """Characters kept of the original."""
    unit: Unit
    units: int
    units_kept: int


class _Step(NamedTuple):
    head: int
    """Pieces kept from the start."""
    tail: int
    """Pieces kept from the end."""


class _Side:
    """
    Pieces counted from one end, as far as they were needed.
    """

    def __init__(self, pieces: Iterator[Piece]) -> None:
        self._pieces = pieces
        self.texts: list[str] = []
        self.sums = [0]
        self.chars = [0]

    def grow(self) -> None:
        piece = next(self._pieces)
        self.texts.append(piece.text)
        self.sums.append(self.sums[-1] + tokens.count(piece.text))
        self.chars.append(self.chars[-1] + piece.chars)

    def least(self, kept: int) -> int:
        """
        Return what *kept* pieces cost at least: all but the cut one, and one token for that.
        """
        return self.sums[kept - 1] + 1 if kept else 0


class Chain:
    """
    The ways to cut one section; *units* are cleaned texts.
    """

    def __init__(self, units: Sequence[str], *, frame: Frame, cut: Cut, records: bool) -> None:
        self._frame = frame
        self._cut = cut
        self._units = [f"{unit}\n\n" for unit in units[:-1]] + [f"{unit}\n" for unit in units[-1:]]
        self._records = records and len(units) > 1
        self.body = "".join(self._units)
        self.size = len(self.body)

    @cached_property
    def wanted(self) -> int:
        """
        Tokens of the whole section, framed; 0 without content.
        """
        return self._frame.tokens + tokens.count(self.body) if self.size else 0

    def fit(self, allot: int) -> Kept:
        """
        Return the largest member that costs at most *allot* tokens.
        """
        if self.wanted <= allot:
            return self._whole()
        head, tail = _Side(self._pieces(backwards=False)), _Side(self._pieces(backwards=True))
        steps = list(self._steps(head, tail, allot))
        for step in reversed(steps):
            if self._cost(step, head, tail) <= allot:
                return self._partly(step, head, tail)
        return self._nothing()

    def _steps(self, head: _Side, tail: _Side, allot: int) -> Iterator[_Step]:
        i = j = 0
        while True:
            from_start = self._cut == "end" or (self._cut == "middle" and head.sums[i] <= tail.sums[j])
            i, j = (i + 1, j) if from_start else (i, j + 1)
            (head if from_start else tail).grow()
            everything = head.chars[i] + tail.chars[j] >= self.size
            if everything or self._frame.tokens + head.least(i) + tail.least(j) > allot:
                return
            yield _Step(i, j)

    def _pieces(self, *, backwards: bool) -> Iterator[Piece]:
        passed = 0
        for part in parts(self._units, records=self._records, backwards=backwards):
            outer, inner = passed == 0, passed + len(part.text) == self.size
            first, last = (inner, outer) if backwards else (outer, inner)
            pieces = refine(part, first=first and self._cut != "start", last=last and self._cut != "end")
            yield from reversed(pieces) if backwards else pieces
            passed += len(part.text)

    def _cost(self, step: _Step, head: _Side, tail: _Side) -> int:
        cost = self._frame.tokens + tokens.count(self._marker(step, head, tail))
        if step.head:
            cost += head.sums[step.head - 1] + tokens.count(_closed(head.texts[step.head - 1]))
        if step.tail:
            cost += tail.sums[step.tail - 1] + tokens.count(_opened(tail.texts[step.tail - 1]))
        return cost

    def _marker(self, step: _Step, head: _Side, tail: _Side) -> str:
        start, end = head.chars[step.head], self.size - tail.chars[step.tail]
        if not self._records:
            return f"[{end - start} characters left out]\n"
        count, kept = len(self._units), self._records_kept(start, end)
        clean = {start, end} <= self._ends.keys()
        return f"[{count - kept} of {count} records left out{'' if clean else ' or cut'}]\n"

    @cached_property
    def _ends(self) -> dict[int, int]:
        """
        How many records stand before each place between two of them.
        """
        return {place: count for count, place in enumerate([0, *accumulate(map(len, self._units))])}

    def _records_kept(self, start: int, end: int) -> int:
        places = list(self._ends)
        return bisect_right(places, start) - 1 + len(self._units) - bisect_left(places, end)

    def _whole(self) -> Kept:
        if not self.size:
            return self._nothing()
        unit, units, kept = self._reckoned(self.size, self.size)
        return Kept(
            text=self._frame.around(self.body), body=self.body, tokens=self.wanted, chars=self.size,
            unit=unit, units=units, units_kept=kept,
        )  # fmt: skip

    def _nothing(self) -> Kept:
        unit, units, _ = self._reckoned(0, self.size)
        return Kept(text="", body="", tokens=0, chars=0, unit=unit, units=units, units_kept=0)

    def _partly(self, step: _Step, head: _Side, tail: _Side) -> Kept:
        start, end = head.chars[step.head], self.size - tail.chars[step.tail]
        above = _closed("".join(head.texts[: step.head])) if step.head else ""
        below = _opened("".join(reversed(tail.texts[: step.tail]))) if step.tail else ""
        unit, units, kept = self._reckoned(start, end)
        return Kept(
            text=self._frame.around(above + self._marker(step, head, tail) + below),
            body=above + below,
            tokens=self._cost(step, head, tail),
            chars=start + self.size - end,
            unit=unit,
            units=units,
            units_kept=kept,
        )

    def _reckoned(self, start: int, end: int) -> tuple[Unit, int, int]:
        """
        Return the unit, how many there are, and how many are kept before *start* and from *end* on.
        """
        if self._records:
            return "records", len(self._units), self._records_kept(start, end)
        whole_lines = all(place in (0, self.size) or self.body[place - 1] == "\n" for place in (start, end))
        count = _paragraphs if whole_lines else _words
        kept = count(self.body[:start]) + count(self.body[end:])
        return "paragraphs" if whole_lines else "words", count(self.body), kept


def _paragraphs(text: str) -> int:
    return text.count("\n") - text.count("\n\n")


def _words(text: str) -> int:
    return max(len(text.split()), len(text) // _LONGEST_WORD)


def _closed(text: str) -> str:
    return text.rstrip("\n \t") + "\n"


def _opened(text: str) -> str:
    return opening(text.lstrip(" \t"))
