"""
Text as a person sees it: no character that shows nothing, none that turns the reading direction.
"""

from __future__ import annotations

import re
import unicodedata
from typing import Any

_UNSEEN_ASCII = bytes(code for code in (*range(32), 127) if code not in b"\t\n\r\x0b\x0c")
_LINE_ENDS = ("\r\n", "\r", "\x0b", "\x0c", "\x85", "\u2028", "\u2029")
_WIDE = "\u00a0\u1680\u2000-\u200a\u202f\u205f\u3000"
_SPACES = re.compile(f"[{_WIDE}]")
_HIDDEN = (
    "\x00-\x08\x0e-\x1f\x7f-\x84\x86-\x9f"  # control
    "\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f"  # zero width
    "\u200b-\u200f\u202a-\u202e\u2060-\u206f"  # zero width, bidirectional
    "\u3164\ufe00-\ufe0e\ufeff\uffa0\ufff9-\ufffb"
    "\ue000-\uf8ff"  # private use: nothing to see, and our placeholders
    "\ud800-\udfff\ufdd0-\ufdef\ufffe\uffff"  # halves of characters, and what is none
    "\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff"  # tags, variation selectors
    "\U000f0000-\U0010ffff"  # private use
)
_UNSEEN = re.compile(f"[{_HIDDEN}]")
_SLY = [
    chr(code)
    for code in (0x34F, 0x115F, 0x1160, 0x17B4, 0x17B5, *range(0x180B, 0x1810), 0x3164, *range(0xFE00, 0xFE0F), 0xFFA0)
]
"""Hidden characters that Unicode nevertheless calls printable."""


def lines(text: str) -> str:
    """
    Return *text* with every kind of line end as a newline.
    """
    for end in _LINE_ENDS:
        text = text.replace(end, "\n")
    return text


def visible(text: str) -> str:
    """
    Return *text* without characters nobody can see, its odd spaces as spaces, composed (NFC).
    """
    if text.isascii():
        return text.encode("ascii").translate(None, _UNSEEN_ASCII).decode("ascii")
    if not _plainly_seen(text):
        text = _UNSEEN.sub("", _SPACES.sub(" ", text))
    return unicodedata.normalize("NFC", text)


def in_sight(value: Any) -> Any:
    """
    Return JSON data with every text and name in it `visible`, and every line end a newline.
    """
    match value:
        case str():
            return value if value.isascii() and value.isprintable() else visible(lines(value))
        case dict():
            return {in_sight(name): in_sight(item) for name, item in value.items()}
        case list():
            return [in_sight(item) for item in value]
        case _:
            return value


def _plainly_seen(text: str) -> bool:
    """
    Return True when a quick look finds nothing hidden; the patterns take seven times as long.
    """
    if not text.replace("\n", "").replace("\t", "").isprintable() or any(mark in text for mark in _SLY):
        return False
    return len(text.encode("utf-16-le")) == 2 * len(text)  # what hides beyond 16 bits needs the patterns
