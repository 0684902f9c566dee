"""
What `check` has to say: findings with their place, and how they are shown.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import orjson

from pipelines.places import Place

Form = Literal["text", "json", "github", "sarif"]

WIDEST = 140  # characters of a source line that are shown
_LEAD = 40  # characters kept before the caret when a line is longer
_SARIF = "https://json.schemastore.org/sarif-2.1.0.json"
_DOUBTFUL = re.compile(
    r"(?i)((?:token|secret|password|passwd|api_?key|private_?key)[\"']?\s*[:=]\s*[\[{]?\s*[\"']?)(?!\$\{)([^\s\"',\]}#]{4,})"
)
"""What follows a word like `token`, unless it is a reference."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """
    One thing that is wrong, or worth knowing.
    """

    severity: Literal["error", "note"] = "error"
    place: Place
    message: str
    hint: str | None = None
    """How to mend it."""
    rule: str
    """`family/rule`."""

    @property
    def family(self) -> str:
        """
        The group of rules it comes from.
        """
        return self.rule.partition("/")[0]


def in_order(findings: Iterable[Finding]) -> list[Finding]:
    """
    Return *findings* by place, each once.
    """
    unique = dict.fromkeys(findings)
    return sorted(unique, key=lambda found: (found.place, found.severity, found.rule, found.message))


def masked(findings: Iterable[Finding], secrets: Collection[str]) -> list[Finding]:
    """
    Return *findings* in which no text of *secrets* can be read, nor what looks like one.
    """
    hidden = sorted((text for text in secrets if text), key=len, reverse=True)

    def mask(text: str) -> str:
        for secret in hidden:
            text = text.replace(secret, "***")
        return text

    def line(place: Place) -> Place:
        before, whole = (
            _DOUBTFUL.sub(r"\1***", mask(text)) for text in (place.source[: place.column - 1], place.source)
        )
        return replace(place, source=whole, caret=len(before) + 1)

    return [
        replace(found, message=mask(found.message), hint=found.hint and mask(found.hint), place=line(found.place))
        for found in findings
    ]


def as_text(findings: Iterable[Finding]) -> str:
    """
    Return findings for people: `file:line:column: message`, the line, a caret, how to mend it.
    """
    return "\n".join(_block(found) for found in findings)


def _block(found: Finding) -> str:
    note = "note: " if found.severity == "note" else ""
    lines = [f"{found.place}: {note}{found.message}", *_shown(found.place)]
    if found.hint:
        lines.append(f"    {found.hint}")
    return "\n".join(lines) + "\n"


def _shown(place: Place) -> list[str]:
    text = "".join(char if char.isprintable() else " " for char in place.source)
    if not text.strip():
        return []
    column = place.caret or place.column
    start = max(0, column - 1 - _LEAD) if len(text) > WIDEST else 0
    part = text[start : start + WIDEST].rstrip()
    gutter = f"{place.line:>5} | "
    caret = " " * min(column - 1 - start, len(part))
    return [f"{gutter}{part}", f"{' ' * 5} | {caret}^"]


def as_data(found: Finding) -> dict[str, Any]:
    """
    Return one finding as JSON data.
    """
    return {
        "severity": found.severity,
        "rule": found.rule,
        "file": found.place.file,
        "line": found.place.line,
        "column": found.place.column,
        "message": found.message,
        "hint": found.hint,
    }


def as_github(findings: Iterable[Finding]) -> str:
    """
    Return workflow commands that annotate a pull request.
    """
    return "\n".join(_command(found) for found in findings)


def _command(found: Finding) -> str:
    kind = "error" if found.severity == "error" else "notice"
    place = f"file={_property(found.place.file)},line={found.place.line},col={found.place.column}"
    said = f"{found.message}\n{found.hint}" if found.hint else found.message
    return f"::{kind} {place},title={_property(found.rule)}::{_escaped(said)}"


def _escaped(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _escaped(text).replace(":", "%3A").replace(",", "%2C")


def as_sarif(findings: Sequence[Finding]) -> str:
    """
    Return a SARIF 2.1.0 log, as code scanning reads it.
    """
    rules = sorted({found.rule for found in findings})
    driver = {"name": "penstock", "rules": [{"id": rule} for rule in rules]}
    run = {"tool": {"driver": driver}, "columnKind": "unicodeCodePoints", "results": [_result(f) for f in findings]}
    return _json({"$schema": _SARIF, "version": "2.1.0", "runs": [run]})


def _result(found: Finding) -> dict[str, Any]:
    region = {"startLine": found.place.line, "startColumn": found.place.column}
    location = {"artifactLocation": {"uri": found.place.file}, "region": region}
    return {
        "ruleId": found.rule,
        "level": "error" if found.severity == "error" else "note",
        "message": {"text": f"{found.message} ({found.hint})" if found.hint else found.message},
        "locations": [{"physicalLocation": location}],
    }


def as_json(findings: Iterable[Finding], costs: Sequence[Mapping[str, Any]] = ()) -> str:
    """
    Return findings and costs as JSON.
    """
    return _json({"version": 1, "findings": [as_data(found) for found in findings], "costs": list(costs)})


def _json(data: Mapping[str, Any]) -> str:
    return orjson.dumps(data, option=orjson.OPT_INDENT_2).decode()
