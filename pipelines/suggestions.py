"""
What a person may have meant.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable

FEW = 12  # names that are worth listing
SHORT = 3  # letters below which every word is near another


def closest(word: str, known: Iterable[str]) -> str | None:
    """
    Return the name that *word* is most likely a slip of; None when none is near.
    """
    names = list(known) if len(word) >= SHORT else []
    near = difflib.get_close_matches(word[:200].lower().replace("-", "_"), [_plain(name) for name in names], 1, 0.65)
    return next((name for name in names if _plain(name) == near[0]), None) if near else None


def _plain(name: str) -> str:
    return name.lower().replace("-", "_")


def did_you_mean(word: str, known: Iterable[str], none: str = "there are none") -> str:
    """
    Return a hint that names the closest of *known*, or lists them.
    """
    names = sorted(known)
    if near := closest(word, names):
        return f"did you mean {near!r}?"
    if not names:
        return none
    rest = f" and {len(names) - FEW} more" if len(names) > FEW else ""
    return f"there {'are' if len(names) > 1 else 'is'} {', '.join(names[:FEW])}{rest}"
