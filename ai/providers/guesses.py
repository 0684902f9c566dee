"""
What a value is likely meant to be, told by its name, looked up in a text.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from ai.dates import days
from ai.providers.cues import MILD
from ai.providers.extract import Source

ENOUGH = 15  # meaning-carrying words from which a text can be judged
MILDNESS = 0.2  # what a sign for a value that claims little counts beside others
HOSTILE = 0.6  # factor on the confidence in a text that tries to give orders
SUMMARY = 400  # characters of a summary whose schema sets no limit
_ASKING = (
    "please",
    "can you",
    "could you",
    "need",
    "want",
    "would like",
    "how ",
    "bitte",
    "können",
    "pouvez",
    "voudrais",
)
_ID = re.compile(r"#\d{2,}|\b[A-Z]{1,6}[-_]?\d[\w-]*\b|\b\d{5,}\b")
_EMAIL = re.compile(r"(?<![\w.+%-])[\w.+%-]{1,64}@(?:[\w-]{1,63}\.){1,8}[\w-]{1,63}")
_URL = re.compile(r"https?://[^\s<>\"')\]]+")
_PHONE = re.compile(r"\+\d[\d ()/-]{6,}\d")
_AMOUNT = re.compile(
    r"(?:[$€£]\s?)(\d{1,12}(?:[.,]\d{1,2})?)|(?<!\d)(\d{1,12}(?:[.,]\d{1,2})?)\s?(?:[$€£]|USD|EUR|GBP)"
)
_USUAL = {
    "the version": re.compile(r"\bversion\b|\bv?\d+\.\d+", re.IGNORECASE),
    "steps to reproduce": re.compile(r"reproduc|steps", re.IGNORECASE),
    "what was expected": re.compile(r"expect|should", re.IGNORECASE),
}
"""What a report usually has, and how to tell that it does."""
_SCALE_NAMES = ("priority", "urgency", "severity", "impact", "score", "rating", "heat", "churn", "risk", "level")
_CONFIDENT = (0.35, 0.6)
"""Confidence at no and what full coverage adds."""


def confidence(source: Source) -> float:
    """
    Return how much of the text a short extract holds; less when the text tries to give orders.
    """
    base, more = _CONFIDENT
    enough = min(1.0, sum(source.frequencies.values()) / ENOUGH)
    value = base + more * source.coverage(source.best(3)) * enough
    return round(min(value * (HOSTILE if source.hostile else 1), 0.95), 2)


def choice(offered: list[Any], name: str, source: Source) -> Any:
    """
    Return the offered value that the text speaks for most; None when it speaks for none.
    """
    texts = [value for value in offered if isinstance(value, str)]
    if "lang" in name.lower():
        spelled = (source.language, source.language_name.lower())
        return next((value for value in texts if value.lower() in spelled), None)
    said = {_flat(value) for value in source.fields.values()}
    if named := [value for value in texts if _flat(value) in said]:
        return named[0]
    scores = {value: _speaks_for(value, source) for value in texts}
    best = max(scores, key=lambda value: scores[value], default=None)
    return best if best is not None and scores[best] > 0 else None


def _speaks_for(value: str, source: Source) -> float:
    return sum(source.cue(word) for word in _words(value)) * (MILDNESS if value.lower() in MILD else 1)


def choices(offered: list[Any], source: Source) -> list[Any]:
    """
    Return up to three offered values the text speaks for, most first.
    """
    texts = [value for value in offered if isinstance(value, str)]
    scores = {value: sum(source.cue(word) for word in _words(value)) for value in texts}
    return sorted((value for value in texts if scores[value] > 0), key=lambda value: -scores[value])[:3]


def mildest(offered: list[Any]) -> Any:
    """
    Return the offered value that claims least.
    """
    mild = {str(value).lower(): value for value in offered if isinstance(value, str)}
    return next((mild[word] for word in MILD if word in mild), offered[0])


def truth(name: str, source: Source) -> bool:
    """
    Tell whether the text speaks for a yes to what *name* asks.
    """
    words = [word for word in _words(name) if word not in ("is", "has", "needs", "requires", "wants")]
    return sum(source.cue(word) for word in words) >= 2


def number(name: str, source: Source, part: Mapping[str, Any]) -> float | None:
    """
    Return the number *name* asks for; None when the text has none.
    """
    low = name.lower()
    if "confidence" in low or "certainty" in low or "probability" in low:
        return confidence(source) * (100 if part.get("maximum", 1) == 100 else 1)
    if any(word in low for word in _SCALE_NAMES):
        heat = min(1.0, (source.cue("high") + source.cue("angry")) / 8)
        bottom, top = part.get("minimum", 0), part.get("maximum", 1)
        return float(bottom + heat * (top - bottom))
    if any(word in low for word in ("amount", "price", "total", "sum", "value")):
        found = _AMOUNT.search(source.everything)
        return float((found[1] or found[2]).replace(",", ".")) if found else None
    value = source.fields.get(low, "")
    return float(value) if re.fullmatch(r"-?\d{1,12}(\.\d{1,6})?", value) else None


def strings(name: str, part: Mapping[str, Any], source: Source) -> Iterator[str]:
    """
    Yield texts for *name*, likeliest first.
    """
    low = name.lower()
    text = source.everything
    if part.get("format") in ("date", "date-time"):
        yield from _dates(text, part["format"])
        return
    if low in source.fields:
        yield source.fields[low]
    looked_up = _looked_up(low, part, source)
    yield from looked_up or ()
    if part.get("pattern"):
        yield from _found(part["pattern"], [*source.fields.values(), text])
    if looked_up is not None:
        return
    yield from _prose(low, part, source)


def _looked_up(low: str, part: Mapping[str, Any], source: Source) -> list[str] | None:
    """
    Return what must be found in the text, if *low* names such a thing; None otherwise.
    """
    text = source.everything
    if "lang" in low:
        short = part.get("maxLength", 99) <= 3 or "code" in low or "639" in str(part.get("description", ""))
        return [source.language if short else source.language_name, source.language]
    if part.get("format") == "email" or "email" in low:
        return _EMAIL.findall(text)
    if part.get("format") == "uri" or low.endswith(("url", "link")):
        return _URL.findall(text)
    if "phone" in low:
        return _PHONE.findall(text)
    if re.search(r"(^|_)(id|number|order|reference|ref|tracking|invoice|sku|ticket)$", low):
        return _ID.findall(text)
    if re.search(r"(^|_)(name|customer|company|contact|city|country|version)$", low):
        return []
    return None


def _prose(low: str, part: Mapping[str, Any], source: Source) -> Iterator[str]:
    limit = part.get("maxLength", SUMMARY)
    if any(word in low for word in ("title", "subject", "headline", "topic")):
        yield source.title
    if any(word in low for word in ("step", "action", "recommend", "suggest", "todo", "request", "ask", "need")):
        yield from source.best(1, _ASKING)
    if any(word in low for word in ("reason", "rationale", "because", "why", "explanation")) and (
        words := keywords(source)
    ):
        yield f"The text speaks of {', '.join(words[:3])}."
    if any(word in low for word in ("reply", "response", "draft", "answer")):
        yield _reply(source)
    told = str(part.get("description", "")).lower()
    brief = "one sentence" in told or "a sentence" in told
    yield _summary(source, 1 if brief or limit < 120 else 3, limit)
    yield source.title
    yield source.text.strip()


def _summary(source: Source, most: int, limit: int) -> str:
    for number_of in range(most, 0, -1):
        chosen = source.best(number_of)
        if sum(len(sentence) + 1 for sentence in chosen) <= limit:
            return " ".join(chosen)
    return " ".join(source.best(1))


def _reply(source: Source) -> str:
    about = f" about “{source.title}”" if source.title else ""
    asked = " ".join(source.best(1, _ASKING))
    return (
        f"Thank you for your message{about}. We read it as: {asked}" if asked else f"Thank you for your message{about}."
    )


def texts(name: str, source: Source) -> list[str]:
    """
    Return texts for a list called *name*.
    """
    low = name.lower()
    if any(word in low for word in ("tag", "label", "keyword", "topic", "component")):
        return keywords(source)
    if "missing" in low:
        return [name for name, present in _USUAL.items() if not present.search(source.everything)]
    if "question" in low:
        return [sentence for sentence in source.sentences if sentence.endswith("?")][:3]
    found = _looked_up(low.removesuffix("s"), {}, source)
    return list(dict.fromkeys(found)) if found is not None else source.best(3)


def keywords(source: Source) -> list[str]:
    """
    Return the words the text uses most, longest first among equals.
    """
    ranked = sorted(source.frequencies.items(), key=lambda item: (-item[1], -len(item[0]), item[0]))
    return [word for word, _ in ranked if len(word) > 3][:5]


def fit(text: str, limit: int | None) -> str:
    """
    Return *text* within *limit* characters, cut at a word.
    """
    text = text.strip()
    if limit is None or len(text) <= limit:
        return text
    if limit <= 1:
        return text[:limit]
    short = text[: limit - 1]
    word = short.rsplit(" ", 1)[0] if " " in short[limit // 2 :] else short
    return f"{word.rstrip(' ,;:-')}…"


def _dates(text: str, form: str) -> Iterator[str]:
    for _, choices_of in days(text):
        for year, month, day in choices_of:
            if year is not None:
                yield f"{year:04d}-{month:02d}-{day:02d}" + ("T00:00:00Z" if form == "date-time" else "")


def _found(pattern: str, places: list[str]) -> Iterator[str]:
    try:
        bare = re.compile(rf"(?<!\w)(?:{pattern.removeprefix('^').removesuffix('$')})(?!\w)")
    except re.error:
        return
    for place in places:
        if found := bare.search(place):
            yield found[0]


def _words(name: str) -> list[str]:
    return re.findall(r"[A-Za-z][a-z]*|[A-Z]+", name.replace("_", " ")) or [name]


def _flat(text: str) -> str:
    return "".join(char for char in text.lower() if char.isalnum())
