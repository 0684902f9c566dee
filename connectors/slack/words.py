"""
Slack's way of writing, and ours.
"""

from __future__ import annotations

import html
import re

from penstock.errors import NotFound

LONGEST = 39_000  # characters; Slack cuts after 40,000
CUT = " […]"
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


def escaped(text: str) -> str:
    """
    Return *text* so that Slack shows it as it stands: nothing in it mentions anybody or becomes a link with another name.
    """
    cut = text if len(text) <= LONGEST else text[: LONGEST - len(CUT)] + CUT
    return cut.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


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
