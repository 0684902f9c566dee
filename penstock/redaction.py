"""
Takes secrets out of text before anybody reads it: live values in every spelling, and what looks like one.

`Secrets` tells the process's `LIVE` redactor every value it resolves. That is on purpose one per
process, as logging is: a secret missed because two objects were not wired together would be a leak.
"""

from __future__ import annotations

import base64
import json
import re
import threading
from collections.abc import Iterator
from urllib.parse import quote, quote_plus

MASK = "***"
SHORTEST = 4  # characters; a shorter value would blank out ordinary words
SHORTEST_LINE = 16  # characters of one line of a secret that has several, such as a private key
SHORTEST_BASE64 = 8  # characters; fewer are found by chance

_LOOKS_SECRET = re.compile(
    r"""
      \bsk-[A-Za-z0-9_-]{16,}                                   # OpenAI, Anthropic
    | \bxox[a-z]-[A-Za-z0-9-]{8,} | \bxapp-[A-Za-z0-9-]{8,}     # Slack
    | \b(?:AKIA|ASIA)[A-Z0-9]{16}\b                             # AWS
    | \bgh[a-z]_[A-Za-z0-9]{20,} | \bgithub_pat_\w{20,}         # GitHub
    | \bAIza[A-Za-z0-9_-]{30,}                                  # Google
    | \beyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]*  # JSON web token
    | (?<=Bearer\ )[^\s"',]{8,} | (?<=bearer\ )[^\s"',]{8,}
    | (?<=Basic\ )[A-Za-z0-9+/=]{8,} | (?<=basic\ )[A-Za-z0-9+/=]{8,}
    | (?<=://)[^/\s:@'"]*:[^/\s@'"]+(?=@)                       # user:password in a URL
    | -----BEGIN[ ][A-Z ]*PRIVATE[ ]KEY-----.*?(?:-----END[ ][A-Z ]*PRIVATE[ ]KEY-----|\Z)
    """,
    re.VERBOSE | re.DOTALL,
)
_SECRET_PARAMETER = re.compile(
    r"([?&](?:access_token|api[_-]?key|auth|client_secret|key|password|secret|sig|signature|token)=)[^&\s\"'#]+",
    re.IGNORECASE,
)


class Redactor:
    """
    Knows the live secrets of a process and takes them out of text.
    """

    def __init__(self) -> None:
        self._forms: set[str] = set()
        self._pattern: re.Pattern[str] | None = None
        self._lock = threading.Lock()

    def add(self, value: str) -> None:
        """
        Take *value* out of every later text. Old values stay known: what they open may still be open.
        """
        with self._lock:
            forms = {form for form in spellings(value) if len(form) >= SHORTEST} - self._forms
            if forms:
                self._forms |= forms
                longest_first = sorted(self._forms, key=lambda form: (-len(form), form))
                self._pattern = re.compile("|".join(map(_any_case, longest_first)))

    def hide(self, text: str) -> str:
        """
        Return *text* with every secret replaced by `***`.
        """
        if self._pattern is not None:
            text = self._pattern.sub(MASK, text)
        return _SECRET_PARAMETER.sub(rf"\1{MASK}", _LOOKS_SECRET.sub(MASK, text))


def spellings(value: str) -> Iterator[str]:
    """
    Give *value* as it may appear: plain, in a URL, in JSON, in a repr, in base64.
    """
    texts = [value, value.strip()]
    texts += [line.strip() for line in value.splitlines() if len(line.strip()) >= SHORTEST_LINE]
    for text in texts:
        yield text
        yield text.replace("/", "\\/")  # as PHP and others write JSON
        yield from (quote(text, safe=""), quote(text), quote_plus(text))
        yield json.dumps(text)[1:-1]
        yield json.dumps(text, ensure_ascii=False)[1:-1]
        yield repr(text)[1:-1]
        yield repr(text.encode())[2:-1]
        yield from _base64(text.encode())


def _any_case(form: str) -> str:
    """
    Return the pattern of *form*; `%2f` and `%2F` are the same.
    """
    return re.sub("%([0-9A-F]{2})", r"%(?i:\1)", re.escape(form))


def _base64(raw: bytes) -> Iterator[str]:
    """
    Give the base64 text that *raw* leaves wherever it stands in something longer, as in `user:password`.
    """
    for before in range(3):
        whole = base64.b64encode(b"\0" * before + raw)
        first = (0, 2, 3)[before]  # characters that also hold bits of what stands before
        last = len(whole) if (before + len(raw)) % 3 == 0 else len(whole.rstrip(b"=")) - 1
        text = whole[first:last].decode()
        if len(text) >= SHORTEST_BASE64:
            yield text
            yield text.replace("/", "\\/")
            yield text.translate(str.maketrans("+/", "-_"))


LIVE = Redactor()
"""The redactor of this process."""
