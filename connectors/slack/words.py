"""
Slack's way of writing, and ours.
"""

from __future__ import annotations

import html
import re
from collections.abc import Callable, Iterator

from penstock.errors import NotFound

LONGEST = 39_000  # characters as they are sent, of a new message; Slack cuts after 40,000
EDITED = 4_000  # bytes as they are sent, of a message that is changed: beyond, `chat.update` says `msg_too_long`
CUT = " […]"
_MARKS = {"&": "&amp;", "<": "&lt;", ">": "&gt;"}
_ENTITY = re.compile(r"<([^<>|]*)(?:\|([^<>]*))?>")
_RECORD = re.compile(r"([A-Z][A-Z0-9]{2,})/(\d{1,12}\.\d{6})")
_CHANNEL = re.compile(r"[A-Z][A-Z0-9]{2,}")


def plain(text: str) -> str:
    """
    Return *text* without Slack's markup of people, channels and links: `<@U1>` is `@U1`, `<https://x|y>` is `y (https://x)`.
    """
    return html.unescape(_ENTITY.sub(_shown, text)) if "<" in text or "&" in text else text


def _shown(found: re.Match[str]) -> str:
    target, label = found[1], found[2]
    if target.startswith("@"):
        return f"@{label or target[1:]}"
    if target.startswith("#"):
        return f"#{label or target[1:]}"
    if target.startswith("!"):
        return f"@{(label or target[1:].partition('^')[0]).lstrip('@')}"
    return f"{label} ({target})" if label and label != target else target


def escaped(text: str, most: int = LONGEST, size: Callable[[str], int] = len) -> str:
    """
    Return *text* so that Slack shows it as it stands: nothing in it mentions anybody or becomes a link with another name.

    What is longer than *most*, as *size* counts it, is cut and says so.
    """
    whole = _escaped(text)
    return whole if size(whole) <= most else next(pieces(text, most - size(CUT), size)) + CUT


def pieces(text: str, most: int, size: Callable[[str], int] = len) -> Iterator[str]:
    """
    Yield *text* escaped, in pieces of at most *most*; none begins or ends inside of what stands for one character.
    """
    piece: list[str] = []
    taken = 0
    for character in text:
        written = _MARKS.get(character, character)
        if piece and taken + size(written) > most:
            yield "".join(piece)
            piece, taken = [], 0
        piece.append(written)
        taken += size(written)
    if piece:
        yield "".join(piece)


def in_bytes(text: str) -> int:
    """
    Return the size of *text* in UTF-8.
    """
    return len(text.encode())


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def place(record: str) -> tuple[str, str]:
    """
    Return channel and message of a record, `channel/ts`; raises `NotFound`.
    """
    found = _RECORD.fullmatch(record)
    if found is None:
        raise NotFound(f"{record!r} is no message: it has to look like C0123ABC/1700000000.000100")
    return found[1], found[2]


def channel_of(record: str) -> str:
    """
    Return the channel of a record, which may be the channel alone; raises `NotFound`.
    """
    if _CHANNEL.fullmatch(record):
        return record
    return place(record)[0]
