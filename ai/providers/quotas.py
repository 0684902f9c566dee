"""
What a provider's headers say about how much it takes: OpenAI's and Azure's `x-ratelimit-*`, Anthropic's
`anthropic-ratelimit-*`. Google, Vertex AI and Bedrock say nothing.

https://platform.openai.com/docs/guides/rate-limits, https://docs.anthropic.com/en/api/rate-limits
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from ledger.pacing import Quota

MOST = 10**12  # a minute; nobody sells more, and it must fit where it is kept
LONGEST_PAUSE = 5.0  # seconds: many tell when a limit is whole again, and there is something left long before
LONGEST_RESET = 90.0  # seconds until a limit by the minute is whole again; what takes longer is one by the day
_OPENAI = {"requests": "x-ratelimit-limit-requests", "tokens": "x-ratelimit-limit-tokens"}
_ANTHROPIC = {
    "requests": "anthropic-ratelimit-requests-limit",
    "tokens": "anthropic-ratelimit-tokens-limit",
    "input_tokens": "anthropic-ratelimit-input-tokens-limit",
    "output_tokens": "anthropic-ratelimit-output-tokens-limit",
}
_SAYING = frozenset((*_OPENAI.values(), *_ANTHROPIC.values()))
_SPAN = re.compile(r"(\d{1,9}(?:\.\d{1,9})?)(ms|s|m|h|d)")
_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """
    What an answer said of limits.
    """

    quota: Quota
    used_up: float = 0.0
    """Seconds to wait because nothing is left; 0 when something is."""


def said(headers: Mapping[str, str], now: datetime | None = None) -> Said | None:
    """
    Return what *headers*, with names in lower case, say of limits by the minute; None when they say nothing.
    """
    if _SAYING.isdisjoint(headers):
        return None
    names, reset = (
        (_OPENAI, _openai_reset)
        if any(name in headers for name in _OPENAI.values())
        else (_ANTHROPIC, _anthropic_reset)
    )
    moment = now or datetime.now(UTC)
    found: dict[str, int] = {}
    wait = 0.0
    for kind, name in names.items():
        limit, seconds = _count(headers.get(name)), reset(headers, name, moment)
        if not limit or (seconds is not None and seconds > LONGEST_RESET):
            continue
        found[kind] = limit
        if _count(headers.get(_remaining(name))) == 0 and seconds is not None:
            wait = max(wait, min(seconds, LONGEST_PAUSE))
    if "input_tokens" in found and "output_tokens" in found:
        found.pop("tokens", None)  # the sum of both, or the one that is nearer to its end
    return Said(quota=Quota(**found), used_up=wait) if found else None


def _remaining(name: str) -> str:
    return (
        name.replace("-limit-", "-remaining-")
        if name in _OPENAI.values()
        else f"{name.removesuffix('-limit')}-remaining"
    )


def _openai_reset(headers: Mapping[str, str], name: str, now: datetime) -> float | None:
    del now
    return span(headers.get(name.replace("-limit-", "-reset-")))


def _anthropic_reset(headers: Mapping[str, str], name: str, now: datetime) -> float | None:
    text = headers.get(name.removesuffix("-limit") + "-reset")
    try:
        return max(0.0, (datetime.fromisoformat(text) - now).total_seconds()) if text else None
    except (ValueError, TypeError):
        return None


def span(text: str | None) -> float | None:
    """
    Return the seconds of a span such as `8.64s`, `6m0s` or `360ms`; None for anything else.
    """
    parts = _SPAN.findall(text or "")
    if not parts or "".join(number + unit for number, unit in parts) != text:
        return None
    return sum(float(number) * _UNITS[unit] for number, unit in parts)


def _count(text: str | None) -> int | None:
    if text is None or not re.fullmatch(r"\d{1,13}", text, re.ASCII):
        return None
    return min(int(text), MOST)
