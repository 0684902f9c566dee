"""
A text from outside or from a model, made fit to be written where people and programs read it.

It is text. Afterwards nothing in it opens a tag, a comment, an entity, a placeholder, an image, a link
to anything but a page or a mailbox, a command or a marker of ours, and nobody is called by it, whatever
the system it goes to would understand: a space stands behind the sign that would have done it.
"""

from __future__ import annotations

import re
from typing import Any

from penstock.visible import in_sight

_RULES = {
    "tags": r"<(?=[A-Za-z/!?%@#$])",  # comments and the mentions of chats, too
    "placeholders": r"\{(?=[{%#!])",
    "entities": r"&(?=#[0-9xX]|[A-Za-z][A-Za-z0-9]{1,31};)",  # they may stand for any other sign
    "images": r"!(?=\[)",  # they load without a click
    "links": r"\](?=\((?!https?://|mailto:)|:(?!\s*(?:https?://|mailto:)))",  # that lead to no page
    "mentions": r"(?<![A-Za-z0-9_])@(?=\w)",  # an e-mail address has something before its sign
    "commands": r"(?:^|(?<=\n))[ \t>]*/(?=[A-Za-z][\w-]*(?:\s|\Z))",
    "notes": r"\[(?=[~^])",  # people and notes of wikis
    "marks": r"penstock(?=:\S)",  # our own, whatever stands around it
}
"""What would open something, by what it would open."""
_OPENS = re.compile("|".join(_RULES.values()), re.IGNORECASE)
_IN_URL = re.compile(r"(?:https?://|www\.)[^\s<>\"'`]*/\Z", re.IGNORECASE)
_LONGEST_URL = 2_000  # characters before a sign that are looked at


def inert(value: Any) -> Any:
    """
    Return the JSON data *value* with every text in it as text and nothing else.
    """
    return _defused(in_sight(value))


def _defused(value: Any) -> Any:
    match value:
        case str():
            return _OPENS.sub(_spaced, value)
        case dict():
            return {_defused(name): _defused(item) for name, item in value.items()}
        case list():
            return [_defused(item) for item in value]
        case _:
            return value


def _spaced(found: re.Match[str]) -> str:
    start = found.start()
    if found[0] == "@" and _IN_URL.search(found.string, max(0, start - _LONGEST_URL), start):
        return "@"  # the page of a person calls nobody
    return f"{found[0]} "
