"""
`pipelines.yaml` and what it includes, read into a declaration that knows where everything stands.

    loaded = load(Path("pipelines.yaml"))
    loaded.declaration          # None when there are errors
    loaded.findings             # each with file, line and column
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from penstock.secrets.references import PATTERN
from pipelines.declaration import Declaration
from pipelines.explaining import Explainer
from pipelines.findings import Finding, in_order, masked
from pipelines.including import KINDS, include
from pipelines.places import Keys, Places
from pipelines.reading import Read, read

_SECRET = re.compile(r"(?i)(token|secret|password|passwd|key)$")
_REFERENCE = re.compile(PATTERN)


@dataclass(frozen=True, slots=True, kw_only=True)
class Loaded:
    """
    A declaration as it was written.
    """

    declaration: Declaration | None
    """None when there are errors."""
    places: Places
    findings: list[Finding]
    root: Path
    """The folder of the main file; templates and schemas are below it."""
    text: str
    """The main file."""
    data: Mapping[str, Any] = field(default_factory=dict)
    """What was written, included files merged, before it was judged."""
    sound: Declaration | None = None
    """The declaration without its broken entries, so that the rest can be checked as well."""


def load(path: Path) -> Loaded:
    """
    Read the file *path* and what it includes. Never raises for what a person wrote.
    """
    found = read(path)
    include(found, path.parent)
    declaration, sound = _validated(found)
    if any(finding.family == "include" or finding.rule == "yaml/file" for finding in found.findings):
        sound = None
    findings = in_order(masked(found.findings, secrets_in_clear(found.data)))
    if any(finding.severity == "error" for finding in findings):
        declaration = None
    return Loaded(
        declaration=declaration,
        places=found.places,
        findings=findings,
        root=path.parent,
        text=found.text,
        data=found.data,
        sound=sound,
    )


def secrets_in_clear(data: Mapping[str, Any]) -> set[str]:
    """
    Return the texts under `connections` and `models` whose key says they are secret, and that are not references.
    """
    return _literals(data.get("connections"), "") | _literals(data.get("models"), "")


def _literals(data: Any, name: str) -> set[str]:
    if isinstance(data, Mapping):
        return set().union(
            *(_literals(value, name if _SECRET.search(name) else str(key)) for key, value in data.items())
        )
    if isinstance(data, list):
        return set().union(*(_literals(value, name) for value in data))
    if isinstance(data, str | int) and _SECRET.search(name) and not _REFERENCE.fullmatch(str(data)):
        return {str(data)} if len(str(data)) > 3 else set()  # shorter ones hide more than they keep
    return set()


def _validated(found: Read) -> tuple[Declaration | None, Declaration | None]:
    if not found.data:
        if not found.findings:
            found.findings.append(
                Finding(
                    place=found.places.start,
                    message="the file is empty",
                    hint="begin with `version: 1`",
                    rule="yaml/empty",
                )
            )
        return None, None
    try:
        declaration = Declaration.model_validate(found.data)
    except ValidationError as error:
        errors = error.errors(include_url=False)
        found.findings += Explainer(found.data, found.places, found.reported).findings(errors)
        return None, _sound(found, [detail["loc"] for detail in errors])
    return declaration, declaration


def _sound(found: Read, broken: Sequence[Keys]) -> Declaration | None:
    """
    Return the declaration without the entries that hold *broken* places; None when nothing can be saved.
    """
    if any(len(keys) == 1 and keys != ("version",) for keys in broken):
        return None  # a whole map may be missing, and everything would seem to lack its names
    left: dict[str, Any] = {name: dict(part) if isinstance(part, dict) else part for name, part in found.data.items()}
    for keys in broken:
        if keys[0] in KINDS and isinstance(left.get(str(keys[0])), dict):
            left[str(keys[0])].pop(keys[1], None)
        elif keys:
            left.pop(str(keys[0]), None)
    try:
        return Declaration.model_validate({**left, "version": 1})
    except ValidationError:
        return None
