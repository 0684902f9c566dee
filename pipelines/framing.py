"""
Frames: the lines that say where a section begins and ends, which nobody outside can forge.

An untrusted section's tags carry the run's nonce. It is the same in every attempt and preview of a
run, cannot be guessed without the ledger's secret, and is always four tokens.
"""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass
from functools import lru_cache

from ai import tokens

_DIGITS = 12


def nonce(secret: bytes, run: str) -> str:
    """
    Return the 12 digits that frame untrusted text in *run*.
    """
    digest = hmac.new(secret, b"penstock nonce\0" + run.encode(), hashlib.sha256).digest()
    return f"{int.from_bytes(digest) % 10**_DIGITS:0{_DIGITS}d}"


@dataclass(frozen=True, slots=True)
class Frame:
    """
    The first and last line around a section; empty *digits* for a trusted one.
    """

    name: str
    digits: str = ""

    @property
    def first(self) -> str:
        """
        The opening line.
        """
        return f"<{self.name} {self.digits}>\n" if self.digits else f"<{self.name}>\n"

    @property
    def last(self) -> str:
        """
        The closing line.
        """
        return f"</{self.name} {self.digits}>\n" if self.digits else f"</{self.name}>\n"

    @property
    def tokens(self) -> int:
        """
        What both lines cost: with any digits the same, as three of them are always one token.
        """
        return _cost(self.name, framed=bool(self.digits))

    def around(self, body: str) -> str:
        """
        Return *body*, whole lines, inside its frame.
        """
        return f"{self.first}{body}{self.last}"


@lru_cache(256)
def _cost(name: str, *, framed: bool) -> int:
    frame = Frame(name, "0" * _DIGITS if framed else "")
    return tokens.count(frame.first) + tokens.count(frame.last)
