"""
The rules of `check`, by name. A rule is a function from a survey to findings.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import replace

from pipelines.findings import Finding
from pipelines.survey import Survey

Rule = Callable[[Survey], Iterable[Finding]]

RULES: dict[str, Rule] = {}


def rule(name: str) -> Callable[[Rule], Rule]:
    """
    Register a rule as `family/name`.
    """

    def register(function: Rule) -> Rule:
        assert name not in RULES, name
        RULES[name] = function
        return function

    return register


def apply(survey: Survey, off: Collection[str] = ()) -> Iterator[Finding]:
    """
    Yield what every rule finds, but for the families in *off*.
    """
    for name, function in RULES.items():
        if name.partition("/")[0] not in off:
            for found in function(survey):
                yield replace(found, rule=name)
