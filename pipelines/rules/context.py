"""
Sections say where their data comes from, and their tokens fit.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pipelines.declaration import Section
from pipelines.findings import Finding
from pipelines.framing import Frame
from pipelines.places import Keys
from pipelines.rules.registry import rule
from pipelines.schema_paths import kinds, part_at, unknown_part
from pipelines.suggestions import did_you_mean
from pipelines.survey import Survey

RESERVED = ("context", "event", "output", "answer", "record", "pipeline", "item", "loop", "true", "false", "none")
_DIGITS = "0" * 12


def _sections(survey: Survey) -> Iterator[tuple[Keys, Section]]:
    for keys, pipeline in survey.pipelines:
        for name, section in pipeline.context.sections.items():
            yield (*keys, "context", "sections", name), section


@rule("context/name")
def names(survey: Survey) -> Iterator[Finding]:
    """
    A section's name is not one that means something else.
    """
    for keys, _ in _sections(survey):
        if keys[-1] in RESERVED:
            yield survey.error_at_key(keys, f"a section cannot be called {keys[-1]!r}", "the name means something else")


@rule("context/source")
def sources(survey: Survey) -> Iterator[Finding]:
    """
    A section has exactly one of `from` and `fetch`, and `by` with `fetch`.
    """
    for keys, section in _sections(survey):
        if section.from_ is None and section.fetch is None:
            yield survey.error_at_key(keys, f"section {keys[-1]!r} has no data", "give it `from` or `fetch`")
        elif section.from_ is not None and section.fetch is not None:
            yield survey.error_at_key((*keys, "fetch"), f"section {keys[-1]!r} has both 'from' and 'fetch'", "keep one")
        elif section.fetch is not None and section.by is None:
            hint = "say which record: for example `by: event.subject`"
            yield survey.error_at_key((*keys, "fetch"), f"section {keys[-1]!r} has 'fetch' without 'by'", hint)
        elif section.fetch is None and section.by is not None:
            yield survey.error_at_key((*keys, "by"), f"section {keys[-1]!r} has 'by' without 'fetch'", "leave it out")


@rule("context/field")
def fields(survey: Survey) -> Iterator[Finding]:
    """
    The fields a section prints are there.
    """
    for keys, section in _sections(survey):
        yield from _fields(survey, keys, section)


def _fields(survey: Survey, keys: Keys, section: Section) -> Iterator[Finding]:
    for number, name in enumerate(section.fields or ()):
        for schema in _printed(survey, str(keys[1]), section):
            path = (name,) if name in schema.get("properties", {}) else tuple(name.split("."))
            if gap := unknown_part(schema, path):
                source = section.fetch or section.from_
                if not gap.known:
                    yield survey.error_at_key((*keys, "fields"), f"{source!r} has no fields", "leave 'fields' out")
                    return
                hint = did_you_mean(name, gap.known)
                yield survey.error((*keys, "fields", number), f"{source!r} has no field {name!r}", hint)
                break


def _printed(survey: Survey, pipeline: str, section: Section) -> Iterator[dict[str, Any]]:
    """
    Yield the schemas of what a section prints, as far as they are known.
    """
    if section.from_ is not None and section.fetch is not None:
        return  # which of them counts is not clear
    lookup = survey.lookup(section.fetch) if section.fetch else None
    if lookup is not None:
        yield {"type": "object", "additionalProperties": False, "properties": dict(lookup.fields)}
    expression = survey.expression(section.from_)
    if expression is None or len(expression.paths) != 1 or expression.text.strip() != ".".join(*expression.paths):
        return
    (path,) = expression.paths
    for schema in survey.event_data(survey.declaration.pipelines[pipeline]).values():
        part = part_at(schema, path[2:]) if path[:2] == ("event", "data") else None
        if part is not None and "array" not in kinds(part):
            yield dict(part)


@rule("context/newest")
def bounds(survey: Survey) -> Iterator[Finding]:
    """
    `newest` and `first` bound lists, and exclude each other.
    """
    for keys, section in _sections(survey):
        given = [name for name in ("newest", "first") if getattr(section, name) is not None]
        if len(given) > 1:
            yield survey.error_at_key(
                (*keys, "first"), f"section {keys[-1]!r} has both 'newest' and 'first'", "keep one"
            )
        lookup = survey.lookup(section.fetch) if section.fetch else None
        if given and lookup is not None and not lookup.many:
            yield survey.error_at_key(
                (*keys, given[0]), f"{section.fetch!r} gives one record", f"leave out {given[0]!r}"
            )


@rule("context/floor")
def floors(survey: Survey) -> Iterator[Finding]:
    """
    What the sections must keep fits into the context's tokens.
    """
    for keys, pipeline in survey.pipelines:
        total = sum(section.tokens.floor for section in pipeline.context.sections.values())
        if total > pipeline.context.tokens:
            message = f"the sections must keep {total:,} tokens, and there are {pipeline.context.tokens:,}"
            yield survey.error((*keys, "context", "tokens"), message, "raise it, or lower the floors of sections")


@rule("context/ceiling")
def ceilings(survey: Survey) -> Iterator[Finding]:
    """
    A section's ceiling leaves room for more than its frame.
    """
    for keys, section in _sections(survey):
        ceiling = section.tokens.ceiling
        frame = Frame(str(keys[-1]), "" if section.trusted else _DIGITS).tokens
        if ceiling is not None and ceiling <= frame:
            message = f"the frame of {keys[-1]!r} alone takes {frame} tokens, so nothing fits into {ceiling}"
            yield survey.error((*keys, "tokens"), message, "raise it, or leave the section out")
