"""
What a text says, by counting words: its sentences that carry most, its language, its cues.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from ai.providers.cues import BOSSY, CUES, GREETINGS, LANGUAGES, SCRIPTS, STOPWORDS

_FRAME = re.compile(r"^<([a-z][a-z0-9_]*)([^>\n]*)>\n(.*?)\n</\1\b[^>\n]*>[ \t]*$", re.MULTILINE | re.DOTALL)
_FIELD = re.compile(r"^([a-zA-Z][\w .-]{0,40}?):(?:[ \t]+(.*))?$")
_SENTENCE = re.compile(r"(?<=[.!?\u3002\uff01\uff1f])[\"')\]]*\s+|(?<=[\u3002\uff01\uff1f])|\n{2,}|\n(?=[-*•>#])")
_OPENING = re.compile(
    r"^(?:hi|hello|hey|dear|bonjour|hallo|hola|guten tag|sehr geehrte)\b[^,.!\n]{0,40}[,!]\s*(?=\S)", re.IGNORECASE
)
_LEFT_OUT = re.compile(r"^\[[^\]\n]{0,80} left out[^\]\n]{0,20}\]$", re.MULTILINE)
_WORDS = re.compile(r"[^\W\d_]{2,}")
_ALL_STOPWORDS = frozenset(word for words in STOPWORDS.values() for word in words.split())
_TITLES = ("subject", "title", "headline")
_PROSE = 40  # characters from which a field holds prose rather than a value
_LONGEST = 400  # characters of one sentence; longer ones are log output, not prose
_MOST_SENTENCES = 400  # looked at; the rest of a huge text changes little


@dataclass(frozen=True)
class Source:
    """
    The section a question is mostly about, taken apart.
    """

    fields: dict[str, str]
    text: str
    """Its prose: what stands in long fields, or all of it."""

    @classmethod
    def of(cls, user: str) -> Source:
        """
        Take the last framed section of a prompt's *user* text; what matters most is put last.
        """
        framed = _FRAME.findall(user)
        body = _LEFT_OUT.sub("", framed[-1][2] if framed else user)
        fields = _fields(body)
        prose = [value for value in fields.values() if len(value) >= _PROSE]
        titles = [fields[name] for name in _TITLES if fields.get(name)]
        rest = [value for value in fields.values() if value not in titles]
        return cls(fields=fields, text="\n\n".join(prose) or ("\n\n".join(rest or titles) if fields else body))

    @cached_property
    def title(self) -> str:
        """
        Return what the record calls itself; empty when it does not.
        """
        return next((self.fields[name] for name in _TITLES if self.fields.get(name)), "")

    @cached_property
    def sentences(self) -> list[str]:
        """
        Split the prose, without greetings and signatures.
        """
        rough = (_opened(" ".join(part.split())) for part in _SENTENCE.split(self.text))
        return [part for part in rough if part and not _idle(part)][:_MOST_SENTENCES]

    @cached_property
    def frequencies(self) -> Counter[str]:
        """
        Count the words that carry meaning; those of the title count more.
        """
        return Counter(content_words(self._honest)) + Counter(content_words(self.title) * 2)

    @cached_property
    def everything(self) -> str:
        """
        Return title and prose as one text.
        """
        return f"{self.title}\n\n{self.text}"

    @cached_property
    def language(self) -> str:
        """
        Return the ISO 639-1 code of the language the prose is most likely in.
        """
        for code, first, last in SCRIPTS:
            if sum(first <= char <= last for char in self.text) * 5 > len(self.text):
                return code
        words = Counter(re.findall(r"[^\W\d_]+", self.everything.lower()))
        scores = {code: sum(words[word] for word in known.split()) for code, known in STOPWORDS.items()}
        return max(scores, key=lambda code: scores[code])

    @property
    def language_name(self) -> str:
        """
        Return the language in English.
        """
        return LANGUAGES[self.language]

    def best(self, most: int, wanted: Sequence[str] = ()) -> list[str]:
        """
        Return up to *most* sentences that say most, in their order; where some hold *wanted* words, of those.
        """
        asked = [any(word in sentence.lower() for word in wanted) for sentence in self.sentences]
        known = [index for index in range(len(self.sentences)) if asked[index] or not any(asked)]
        scores = {index: self._score(index, self.sentences[index]) for index in known}
        ranked = sorted((index for index, score in scores.items() if score > 0), key=lambda i: (-scores[i], i))
        return [self.sentences[index] for index in sorted(ranked[:most])]

    def coverage(self, chosen: Sequence[str]) -> float:
        """
        Return which share of the meaning-carrying words *chosen* sentences hold, 0 to 1.
        """
        words = {word for sentence in chosen for word in content_words(sentence)}
        total = sum(self.frequencies.values())
        return sum(self.frequencies[word] for word in words) / total if total else 0.0

    def cue(self, value: str) -> int:
        """
        Count what speaks for *value* in the text.
        """
        own = {word for word in _WORDS.findall(value.lower()) if word not in _ALL_STOPWORDS}
        words = own | {word for name in own | {value.lower()} for word in CUES.get(name, "").split()}
        return sum(min(self._lexicon[word], 3) * (2 if word in own else 1) for word in words)

    @cached_property
    def hostile(self) -> bool:
        """
        Tell whether the text tries to give a model orders.
        """
        return any(_bossy(sentence) for sentence in self.sentences)

    @cached_property
    def _lexicon(self) -> Counter[str]:
        return Counter(_WORDS.findall(f"{self.title} {self._honest}".lower()))

    @cached_property
    def _honest(self) -> str:
        return " ".join(sentence for sentence in self.sentences if not _bossy(sentence))

    def _score(self, index: int, sentence: str) -> float:
        words = content_words(sentence)
        if not words or len(sentence) > _LONGEST or _bossy(sentence):
            return 0.0
        weight: float = sum(self.frequencies[word] for word in set(words)) / math.pow(4 + len(words), 0.6)
        first = 1.6 if index == 0 else 1.0 + 0.3 / (1 + index)
        return weight * first


def content_words(text: str) -> list[str]:
    """
    Return the words of *text* that carry meaning, in lower case.
    """
    return [word for word in _WORDS.findall(text.lower()) if word not in _ALL_STOPWORDS]


def _fields(body: str) -> dict[str, str]:
    found: dict[str, str] = {}
    name = ""
    for line in body.splitlines():
        match = _FIELD.match(line)
        if match and (not name or len(match[1].split()) == 1):
            name = match[1].strip().lower()
            found.setdefault(name, "")
            line = match[2] or ""  # noqa: PLW2901 - what follows the name belongs to it
        if name:
            found[name] = f"{found[name]}\n{line}".strip("\n") if line or found[name] else found[name]
    return {key: value.strip() for key, value in found.items()}


def _opened(sentence: str) -> str:
    rest = _OPENING.sub("", sentence)
    return rest if rest == sentence else rest[:1].upper() + rest[1:]


def _idle(sentence: str) -> bool:
    low = sentence.lower().lstrip("-*> ")
    short = len(sentence) < 25
    return not low or sentence.startswith(">") or (short and low.startswith(GREETINGS))


def _bossy(sentence: str) -> bool:
    low = sentence.lower()
    return sum(word in low for word in BOSSY) >= 2 or "previous instructions" in low
