"""
Where a text may be cut: paragraphs, then sentences, then words, then inside endless words.

Every cut stands where o200k begins a new token whatever comes next: after a line end, or before a
space. So the tokens of pieces add up to the tokens of the text they make, exactly. The one exception,
a break inside a word without end, brings its own line end along.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Sequence
from functools import lru_cache
from itertools import pairwise
from typing import NamedTuple

WHOLE = 160  # characters up to which a paragraph or sentence is one piece
WHOLE_RECORD = 600  # characters up to which a record is one piece
BLOCK = 4_000  # characters from which a line is looked at in parts, so that only the needed ends are read
_ENDLESS = 300  # characters from which a word is broken
_ENDLESS_EDGE = 120  # the same in the first sentence, which a small floor may have to cut
_STRIDE = 48  # characters of a broken word's pieces
_STRIDE_EDGE = 24

_SENTENCE = re.compile(r"[^\n]+?(?:[.!?…]+[\"')\]\u00bb\u201d\u2019]*(?=[ \t])|\n+|\Z)")
_WORD = re.compile(r"[ \t]*[^ \t\n]+\n*|[ \t]*\n+")


class Piece(NamedTuple):
    """
    A stretch of text that is kept or left out as one.
    """

    text: str
    """As printed when something else is cut: a broken word's piece ends its line."""
    chars: int
    """Characters of the original."""


class Part(NamedTuple):
    """
    What is refined into pieces at once: a line, a block of a long line, or a whole record.
    """

    text: str
    whole: int
    """Characters up to which it is one piece."""
    broken: bool = False
    """It ends in the middle of a word."""


def parts(units: Sequence[str], *, records: bool, backwards: bool = False) -> Iterator[Part]:
    """
    Divide the body that *units* make into parts, only as far as they are asked for.
    """
    for unit in reversed(units) if backwards else units:
        if records and len(unit) <= WHOLE_RECORD:
            yield Part(unit, WHOLE_RECORD)
            continue
        for line in _lines_backwards(unit) if backwards else _lines(unit):
            blocks = list(_blocks(line))
            yield from reversed(blocks) if backwards else blocks


def _lines(text: str) -> Iterator[str]:
    start = 0
    while start < len(text):
        end = text.find("\n", start)
        end = len(text) if end < 0 else end
        while end < len(text) and text[end] == "\n":
            end += 1
        yield text[start:end]
        start = end


def _lines_backwards(text: str) -> Iterator[str]:
    end = len(text)
    while end > 0:
        ink = end
        while ink > 0 and text[ink - 1] == "\n":
            ink -= 1
        start = text.rfind("\n", 0, ink) + 1
        yield text[start:end]
        end = start


def refine(part: Part, *, first: bool = False, last: bool = False) -> list[Piece]:
    """
    Divide a part into pieces; the very *first* or *last* sentence of the body down to words.
    """
    if len(part.text) <= part.whole and not (first or last):
        return [_piece(part.text, broken=part.broken)]
    sentences = [sentence for line in _lines(part.text) for sentence in _sentences(line)]
    pieces: list[Piece] = []
    for place, sentence in enumerate(sentences):
        edge = (first and place == 0) or (last and place == len(sentences) - 1)
        broken = part.broken and place == len(sentences) - 1
        if len(sentence) <= WHOLE and not edge:
            pieces.append(_piece(sentence, broken=broken))
        else:
            pieces += _words(sentence, edge=edge, broken=broken)
    return pieces


def _piece(text: str, *, broken: bool) -> Piece:
    return Piece(f"{text}\n" if broken else text, len(text))


def _blocks(line: str) -> Iterator[Part]:
    start = 0
    while len(line) - start > BLOCK:
        end = line.rfind(" ", start + 1, start + BLOCK)
        while end > start and line[end - 1] == " ":
            end -= 1
        broken = end <= start
        if broken:
            end = _steady(line, start + BLOCK)
        yield Part(line[start:end], WHOLE, broken)
        start = end
    if start < len(line):
        yield Part(line[start:], WHOLE)


def _sentences(line: str) -> list[str]:
    return _SENTENCE.findall(line) if len(line) > WHOLE or "." in line or "?" in line or "!" in line else [line]


def _words(sentence: str, *, edge: bool, broken: bool) -> list[Piece]:
    pieces: list[Piece] = []
    endless, stride = (_ENDLESS_EDGE, _STRIDE_EDGE) if edge else (_ENDLESS, _STRIDE)
    words = _WORD.findall(sentence)
    for place, word in enumerate(words):
        cut_off = broken and place == len(words) - 1
        pieces += _clauses(word, stride, broken=cut_off) if len(word) > endless else [_piece(word, broken=cut_off)]
    return pieces


def _clauses(word: str, stride: int, *, broken: bool) -> list[Piece]:
    core = word.rstrip("\n")
    ends = (match.end() for match in _clause(stride).finditer(core))
    cuts = sorted({0, *(_steady(core, end) for end in ends), len(core)})
    pieces = [Piece(core[start:end] + "\n", end - start) for start, end in pairwise(cuts)]
    pieces[-1] = _piece(core[cuts[-2] :] + word[len(core) :], broken=broken)
    return pieces


@lru_cache(maxsize=2)
def _clause(stride: int) -> re.Pattern[str]:
    ends = "\u3002\uff01\uff1f\uff1b\uff0c\u3001"  # full stop, exclamation, question, semicolon, commas of CJK
    return re.compile(rf"[ \t]*[^{ends}]{{1,{stride}}}[{ends}]*|[ \t]*[{ends}]{{1,{stride}}}")


def _steady(text: str, place: int) -> int:
    """
    Return the first place from *place* on where a new line may begin without breaking a character.
    """
    while place < len(text) and (
        text[place] in "/ \t\n"
        or unicodedata.category(text[place])[0] == "M"
        or "\U0001f3fb" <= text[place] <= "\U0001f3ff"
    ):
        place += 1
    return place
