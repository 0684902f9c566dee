"""
Where a text leads: its links, images, host names, e-mail addresses and mentions, however they are spelled.

A text is read as people's programs may read it: as it stands, with entities, percent signs and
backslashes undone, and with the letters of other alphabets' widths as plain ones.
"""

from __future__ import annotations

import html
import json
import re
import unicodedata
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple
from urllib.parse import unquote

LAYERS = 3  # times that something encoded is decoded again
LONGEST_HOST = 253  # characters
TOP_DOMAINS = Path(__file__).parent / "data" / "top_domains.json"
"""What host names end with, as of April 2025, with names that lead somewhere without being registered."""

_URL = re.compile(r"(?:\bhttps?:[/\\]*|\bwww\.)[^\s<>\"'`|\\^{}\[\]]+", re.IGNORECASE)
_TARGET = re.compile(
    r"\]\(\s*<?([^\s()<>]+)|^[\s>*+-]*\[[^\]\n]+\]:\s*<?(\S+)|\b(?:href|src)\s*=\s*[\"']?([^\s\"'<>]+)",
    re.IGNORECASE | re.MULTILINE,
)
"""Where a link or an image leads, in Markdown or HTML, however it is spelled."""
_SCHEME = re.compile(
    r"(?<![\w/.@:-])(?:[a-z][a-z0-9+.-]{1,15}:)?//[^\s<>\"'`|^{}\[\]()]+"
    r"|(?<![\w/.@:-])(?:[a-z0-9-]+\.)+[a-z]{2,24}/[^\s<>\"'`|^{}\[\]()]+",
    re.IGNORECASE,
)
"""Addresses that some programs make links of: other schemes, none, or a name with a path."""
_ACTIVE = re.compile(r"\b(?:javascript|vbscript):(?![`'\".,;)])\S+|\bdata:[\w.+-]+/[\w.+-]+[;,]\S*", re.IGNORECASE)
"""Addresses that are a program or a page of their own."""
_HOST = re.compile(
    r"(?<![\w@])(?<![\w.~-]/)((?:[^\W_](?:[\w-]{0,61}[^\W_])?\.){1,10}((?:xn--)?[^\W_][\w-]{0,61}[^\W_]))"
    r"(?![\w@-])((?::\d+)?(?:[/?#][^\s<>\"'`|^{}\[\]()]*)?)"
)
"""A name that ends as host names end: some programs make a link of it."""
_EMAIL = re.compile(r"(?<![\w.+%-])[\w.+%-]{1,64}@(?:[\w-]{1,63}\.){1,8}[\w-]{1,63}")
_MENTION = re.compile(
    r"(?<![\w])@[A-Za-z][\w-]{0,62}(?:/[\w.-]+)?(?![\w.]*@)|<!(?:channel|here|everyone|subteam)\b[^>\s]*",
    re.IGNORECASE,
)
"""A name that some systems send a message to."""
_LABELLED = re.compile(r"\[([^\]\n]{1,300})\]\(\s*<?([^\s()<>]+)")
_LEADING = re.compile(r"[@/=\]\\&%]|<!|[^\W_]\.[^\W_]|[a-z]:\S", re.IGNORECASE)
"""Without any of it nothing leads anywhere."""
_ENCODED = re.compile(r"[&%\\]")
_ESCAPED = re.compile(r"\\([!-/:-@\[-`{-~])")
_BARE = re.compile(r"^(?:https?:[/\\]*|[/\\]{2,}|mailto:)?(?:www\.)?", re.IGNORECASE)
_FILES = frozenset(("cc", "in", "md", "mk", "pl", "ps", "py", "rs", "sh", "so"))
"""What names of files end with, as well as names of hosts."""
_AFTER_HOST = re.compile(r"[/?#:\\]")
_ENDS = ".,;:!?)*_~"
"""What stands behind an address in prose."""


