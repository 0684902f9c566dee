"""
What providers have in common when they fail: statuses, hints when to come back, words for people.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from ai.errors import AIError, Billed, ErrorClass
from penstock.http import Response
from penstock.redaction import LIVE
from penstock.retry import parse_retry_after

LONGEST_WAIT = 86_400.0  # seconds; a provider that asks for more is misread
EXCERPT = 300  # characters of a provider's own words that we repeat
MOST_TOKENS = 10**9  # of one call; no window is near it, and what they cost must fit where money is kept
LOOKED_AT = 16 * 1024  # characters of them that are read

_BY_STATUS: dict[int, ErrorClass] = {
    401: "auth",
    402: "quota",
    403: "auth",
    404: "not_found",
    408: "timeout",
    409: "server",
    413: "too_large",
    429: "rate_limited",
    503: "overloaded",
    529: "overloaded",
}
_MAY_HAVE_WORKED = frozenset({408, 502, 504})  # a gateway gave up; the model behind it may not have
_TOO_LONG = re.compile(
    r"maximum context length|context window|context size|context limit|prompt is too long|input is too long"
    r"|reduce the length|input token count|input tokens exceeded|too many input tokens",
    re.IGNORECASE,
)


def by_status(status: int) -> ErrorClass:
    """
    Return the class of an HTTP status that no code in the body explains better.
    """
    if 300 <= status < 400:
        return "not_found"
    return _BY_STATUS.get(status, "server" if status >= 500 else "bad_request")


def says_too_long(message: str) -> bool:
    """
    Tell whether the provider complains about the length of the prompt.
    """
    return _TOO_LONG.search(message) is not None


def fault(error_class: ErrorClass, response: Response, message: str) -> AIError:
    """
    Make the error of a failed *response* that said *message*.
    """
    billed: Billed | None = "maybe" if response.status in _MAY_HAVE_WORKED else None
    words = LIVE.hide(" ".join(message[:LOOKED_AT].split()))[:EXCERPT]  # hidden first: half a key is not known as one
    said = f": {words}" if words else ""
    return AIError(
        f"the provider answered HTTP {response.status} ({error_class}){said}",
        error_class=error_class,
        retry_after=retry_after(response.headers),
        billed=billed,
    )


def error_part(response: Response) -> dict[str, Any]:
    """
    Return the `error` object of the body, or what comes nearest; empty when there is none.
    """
    try:
        body = response.json()
    except ValueError:
        return {}
    if isinstance(body, list):  # Google wraps some errors once more
        body = next(iter(body), None)
    if not isinstance(body, dict):
        return {}
    part = body.get("error", body)
    if isinstance(part, str):
        return {"message": part}
    return part if isinstance(part, dict) else {}


def word(part: Mapping[str, Any], name: str) -> str:
    """
    Return a field of an error object as text; empty when it is missing or something else.
    """
    value = part.get(name)
    return value if isinstance(value, str) else ""


def retry_after(headers: Mapping[str, str], now: datetime | None = None) -> float | None:
    """
    Return how many seconds the provider asks us to wait: `retry-after-ms`, or seconds, or a date.
    """
    if (ms := _number(headers.get("retry-after-ms"))) is not None:
        return _bounded(ms / 1000)
    seconds = parse_retry_after(headers.get("retry-after"), now or datetime.now(UTC))
    return None if seconds is None else _bounded(seconds)


def _number(value: str | None) -> float | None:
    if value is None or not re.fullmatch(r"\s*\d{1,12}(\.\d{1,9})?\s*", value):
        return None
    return float(value)


def _bounded(seconds: float) -> float:
    return min(max(seconds, 0.0), LONGEST_WAIT)


def count(usage: Any, *path: str) -> int | None:
    """
    Return a token count out of a provider's usage object; None when it is not there, or beyond belief.
    """
    for name in path:
        usage = usage.get(name) if isinstance(usage, dict) else None
    return usage if isinstance(usage, int) and not isinstance(usage, bool) and 0 <= usage <= MOST_TOKENS else None
