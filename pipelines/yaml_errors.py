"""
What a YAML parser complains about, in words that say how to mend it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from ruamel.yaml.error import MarkedYAMLError

from pipelines.places import Place

_BRACES = re.compile(r"(?:^|[:\-\[,])\s*(\{\{)")
_START = re.compile(r"found character '?(.+?)'? that cannot start any token")


def explained(error: MarkedYAMLError, places: Sequence[Place]) -> tuple[Place, str, str | None]:
    """
    Return place, message and hint; *places* are those of the problem and of what was being read.
    """
    for place in places:
        if braces := _BRACES.search(place.source):
            where = Place(place.file, place.line, braces.start(1) + 1, place.source)
            message = "a value that begins with {{ is a mapping in YAML"
            return where, message, "expressions are bare here: leave out {{ }}, and put the rest in quotes"
    problem, context = str(error.problem or ""), str(error.context or "")
    if "quoted scalar" in context:
        return places[-1], "the quote that begins here is never closed", None
    if start := _START.search(problem):
        character = start[1].strip("'\\")
        return places[0], f"a value cannot begin with {character!r}", "put it in quotes"
    return places[0], *_worded(problem, context)


def _worded(problem: str, context: str) -> tuple[str, str | None]:
    if "mapping values are not allowed" in problem:
        return "a ': ' that nobody expects here", "put a text that holds ': ' in quotes, or mend the indentation"
    if "could not find expected ':'" in problem or "expected ':'" in problem:
        return "this line has no ':' after its key", "write `key: value`"
    if "expected <block end>" in problem:
        return "this does not belong here", "indent it like the lines around it; quote a text as a whole or not at all"
    if "flow sequence" in context:
        return "the list that begins with '[' is never closed", None
    if "flow mapping" in context:
        return "the mapping that begins with '{' is never closed", None
    words = problem.splitlines()[0] if problem else "it cannot be read"
    return f"is not YAML: {words[:1].lower()}{words[1:]}", None