class Place(NamedTuple):
    """
    Somewhere a text leads.
    """

    spelling: str
    address: str
    """Without scheme, `www.` and what ends a sentence; the host in small letters."""
    lasting: bool = False
    """True for what is never right, whatever the context says."""

    @property
    def host(self) -> str:
        """
        The name of the machine, or of an e-mail address's domain.
        """
        return host_of(self.address)


def places(text: str) -> Iterator[Place]:
    """
    Yield everywhere *text* leads, in every way it can be read.
    """
    if not leads(text):
        return
    for reading in _readings(text):
        yield from _read(reading)


def leads(text: str) -> bool:
    """
    Return False when *text* surely leads nowhere; quick.
    """
    return _LEADING.search(_plain(text)) is not None


def without(text: str) -> str:
    """
    Return *text* with a space for everything that leads somewhere as it stands.
    """
    for pattern in (_ACTIVE, _URL, _EMAIL, _SCHEME, _MENTION):
        text = pattern.sub(" ", text)
    return _HOST.sub(lambda found: " " if _ends_as_host(found) else found[0], text)


def host_of(address: str) -> str:
    """
    Return the host of a `Place.address`.
    """
    return _AFTER_HOST.split(address.rpartition("@")[2] if "/" not in address else address, maxsplit=1)[0]


def _readings(text: str) -> Iterator[str]:
    seen = {text: None}
    for _ in range(LAYERS):
        plain = _plain(text)
        if _ENCODED.search(plain):
            plain = _ESCAPED.sub(r"\1", unquote(html.unescape(plain)))
        if plain == text:
            break
        text = plain
        seen[text] = None
    yield from seen


def _plain(text: str) -> str:
    return text if text.isascii() else unicodedata.normalize("NFKC", text).replace("\u3002", ".")


def _read(text: str) -> Iterator[Place]:
    for found in _ACTIVE.finditer(text):
        yield Place(found[0], found[0].casefold(), lasting=True)
    for found in _TARGET.finditer(text):
        yield _place(next(group for group in found.groups() if group))
    yield from _disguised(text)
    for pattern in (_URL, _EMAIL, _SCHEME, _MENTION):
        for found in pattern.finditer(text):
            yield _place(found[0].rstrip(_ENDS))
        text = pattern.sub(" ", text) if pattern is not _MENTION else text
    for found in _HOST.finditer(text):
        if _ends_as_host(found):
            yield _place(found[0].rstrip(_ENDS))


def _disguised(text: str) -> Iterator[Place]:
    """
    Yield the links whose words name another host than they lead to.
    """
    for label, target in _LABELLED.findall(text):
        address = _address(target)
        named = [host_of(_address(found[0])) for found in _HOST.finditer(label) if _ends_as_host(found)]
        if named and not any(_related(name, address) for name in named):
            yield Place(target, address, lasting=True)


def _related(name: str, address: str) -> bool:
    """
    Say whether *name* is a host of the same house, or the file at the end of the path.
    """
    host = host_of(address)
    if f".{host}".endswith(f".{name}") or f".{name}".endswith(f".{host}"):
        return True
    return name.rpartition(".")[2] in _FILES and re.split(r"[/@:]", address)[-1].casefold() == name


def _ends_as_host(found: re.Match[str]) -> bool:
    return found[2].casefold() in _tops() and len(found[1]) <= LONGEST_HOST


def _place(spelling: str) -> Place:
    return Place(spelling, _address(spelling))


def _address(spelling: str) -> str:
    address = _BARE.sub("", spelling, count=1).rstrip(_ENDS)
    cut = _AFTER_HOST.search(address)
    host, rest = (address[: cut.start()], address[cut.start() :]) if cut else (address, "")
    return f"{host.casefold()}{rest}".rstrip("/")


@cache
def _tops() -> frozenset[str]:
    return frozenset(json.loads(TOP_DOMAINS.read_text("utf-8")))
