"""
How amounts, times and verdicts read to a person.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime, tzinfo

from penstock.errors import Invalid

COLOURS: Mapping[str, str] = {
    "delivered": "green",
    "unchanged": "cyan",
    "skipped": "cyan",
    "filtered": "bright_black",
    "own-write": "bright_black",
    "superseded": "bright_black",
    "over-budget": "yellow",
    "refused": "yellow",
    "discarded": "yellow",
    "stale": "yellow",
    "dead": "red",
    "running": "blue",
    "waiting": "magenta",
    "aside": "magenta",
}
"""Verdicts and states; a colour never says what the word does not."""

_UNPRINTABLE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]")
_SPAN = re.compile(r"(\d+)([smhdw])")
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}


def printable(text: str) -> str:
    """
    Return *text* from outside with everything that could steer a terminal or hide spelled out.
    """
    return _UNPRINTABLE.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def money(micro: int) -> str:
    """
    Return micro-USD with as many decimals as it needs: `$0`, `$0.00031`, `$12.50`.
    """
    if micro == 0:
        return "$0"
    digits = f"{micro / 1_000_000:,.6f}".rstrip("0")
    whole, _, cents = digits.partition(".")
    return f"${whole}.{cents.ljust(2, '0')}"


def tokens(count: int) -> str:
    """
    Return *count* with thousands separated.
    """
    return f"{count:,}"


def moment(ms: int | None) -> str:
    """
    Return UTC milliseconds as `2026-11-24 09:30:05`; empty for None.
    """
    if not ms:
        return ""
    return datetime.fromtimestamp(ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S")


def duration(ms: int) -> str:
    """
    Return a span as people say it: `85 ms`, `2.4 s`, `3 min`, `2.1 h`.
    """
    if ms < 1000:
        return f"{ms} ms"
    seconds = ms / 1000
    if seconds < 60:
        return f"{seconds:.1f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def bar(part: int, whole: int, scale: int, width: int = 24) -> str:
    """
    Return a bar of *width* cells for *scale*: filled for *part*, hollow up to *whole*.
    """
    if scale <= 0 or whole <= 0:
        return ""
    cells = max(1, round(width * min(whole, scale) / scale))
    filled = cells if part >= whole else min(cells, round(width * part / scale))
    if part > 0:
        filled = max(1, filled)
    return "█" * filled + "░" * (cells - filled)


def plural(count: int, noun: str) -> str:
    """
    Return `1 event` or `3 events`.
    """
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def span_ms(text: str, option: str) -> int:
    """
    Read `90s`, `15m`, `2h`, `7d` as milliseconds.
    """
    if span := _SPAN.fullmatch(text.strip()):
        return int(span[1]) * _SECONDS[span[2]] * 1000
    raise Invalid(f"{text!r} is no span", where=option, hint="write 90s, 15m, 2h or 7d")


def since(text: str, now_ms: int, option: str = "--since", zone: tzinfo = UTC) -> int:
    """
    Read `2h`, `7d` or an ISO date or time (in *zone* unless it says) as UTC milliseconds; *option* is who asks.
    """
    if span := _SPAN.fullmatch(text.strip()):
        return now_ms - int(span[1]) * _SECONDS[span[2]] * 1000
    try:
        at = datetime.fromisoformat(text.strip())
    except ValueError:
        raise Invalid(
            f"{text!r} is neither a span nor a date", where=option, hint="write 90m, 2h, 7d or 2026-11-24"
        ) from None
    return int((at if at.tzinfo else at.replace(tzinfo=zone)).timestamp() * 1000)
