"""
Expressions can be compiled, and read only what is there.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from penstock.expressions import ExpressionError, compile_expression
from pipelines.declaration import Deliver
from pipelines.findings import Finding
from pipelines.rules.registry import rule
from pipelines.schema_paths import Unknown, unknown_part
from pipelines.scopes import ANSWER, BURST, Written, expressions, section_of
from pipelines.suggestions import did_you_mean
from pipelines.survey import ENVELOPE, Survey

_WHY = {
    "record": "this action re-reads no record",
    "output": "it is known only when the model has answered",
}


@rule("expressions/syntax")
def syntax(survey: Survey) -> Iterator[Finding]:
    """
    Every expression can be compiled.
    """
    for written in expressions(survey):
        try:
            if not _in_braces(written.text):
                compile_expression(written.text)
        except ExpressionError as error:
            place = survey.places.within(written.keys, error.column)
            message, _, known = error.message.partition("; there are ")
            word = next(iter(re.findall(r"'(\w+)'", message)), "")
            hint = did_you_mean(word, known.split(", ")) if known else error.hint
            yield Finding(place=place, message=f"{written.keys[-1]!r}: {message}", hint=hint, rule="")


@rule("braces/quoted")
def braces(survey: Survey) -> Iterator[Finding]:
    """
    Expressions are bare.
    """
    for written in expressions(survey):
        if _in_braces(written.text):
            hint = "leave out {{ }}: the value is an expression already"
            yield survey.error(written.keys, f"{written.keys[-1]!r} is written without braces", hint)


def _in_braces(text: str) -> bool:
    return text.lstrip().startswith(("{{", "{%"))


@rule("expressions/name")
def names(survey: Survey) -> Iterator[Finding]:
    """
    Every expression starts from names it may see.
    """
    for written in expressions(survey):
        expression = survey.expression(written.text)
        for root in sorted(expression.roots - set(written.roots) if expression else ()):
            message = f"{written.keys[-1]!r} cannot see {root!r}"
            yield survey.at_path(written.keys, [root], message, _why(written, root))


def _why(written: Written, root: str) -> str:
    if written.keys[-1] == "record" and root in ("output", "answer"):
        return "the model must not choose where its answer goes: name a field of the event"
    if written.keys[-1] == "by" and written.pipeline and root not in _WHY:
        return f"{did_you_mean(root, written.roots)} (a section sees the sections above it)"
    return _WHY.get(root) or did_you_mean(root, written.roots)


@rule("expressions/event-field")
def event_fields(survey: Survey) -> Iterator[Finding]:
    """
    Fields of the event are among those its connector declares.
    """
    for written in expressions(survey):
        expression = survey.expression(written.text)
        for path in sorted(expression.paths if expression and written.pipeline else ()):
            early = written.keys[2] in ("trigger", "who")
            if path[0] == "event" and (found := event_problem(survey, str(written.pipeline), path[1:], early=early)):
                yield survey.at_path(written.keys, path, *found)


def event_problem(
    survey: Survey, pipeline: str, path: tuple[str, ...], *, early: bool = False
) -> tuple[str, str] | None:
    """
    Return message and hint when the events of *pipeline* have no field at *path*.

    *early* is where it is judged before it joins a burst.
    """
    if path[:1] == ("burst",):
        return _burst_problem(path, early=early)
    if path and path[0] not in ENVELOPE:
        known = ["data." + name for name in _data_fields(survey, pipeline)]
        moved = next((name for name in known if name.removeprefix("data.") == path[0]), None)
        hint = f"did you mean 'event.{moved}'?" if moved else did_you_mean(path[0], ENVELOPE)
        return f"an event has no {path[0]!r}", hint
    if path[:1] != ("data",):
        return None
    schemas = survey.event_data(survey.declaration.pipelines[pipeline])
    lacking = {kind: gap for kind, schema in schemas.items() if (gap := unknown_part(schema, path[1:]))}
    if not lacking:
        return None
    kind, gap = next(iter(lacking.items()))
    return _gap(("data", *path[1:]), gap, 1, "event", kind)


def _burst_problem(path: tuple[str, ...], *, early: bool) -> tuple[str, str] | None:
    if early:
        return "'event.burst' is not known here: the event is judged before it joins one", "use `event.data.changed`"
    if len(path) > 1 and path[1] not in BURST:
        return f"'event.burst' has no field {path[1]!r}", did_you_mean(path[1], BURST)
    return None


def _data_fields(survey: Survey, pipeline: str) -> set[str]:
    schemas = survey.event_data(survey.declaration.pipelines[pipeline]).values()
    return {name for schema in schemas for name in schema.get("properties", {})}


def _gap(path: tuple[str, ...], gap: Unknown, start: int, root: str, of: str) -> tuple[str, str]:
    name, above = path[start + gap.index], ".".join([root, *path[: start + gap.index]])
    if not gap.known:
        return f"{above!r} of {of!r} has no fields, so no {name!r}", "leave it out"
    return f"{above!r} of {of!r} has no field {name!r}", did_you_mean(name, gap.known)


@rule("expressions/answer-field")
def answer_fields(survey: Survey) -> Iterator[Finding]:
    """
    Fields of the answer are in its schema.
    """
    for written in expressions(survey):
        expression = survey.expression(written.text)
        for path in sorted(expression.paths if expression else ()):
            for found in answer_problems(survey, written.pipeline, path):
                yield survey.at_path(written.keys, path, *found)


def answer_problems(survey: Survey, pipeline: str | None, path: tuple[str, ...]) -> Iterable[tuple[str, str]]:
    """
    Yield message and hint for a path from `output` or `answer` that leads nowhere.
    """
    if path[0] == "answer" and len(path) > 1 and path[1] not in ANSWER:
        yield f"'answer' has no field {path[1]!r}", did_you_mean(path[1], ANSWER)
    if path[0] == "output" and pipeline is not None:
        name = survey.declaration.pipelines[pipeline].ask.output
        schema = survey.answer(name)
        if schema is not None and schema.get("type") == "object" and (gap := unknown_part(schema, path[1:])):
            yield _gap(path, gap, 1, "", name) if gap.index else _top(path[1], gap, name)


def _top(field: str, gap: Unknown, name: str) -> tuple[str, str]:
    return f"the answer {name!r} has no field {field!r}", did_you_mean(field, gap.known)


@rule("expressions/record-field")
def record_fields(survey: Survey) -> Iterator[Finding]:
    """
    Fields of the record are among those the action's lookup returns.
    """
    for written in expressions(survey):
        expression = survey.expression(written.text)
        for path in sorted(expression.paths if expression and written.deliver else ()):
            if written.deliver and (found := record_problem(survey, written.deliver, path)):
                yield survey.at_path(written.keys, path, *found)


def record_problem(survey: Survey, deliver: Deliver, path: tuple[str, ...]) -> tuple[str, str] | None:
    """
    Return message and hint when a path from `record` leads nowhere.
    """
    lookup = survey.reads(deliver.to) if path[0] == "record" and len(path) > 1 else None
    return _field_problem("record", path[1:], lookup.fields) if lookup else None


@rule("expressions/section-field")
def section_fields(survey: Survey) -> Iterator[Finding]:
    """
    Fields of an earlier section, in `by`, are among those its lookup returns.
    """
    for written in expressions(survey):
        expression = survey.expression(written.text) if written.keys[-1] == "by" else None
        for path in sorted(expression.paths if expression else ()):
            section = section_of(survey, str(written.pipeline), path[0])
            lookup = survey.lookup(section.fetch) if section and section.fetch else None
            if lookup is None or path[0] not in written.roots or len(path) == 1:
                continue
            if lookup.many:
                yield survey.error(
                    written.keys, f"{path[0]!r} is a list of records", f"take one: {path[0]}[0].{path[1]}"
                )
            elif found := _field_problem(path[0], path[1:], lookup.fields):
                yield survey.at_path(written.keys, path, *found)


def _field_problem(root: str, path: tuple[str, ...], fields: Mapping[str, Any]) -> tuple[str, str] | None:
    schema = {"type": "object", "additionalProperties": False, "properties": dict(fields)}
    gap = unknown_part(schema, path)
    if gap is None:
        return None
    name, above = path[gap.index], ".".join([root, *path[: gap.index]])
    return f"{above!r} has no field {name!r}", did_you_mean(name, gap.known) if gap.known else "leave it out"
