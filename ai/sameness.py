"""
When two questions are the same: the key under which an answer may be used again.

Everything the answer depends on is in the key: whose question it is, what was configured, and the text itself. Only
the run's own nonce is left out, which says nothing. Where questions need only be nearly the same, what machines write
anew each time is left out as well; words, numbers, dates and letter case never are.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from typing import TYPE_CHECKING, Any, Literal

import orjson

if TYPE_CHECKING:
    from schemas.entries import Prompt

Match = Literal["exact", "normalised"]

_VERSION = 1  # of the key; another one forgets all answers
_MASK = "\x00"  # no prompt has it: what nobody can see is taken out of every text
_DAYS = "Mon|Tue|Wed|Thu|Fri|Sat|Sun"
_MONTHS = "Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec"
_VOLATILE = re.compile(
    # ISO 8601 and RFC 5322 times, to the second
    r"\b\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(?:[.,]\d{1,9})?(?: ?(?:Z|UTC|GMT|[+-]\d\d:?\d\d))?(?!\w)"
    rf"|\b(?:(?:{_DAYS}), )?\d{{1,2}} (?:{_MONTHS}) \d{{4}} \d\d:\d\d:\d\d(?: (?:[+-]\d{{4}}|GMT|UTC))?(?!\w)"
    # UUIDs
    r"|\b[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}\b"
    # ids of mails, where they are named as such
    r"|(?<=Message-ID: )<[^\s<>]{1,250}>|(?<=In-Reply-To: )<[^\s<>]{1,250}>"
)
_CLOCK = re.compile(r"\b\d{1,2}:\d\d(?::\d\d)?\b|\b\d{1,2} ?[ap]\.?m\b", re.IGNORECASE)


def key(prompt: Prompt, *, tenant: str, pipeline: str, asked: str, match: Match) -> str:
    """
    Return the key of a question: SHA-256, 64 hex digits.

    *asked* identifies what was configured: template, schema, models, sections. Two tenants, pipelines or
    configurations never have a key in common.
    """
    user = prompt.user.replace(prompt.nonce, _MASK) if prompt.nonce else prompt.user
    if match == "normalised":
        user = _normalised(user)
    parts = [_VERSION, tenant, pipeline, asked, match, prompt.system, user]
    return hashlib.sha256(orjson.dumps(parts)).hexdigest()


def out_of_time(output: Any, evidence: str) -> bool:
    """
    Say whether *output* names a time of day that *evidence* does not have: that of another, nearly the same question.
    """
    return any(found[0] not in evidence for found in _CLOCK.finditer(orjson.dumps(output).decode()))


def _normalised(text: str) -> str:
    """
    Return *text* composed (NFC), without volatile values, each run of white space as one space.
    """
    return " ".join(_VOLATILE.sub(_MASK, unicodedata.normalize("NFC", text)).split())
