"""
Where things stand: every key and every value of a declaration knows its file, line and column.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal

Keys = tuple[str | int, ...]
Style = Literal["plain", "quoted", "block", "nested"]


@dataclass(frozen=True, slots=True, order=True)
class Place:
    """
    A character of a file.
    """

    file: str
    line: int
    """From 1."""
    column: int
    """From 1."""
    source: str = field(default="", compare=False, repr=False)
    """The whole line, for showing it."""
    caret: int = field(default=0, compare=False, repr=False)
    """The column of the caret below *source*, where it is not *column*."""

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}"


@dataclass(frozen=True, slots=True)
class Spot:
    """
    Where one value stands, and its key.
    """

    value: Place
    key: Place
    style: Style = "nested"


class Places:
    """
    The spots of a declaration, by the keys that lead to them.
    """

    def __init__(self, start: Place) -> None:
        self.start = start
        """The first character of the main file."""
        self._spots: dict[Keys, Spot] = {}

    def __contains__(self, keys: Keys) -> bool:
        return keys in self._spots

    def __iter__(self) -> Iterator[Keys]:
        return iter(self._spots)

    def add(self, keys: Keys, spot: Spot) -> None:
        """
        Remember *spot*; the first one at *keys* stays.
        """
        self._spots.setdefault(keys, spot)

    def take(self, other: Places, under: Keys) -> None:
        """
        Take over every spot of *other* that stands at or below *under*.
        """
        for keys, spot in other._spots.items():
            if keys[: len(under)] == under:
                self.add(keys, spot)

    def value(self, *keys: str | int) -> Place:
        """
        Return where the value at *keys* begins; where it is not written, the nearest key around it.
        """
        spot = self._spots.get(keys)
        return spot.value if spot else self.key(*keys[:-1]) if keys else self.start

    def key(self, *keys: str | int) -> Place:
        """
        Return where the key of *keys* begins, for a list item the item itself.
        """
        if not keys:
            return self.start
        spot = self._spots.get(keys)
        return spot.key if spot else self.key(*keys[:-1])

    def within(self, keys: Keys, column: int) -> Place:
        """
        Return where character *column* (from 1) of the text at *keys* stands, as far as one line shows it.
        """
        spot = self._spots.get(keys)
        if spot is None or spot.style not in ("plain", "quoted"):
            return self.value(*keys)
        place = spot.value
        moved = place.column + column - 1 + (spot.style == "quoted")
        if moved > len(place.source) + 1:
            return place
        return Place(place.file, place.line, moved, place.source)
