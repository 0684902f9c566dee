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
PASSING = 64  # passing values that are known at once
REMEMBERED = 4_096  # short texts whose masked form is kept
REMEMBERED_LENGTH = 64  # characters of one
SHORTEST_BASE64 = 8  # characters; fewer are found by chance

_LOOKS_SECRET = re.compile(
    r"""
      \bsk-[A-Za-z0-9_-]{16,}                                   # OpenAI, Anthropic
    | \bxox[a-z]-[A-Za-z0-9-]{8,} | \bxapp-[A-Za-z0-9-]{8,}     # Slack
    | \b(?:AKIA|ASIA)[A-Z0-9]{16}\b                             # AWS
    | \bgh[a-z]_[A-Za-z0-9]{20,} | \bgithub_pat_\w{20,}         # GitHub
    | \bAIza[A-Za-z0-9_-]{30,} | \bya29\.[A-Za-z0-9_.-]{16,}     # Google
    | \beyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]*  # JSON web token
    | (?<=Bearer\ )[^\s"',]{8,} | (?<=bearer\ )[^\s"',]{8,}
    | (?<=Basic\ )[A-Za-z0-9+/=]{8,} | (?<=basic\ )[A-Za-z0-9+/=]{8,}
    | (?<=://)[^/\s:@'"]*:[^/\s@'"]+(?=@)                       # user:password in a URL
    | -----BEGIN[ ][A-Z ]*PRIVATE[ ]KEY-----.*?(?:-----END[ ][A-Z ]*PRIVATE[ ]KEY-----|\Z)
    """,
    re.VERBOSE | re.DOTALL,
)
_MARKS = (
    *("sk-", "xox", "xapp-", "AKIA", "ASIA", "gh", "git", "AIza", "eyJ", "://", "-----BEGIN"),
    *("Bearer ", "bearer ", "Basic ", "basic "),
)
"""One of these is in every text of which a part looks like a secret: most texts have none."""
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
        self._passing: dict[str, None] = {}
        """Values that end soon, the oldest first."""
        self._pattern: re.Pattern[str] | None = None
        self._lock = threading.Lock()
        self._hidden: dict[str, str] = {}
        """What short texts became, until there is another secret: log entries say the same words again and again."""

    def add(self, value: str) -> None:
        """
        Take *value* out of every later text. Old values stay known: what they open may still be open.
        """
        with self._lock:
            forms = {form for form in spellings(value) if len(form) >= SHORTEST} - self._forms
            if forms:
                self._forms |= forms
                self._compile()

    def add_passing(self, value: str) -> None:
        """
        Take *value* out of later texts while it is among the newest of its kind: a token that ends by itself.

        Every hour brings another; if all of them stayed known, a process that runs for months would slow down.
        """
        with self._lock:
            known = value in self._passing
            self._passing.pop(value, None)
            self._passing[value] = None
            if known:
                return
            if len(self._passing) > PASSING:
                del self._passing[next(iter(self._passing))]
            self._compile()

    def _compile(self) -> None:
        passing = {form for value in self._passing for form in spellings(value) if len(form) >= SHORTEST}
        longest_first = sorted(self._forms | passing, key=lambda form: (-len(form), form))
        self._pattern = re.compile("|".join(map(_any_case, longest_first))) if longest_first else None
        self._hidden = {}

    def hide(self, text: str) -> str:
        """
        Return *text* with every secret replaced by `***`.
        """
        if len(text) > REMEMBERED_LENGTH:
            return self._masked(text)
        known = self._hidden  # of the pattern as it is now; one that is exchanged meanwhile only forgets
        if (found := known.get(text)) is None:
            if len(known) >= REMEMBERED:
                known.clear()
            found = known[text] = self._masked(text)
        return found

    def _masked(self, text: str) -> str:
        if self._pattern is not None:
            text = self._pattern.sub(MASK, text)
        if any(map(text.__contains__, _MARKS)):
            text = _LOOKS_SECRET.sub(MASK, text)
        return _SECRET_PARAMETER.sub(rf"\1{MASK}", text) if "=" in text else text


def spellings(value: str) -> Iterator[str]:
    """
    Give *value* as it may appear: plain, in a URL, in JSON, in a repr, in base64.
    """
    texts = [value, value.strip()]
    lines = [line.strip() for line in value.splitlines()]
    # what every key and every certificate begins and ends with is no secret
    texts += [line for line in lines if len(line) >= SHORTEST_LINE and not line.startswith("-----")]
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
