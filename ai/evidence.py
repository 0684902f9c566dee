"""
Does the context say what the answer says? Ids, amounts, dates, addresses.

Only what can be checked without understanding is checked: text an answer must have copied. Writing
differs, so `1.234,50 €` is `1234.5`, `3 novembre 2026` is `2026-11-03`, and `ORD 4711` is `#ord-4711`.
Small whole numbers in prose (`two days`, `3 orders`) are counting, not quoting, and pass.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from decimal import Decimal
from functools import cached_property
from typing import Any

from ai.dates import Day, days
from ai.links import Place, leads, places, without

MOST = 8  # unsupported values worth telling
ID_DIGITS = 3  # a word with fewer digits is not an id
SUBSCRIBER = 7  # digits of a telephone number that must be the same; prefixes vary
COUNTING = 100  # whole numbers below it need no evidence, unless money or a share

_NUMBER = re.compile(
    r"(?<![\w.,/-])(?:\d+(?:[.,'\u00a0\u202f ]\d{3})*(?:[.,]\d+)?(?![\w/]|[.,-]\d)|\d+(?:[.,]\d+)?[kKmM]\b)"
)
_FORMATTED = re.compile(r"(?<![\w.,/-])\d+[.,]\d[\d.,]*(?![\w/-])")
_PHONE = re.compile(r"\+?\d(?:(?:[ ./-]|\) ?| ?\()?\d){6,14}")
_MONEY = re.compile(r"[$€£¥₹%]|\b(?:USD|EUR|GBP|CHF|JPY|INR|dollars?|euros?|pounds?|percent)\b", re.IGNORECASE)
_WORD = re.compile(r"[^\W_](?:[\w#/.:-]*[^\W_])?")
_DOTTED = re.compile(r"[\w-]+(?:\.[\w-]+)+")
_SEPARATORS = re.compile(r"[\W_]+")
_PART = re.compile(r"[^\W_]+")
_SCALE = {"k": 1_000, "m": 1_000_000}


class Evidence:
    """
    What a context says, each kind of value indexed when the first one is looked up.
    """

    def __init__(self, text: str) -> None:
        self._text = text

    @cached_property
    def words(self) -> frozenset[str]:
        """
        Every word, its parts, and neighbouring parts as one.
        """
        return frozenset(_spellings(self._text))

    @cached_property
    def numbers(self) -> frozenset[Decimal]:
        """
        What its numbers can mean.
        """
        return frozenset(value for found in _NUMBER.finditer(self._text) for value in _values(found[0]))

    @cached_property
    def days(self) -> frozenset[Day]:
        """
        The days its dates can mean.
        """
        return frozenset(day for _, choices in days(self._text) for day in choices)

    @cached_property
    def addresses(self) -> frozenset[str]:
        """
        Where its links, addresses and mentions lead, the hosts of those, and every name with a dot in it.
        """
        led = {name for place in places(self._text) for name in (place.address, place.host)}
        return frozenset(led | set(_DOTTED.findall(self._text.casefold())))

    @cached_property
    def phones(self) -> frozenset[str]:
        """
        The last digits of its telephone numbers.
        """
        return frozenset(_flat(found[0])[-SUBSCRIBER:] for found in _PHONE.finditer(self._text))


def unsupported(output: Any, evidence: str, allowed: Iterable[str] = ()) -> tuple[str, ...]:
    """
    Return the values in *output* that *evidence* does not contain, in reading order, each once.

    Texts in *allowed* (the names and values a schema offers) need no evidence.
    """
    offered = frozenset(allowed)
    texts = [text for text in _texts(output) if text not in offered and _tells(text)]
    if not texts:
        return ()
    known = Evidence(evidence)
    found = dict.fromkeys(value for text in texts for value in _missing(text, known))
    return tuple(found)[:MOST]


def _tells(text: str) -> bool:
    """
    Say whether there is anything to look up.
    """
    return leads(text) or any(map(str.isdigit, text))


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for name, item in value.items():
            yield name
            yield from _texts(item)
    elif isinstance(value, list):
        for item in value:
            yield from _texts(item)


def _missing(text: str, known: Evidence) -> Iterator[str]:
    if leads(text):
        yield from (place.spelling for place in places(text) if not _known_place(place, known))
        text = without(text)
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
        if sum(map(str.isdigit, word)) < ID_DIGITS or _flat(word) in known.words:
            continue
        parts = _PART.findall(word)
        if "." not in word and all(part.isdecimal() and len(part) <= len(str(COUNTING - 1)) for part in parts):
            continue
        if "." in word and word.casefold() in known.addresses:
            continue
        telling = [part for part in parts if any(char.isdigit() for char in part)]
        prose = all(part.islower() for part in parts if part not in telling)
        if prose and len(parts) > 1 and all(part.casefold() in known.words for part in telling):
            continue
        yield word


def _known_place(place: Place, known: Evidence) -> bool:
    """
    Say whether the context leads there too; a name without a host leads nowhere by itself.
    """
    if place.lasting:
        return False
    return place.address in known.addresses or ("." not in place.address and _flat(place.address) in known.words)


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
    plain = word.casefold()
    return plain if plain.isalnum() else _SEPARATORS.sub("", plain)


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
