"""
Templates are there, can be compiled, and use only what they are given.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from penstock.errors import Invalid
from penstock.expressions import ExpressionError, Template
from pipelines.declaration import Deliver, Section
from pipelines.findings import Finding
from pipelines.places import Keys
from pipelines.rules.expressions import answer_problems, event_problem, record_problem
from pipelines.rules.registry import rule
from pipelines.schema_paths import unknown_part
from pipelines.scopes import delivery_roots
from pipelines.suggestions import did_you_mean
from pipelines.survey import Survey


def _used(survey: Survey) -> Iterator[tuple[Keys, str]]:
    for keys, pipeline in survey.pipelines:
        yield (*keys, "ask", "template"), pipeline.ask.template
        for name, section in pipeline.context.sections.items():
            if section.template is not None:
                yield (*keys, "context", "sections", name, "template"), section.template
        for number, deliver in enumerate(pipeline.deliver):
            if deliver.template is not None:
                yield (*keys, "deliver", number, "template"), deliver.template


@rule("templates/missing")
def missing(survey: Survey) -> Iterator[Finding]:
    """
    Every template is a file in `templates/`.
    """
    for keys, name in _used(survey):
        found = survey.template(name)
        if isinstance(found, Invalid) and not isinstance(found, ExpressionError):
            near = name.removeprefix("templates/")
            hint = f"write {near!r}" if near in survey.known_templates else did_you_mean(name, survey.known_templates)
            yield survey.error(keys, f"there is no template {name!r} in 'templates'", hint)


@rule("templates/syntax")
def syntax(survey: Survey) -> Iterator[Finding]:
    """
    Every template can be compiled.
    """
    for _, name in _used(survey):
        found = survey.template(name)
        if isinstance(found, ExpressionError):
            yield survey.in_file(survey.templates_folder / name, found.line, found.message, found.hint)


@rule("templates/sections")
def sections(survey: Survey) -> Iterator[Finding]:
    """
    A prompt places every section once, whole, and in its user block.
    """
    for _, pipeline in survey.pipelines:
        prompt = survey.prompt(pipeline.ask.template)
        problems = prompt.problems(pipeline.context.sections) if prompt else []
        touched = {_named(problem.message) for problem in problems if problem.line > 1}
        for problem in problems:
            if problem.line > 1 or _named(problem.message) not in touched:
                path = survey.templates_folder / pipeline.ask.template
                word = _named(problem.message) if problem.line > 1 else ""
                yield survey.in_file(path, problem.line, problem.message, word=word)


def _named(message: str) -> str:
    """
    Return the first name in quotes.
    """
    return next(iter(re.findall(r"'(\w+)'", message)), "")


@rule("templates/unit")
def units(survey: Survey) -> Iterator[Finding]:
    """
    A section's template prints one `item`, from the fields that are there.
    """
    for _, pipeline in survey.pipelines:
        for section in pipeline.context.sections.values():
            template = survey.template(section.template) if section.template else None
            if not isinstance(template, Template):
                continue
            path = survey.templates_folder / str(section.template)
            for root in sorted(template.roots() - {"item"}):
                hint = "a section's template sees `item`"
                yield survey.in_file(path, template.line_of(root), f"it uses {root!r}", hint, word=root)
            yield from _in_unit(survey, section, template, path)


def _in_unit(survey: Survey, section: Section, template: Template, path: Path) -> Iterator[Finding]:
    lookup = survey.lookup(section.fetch) if section.fetch else None
    if lookup is None:
        return
    known = {name: field for name, field in lookup.fields.items() if name in (section.fields or lookup.fields)}
    schema = {"type": "object", "additionalProperties": False, "properties": known}
    for used in sorted(template.paths()):
        if used[0] == "item" and (gap := unknown_part(schema, used[1:])):
            name = used[1 + gap.index]
            message = f"an item of {section.fetch!r} has no field {name!r} here"
            hint = did_you_mean(name, gap.known) if gap.known else None
            yield survey.in_file(path, template.line_of("item"), message, hint, word=".".join(used))


@rule("templates/delivery")
def deliveries(survey: Survey) -> Iterator[Finding]:
    """
    A delivery's template uses names and fields that are there.
    """
    for keys, pipeline in survey.pipelines:
        for deliver in pipeline.deliver:
            template = survey.template(deliver.template) if deliver.template else None
            if isinstance(template, Template):
                yield from _in_delivery(survey, str(keys[1]), deliver, template)


def _in_delivery(survey: Survey, pipeline: str, deliver: Deliver, template: Template) -> Iterator[Finding]:
    path: Path = survey.templates_folder / str(deliver.template)
    roots = delivery_roots(survey, deliver)
    for root in sorted(template.roots() - set(roots)):
        yield survey.in_file(path, template.line_of(root), f"it uses {root!r}", did_you_mean(root, roots), word=root)
    for used in sorted(template.paths()):
        found = [*answer_problems(survey, pipeline, used)]
        if used[0] == "event" and (problem := event_problem(survey, pipeline, used[1:])):
            found.append(problem)
        if problem := record_problem(survey, deliver, used):
            found.append(problem)
        for message, hint in found:
            yield survey.in_file(path, template.line_of(used[0]), message, hint, word=".".join(used))
