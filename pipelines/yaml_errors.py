"""
What a YAML parser complains about, in words that say how to mend it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from ruamel.yaml.error import MarkedYAMLError

from pipelines.places import Place

BRACES = "braces/unquoted"
_SYNTAX = "syntax"
_BRACES = re.compile(r"(?:^|[:\-\[,])\s*(\{\{)")
_START = re.compile(r"found character '?(.+?)'? that cannot start any token")


def explained(error: MarkedYAMLError, places: Sequence[Place]) -> tuple[str, Place, str, str | None]:
    """
    Return rule, place, message and hint; *places* are those of the problem and of what was being read.
    """
    for place in places:
        if braces := _BRACES.search(place.source):
            where = Place(place.file, place.line, braces.start(1) + 1, place.source)
            message = "a value that begins with {{ is a mapping in YAML"
            return BRACES, where, message, "expressions are bare here: leave out {{ }}, and put the rest in quotes"
    problem, context = str(error.problem or ""), str(error.context or "")
    if "quoted scalar" in context:
        return _SYNTAX, places[-1], "the quote that begins here is never closed", None
    if start := _START.search(problem):
        character = start[1].strip("'\\")
        return _SYNTAX, places[0], f"a value cannot begin with {character!r}", "put it in quotes"
    if "flow sequence" in context or "flow mapping" in context:
        what = "list that begins with '['" if "sequence" in context else "mapping that begins with '{'"
        return _SYNTAX, places[-1], f"the {what} is never closed", None
    return _SYNTAX, places[0], *_worded(problem)


def _worded(problem: str) -> tuple[str, str | None]:
    if "mapping values are not allowed" in problem:
        return "a ': ' that nobody expects here", "put a text that holds ': ' in quotes, or mend the indentation"
    if "could not find expected ':'" in problem or "expected ':'" in problem:
        return "this line has no ':' after its key", "write `key: value`"
    if "expected <block end>" in problem:
        return "this does not belong here", "indent it like the lines around it; quote a text as a whole or not at all"
    words = problem.splitlines()[0] if problem else "it cannot be read"
    return f"is not YAML: {words[:1].lower()}{words[1:]}", None
