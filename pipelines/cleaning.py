"""
Text from outside, made fit to stand in a prompt.

Afterwards it holds no character a person cannot see, no tag that looks like one of our frames, no line
that begins with `/` and no two blank lines: the last two because o200k would join them with what
stands before, and a sum of counted pieces would no longer be the count of the whole.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Collection
from functools import lru_cache

TAG = "[tag]"
"""What stands where a look-alike of a frame was; inert, and visible to the model and to people."""
_NONCE = "[number]"
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
_BLANK = re.compile("\n{3,}")


def lines(text: str) -> str:
    """
    Return *text* with every kind of line end as a newline.
    """
    for end in _LINE_ENDS:
        text = text.replace(end, "\n")
    return text


def clean(text: str, names: Collection[str], nonce: str = "") -> str:
    """
    Return *text* without unseen characters and without look-alikes of the frames of *names*.
    """
    text = _seen(lines(text))
    if any(bracket in text for bracket in _OPENING):
        text = _tags(frozenset(names)).sub(TAG, text)
    if nonce:
        text = text.replace(nonce, _NONCE)
    return _even(text)


def opening(text: str) -> str:
    """
    Return *text* as a body or unit may begin: not with a line end, nor with `/`.
    """
    text = text.lstrip("\n")
    return f" {text}" if text.startswith("/") else text


def _seen(text: str) -> str:
    if text.isascii():
        return text.encode("ascii").translate(None, _UNSEEN_ASCII).decode("ascii")
    if not _plainly_seen(text):
        text = _UNSEEN.sub("", _SPACES.sub(" ", text))
    return unicodedata.normalize("NFC", text)


def _plainly_seen(text: str) -> bool:
    """
    Return True when a quick look finds nothing hidden; the patterns take seven times as long.
    """
    if not text.replace("\n", "").replace("\t", "").isprintable() or any(mark in text for mark in _SLY):
        return False
    return len(text.encode("utf-16-le")) == 2 * len(text)  # what hides beyond 16 bits needs the patterns


def _even(text: str) -> str:
    text = "\n".join(map(str.rstrip, text.split("\n"))).strip("\n")
    if "\n\n\n" in text:
        text = _BLANK.sub("\n\n", text)
    return opening(text.replace("\n/", "\n /"))


_OPENING = "<\uff1c\u2039\u2329\u27e8\u3008\ufe64"


@lru_cache(maxsize=256)
def _tags(names: frozenset[str]) -> re.Pattern[str]:
    words = "|".join(sorted(map(re.escape, names | {"context"}), key=lambda word: (-len(word), word)))
    return re.compile(rf"[{_OPENING}][\s/\\]*(?:{words})\b[^<>\n]{{0,100}}>?", re.IGNORECASE)
