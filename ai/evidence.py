"""
Does the context say what the answer says? Ids, amounts, dates, addresses.

Only what can be checked without understanding is checked: text an answer must have copied. Writing
differs, so `1.234,50 €` is `1234.5`, `3 novembre 2026` is `2026-11-03`, and `ORD 4711` is `#ord-4711`.
Small whole numbers in prose (`two days`, `3 orders`) are counting, not quoting, and pass.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from ai.dates import Day, days

MOST = 8  # unsupported values worth telling
ID_DIGITS = 3  # a word with fewer digits is not an id
SUBSCRIBER = 7  # digits of a telephone number that must be the same; prefixes vary
COUNTING = 100  # whole numbers below it need no evidence, unless money or a share

_URL = re.compile(r"\b(?:https?://|www\.)[^\s<>\"'`|\\^{}\[\]]+", re.IGNORECASE)
_TARGET = re.compile(
    r"\]\(\s*<?([^\s()<>]+)|^\s*\[[^\]\n]+\]:\s*<?(\S+)|\b(?:href|src)\s*=\s*[\"']?([^\s\"'<>]+)",
    re.IGNORECASE | re.MULTILINE,
)
"""Where a link or an image leads, in Markdown or HTML, however it is spelled."""
_BARE = re.compile(
    r"(?<![\w/.@:-])(?:[a-z][a-z0-9+.-]{1,15}:)?//[^\s<>\"'`|^{}\[\]()]+"
    r"|(?<![\w/.@:-])(?:[a-z0-9-]+\.)+[a-z]{2,24}/[^\s<>\"'`|^{}\[\]()]+",
    re.IGNORECASE,
)
"""Addresses that some programs make links of: other schemes, none, or a name with a path."""
_MENTION = re.compile(r"(?<![\w.%+/-])@[A-Za-z][\w-]{0,62}(?:/[\w.-]+)?(?![\w.]*@)")
"""A name that some systems send a message to."""
_EMAIL = re.compile(r"(?<![\w.+%-])[\w.+%-]{1,64}@(?:[\w-]{1,63}\.){1,8}[\w-]{1,63}")
_NUMBER = re.compile(
    r"(?<![\w.,/-])(?:\d+(?:[.,'\u00a0\u202f ]\d{3})*(?:[.,]\d+)?(?![\w/]|[.,-]\d)|\d+(?:[.,]\d+)?[kKmM]\b)"
)
_FORMATTED = re.compile(r"(?<![\w.,/-])\d+[.,]\d[\d.,]*(?![\w/-])")
_PHONE = re.compile(r"\+?\d(?:(?:[ ./-]|\) ?| ?\()?\d){6,14}")
_TELLING = re.compile(r"[\d@/=\]]|www\.", re.IGNORECASE)  # without any of it there is nothing to look up
_MONEY = re.compile(r"[$€£¥₹%]|\b(?:USD|EUR|GBP|CHF|JPY|INR|dollars?|euros?|pounds?|percent)\b", re.IGNORECASE)
_WORD = re.compile(r"[^\W_](?:[\w#/.:-]*[^\W_])?")
_PART = re.compile(r"[^\W_]+")
_SCALE = {"k": 1_000, "m": 1_000_000}


@dataclass(frozen=True, slots=True)
class Evidence:
    """
    What a context says, indexed for looking things up.
    """

    words: frozenset[str] = field(default_factory=frozenset)
    numbers: frozenset[Decimal] = field(default_factory=frozenset)
    days: frozenset[Day] = field(default_factory=frozenset)
    addresses: frozenset[str] = field(default_factory=frozenset)
    phones: frozenset[str] = field(default_factory=frozenset)

    @classmethod
    def of(cls, text: str) -> Evidence:
        """
        Index *text*.
        """
        numbers = (value for found in _NUMBER.finditer(text) for value in _values(found[0]))
        return cls(
            words=frozenset(_spellings(text)),
            numbers=frozenset(numbers),
            days=frozenset(day for _, choices in days(text) for day in choices),
            addresses=frozenset(_address(found) for found in _addresses(text)),
            phones=frozenset(_flat(found[0])[-SUBSCRIBER:] for found in _PHONE.finditer(text)),
        )


def unsupported(output: Any, evidence: str, allowed: Iterable[str] = ()) -> tuple[str, ...]:
    """
    Return the values in *output* that *evidence* does not contain, in reading order, each once.

    Texts in *allowed* (the values a schema offers) need no evidence.
    """
    offered = frozenset(allowed)
    texts = [text for text in _texts(output) if text not in offered]
    if not any(_TELLING.search(text) for text in texts):
        return ()
    known = Evidence.of(evidence)
    found = dict.fromkeys(value for text in texts for value in _missing(text, known))
    return tuple(found)[:MOST]


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for item in value.values():
            yield from _texts(item)
    elif isinstance(value, list):
        for item in value:
            yield from _texts(item)


def _missing(text: str, known: Evidence) -> Iterator[str]:
    for found in _addresses(text):
        if not _known_address(_address(found), known):
            yield found
    for pattern in (_URL, _EMAIL, _BARE, _MENTION):
        text = pattern.sub(" ", text)
    for spelling, choices in days(text):
        if not any(_same_day(choice, day) for choice in choices for day in known.days):
            yield spelling
        text = text.replace(spelling, " " * len(spelling), 1)
    text = _PHONE.sub(lambda found: " " if _flat(found[0])[-SUBSCRIBER:] in known.phones else found[0], text)
    yield from _missing_numbers(text, known)
    yield from _missing_ids(_NUMBER.sub(" ", text), known)


def _missing_numbers(text: str, known: Evidence) -> Iterator[str]:
    for found in _NUMBER.finditer(text):
        values = _values(found[0])
        counting = all(value == value.to_integral() and value < COUNTING for value in values)
        around = text[max(found.start() - 4, 0) : found.end() + 9]
        if counting and not _MONEY.search(around):
            continue
        flat = re.sub(r"\D", "", found[0])
        if not (values & known.numbers or (len(flat) >= ID_DIGITS and flat in known.words)):
            yield found[0]


def _missing_ids(text: str, known: Evidence) -> Iterator[str]:
    for found in _WORD.finditer(text):
        word = found[0]
        if sum(char.isdigit() for char in word) < ID_DIGITS or _flat(word) in known.words:
            continue
        parts = _PART.findall(word)
        if "." not in word and all(part.isdecimal() and len(part) <= len(str(COUNTING - 1)) for part in parts):
            continue
        telling = [part for part in parts if any(char.isdigit() for char in part)]
        prose = all(part.islower() for part in parts if part not in telling)
        if prose and len(parts) > 1 and all(part.casefold() in known.words for part in telling):
            continue
        yield word


def _addresses(text: str) -> Iterator[str]:
    for found in _TARGET.finditer(text):
        yield next(group for group in found.groups() if group)
    for pattern in (_URL, _EMAIL, _BARE, _MENTION):
        for found in pattern.finditer(text):
            yield found[0].rstrip(".,;:!?)")


def _address(text: str) -> str:
    return re.sub(r"^(?:[a-z][a-z0-9+.-]*:)?//(www\.)?|^www\.|^mailto:", "", text.casefold()).rstrip("/")


def _known_address(address: str, known: Evidence) -> bool:
    return address in known.addresses or _flat(address) in known.words


def _spellings(text: str) -> Iterator[str]:
    """
    Yield every word, its parts, and neighbouring parts as one, without separators and case.
    """
    for found in _WORD.finditer(text):
        yield _flat(found[0])
        yield _flat(found[0].lower().removeprefix("v"))
    before = ""
    for found in _PART.finditer(_FORMATTED.sub(" ", text)):
        part = found[0].casefold()
        yield part
        yield before + part
        before = part


def _flat(word: str) -> str:
    return "".join(char for char in word.casefold() if char.isalnum())


def _values(spelling: str) -> frozenset[Decimal]:
    """
    Return what *spelling* can mean: `1,234` is 1234 or 1.234.
    """
    scale = _SCALE.get(spelling[-1].lower(), 1)
    plain = re.sub(r"['\u00a0\u202f ]", "", spelling.rstrip("kKmM"))
    separators = [char for char in plain if char in ".,"]
    if not separators:
        return frozenset({Decimal(plain) * scale})
    last = separators[-1]
    meanings = set()
    head, _, tail = plain.rpartition(last)
    if separators.count(last) == 1:
        meanings.add(Decimal(f"{re.sub('[.,]', '', head)}.{tail}"))
    if len(tail) == 3:
        meanings.add(Decimal(re.sub("[.,]", "", plain)))
    return frozenset(value * scale for value in meanings) or frozenset({Decimal(re.sub("[.,]", "", plain))})


def _same_day(one: Day, other: Day) -> bool:
    return one[1:] == other[1:] and (one[0] is None or other[0] is None or one[0] == other[0])
