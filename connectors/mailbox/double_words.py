"""
What an IMAP client says, taken apart (RFC 3501, section 4).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Union

Word = Union[bytes, "list[Word]"]
"""An atom, a string, or a list of words in parentheses."""

_LITERAL = re.compile(rb"\{(\d+)(\+?)\}\r?\n\Z")
_WORD = re.compile(rb'BODY(?:\.PEEK)?\[[^\]]*\](?:<[\d.]+>)?|"((?:[^"\\]|\\.)*)"|[()]|[^\s()"]+', re.IGNORECASE)
_ESCAPED = re.compile(rb"\\(.)")


def announced(line: bytes) -> tuple[int, bool] | None:
    """
    Return the bytes of the literal that *line* announces, and whether its sender waits to be told to go on.
    """
    found = _LITERAL.search(line)
    return (int(found[1]), not found[2]) if found else None


def words(pieces: Sequence[bytes]) -> list[Word]:
    """
    Return the words of a command: *pieces* are lines and, between them, literals. Raises `ValueError`.
    """
    open_lists: list[list[Word]] = [[]]
    for number, piece in enumerate(pieces):
        if number % 2:
            open_lists[-1].append(piece)
            continue
        for word in _scanned(_LITERAL.sub(b"", piece)):
            if word == b"(":
                open_lists.append([])
            elif word == b")":
                closed = open_lists.pop()
                open_lists[-1].append(closed)
            else:
                open_lists[-1].append(word[1:])
    if len(open_lists) != 1:
        raise ValueError("a list is not closed")
    return open_lists[0]


def _scanned(line: bytes) -> Iterator[bytes]:
    """
    Yield parentheses as they are, and every other word with a mark before it: a string may be a parenthesis.
    """
    for found in _WORD.finditer(line):
        if found[1] is not None:
            yield b"=" + _ESCAPED.sub(rb"\1", found[1])
        else:
            yield found[0] if found[0] in (b"(", b")") else b"=" + found[0]


def text(word: Word) -> str:
    """
    Return a word that must not be a list; raises `ValueError`.
    """
    if isinstance(word, list):
        raise ValueError("there is a list where a word belongs")  # noqa: TRY004  # it is the client's mistake
    return word.decode("utf-8", "replace")


def quoted(said: str) -> bytes:
    """
    Return a string as it is sent.
    """
    return b'"' + said.replace("\\", "\\\\").replace('"', '\\"').encode() + b'"'


def numbers(ranges: str, all_of_them: Sequence[int]) -> list[int]:
    """
    Return which of the ascending *all_of_them* lie in *ranges*, such as `1,4:7,9:*`; raises `ValueError`.
    """
    last = all_of_them[-1] if all_of_them else 0
    found: set[int] = set()
    for one in ranges.split(","):
        begin, _, end = one.partition(":")
        edges = sorted(last if edge == "*" else int(edge) for edge in (begin, end or begin))
        found |= {number for number in all_of_them if edges[0] <= number <= edges[1]}
    return sorted(found)
