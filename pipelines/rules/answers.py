"""
The schema of an answer is a file, a JSON Schema, and a closed object.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ai.output import OutputSchema
from penstock.errors import Invalid
from pipelines.findings import Finding
from pipelines.places import Keys
from pipelines.rules.registry import rule
from pipelines.schema_paths import kinds, part_at
from pipelines.suggestions import did_you_mean
from pipelines.survey import Survey


def _used(survey: Survey) -> Iterator[tuple[Keys, str, Path]]:
    for keys, pipeline in survey.pipelines:
        yield (*keys, "ask", "output"), pipeline.ask.output, survey.schemas_folder / pipeline.ask.output


@rule("answers/missing")
def missing(survey: Survey) -> Iterator[Finding]:
    """
    Every answer schema is a file in `schemas/`.
    """
    for keys, name, path in _used(survey):
        if not path.resolve().is_relative_to(survey.schemas_folder.resolve()) or not path.is_file():
            near = name.removeprefix("schemas/")
            hint = f"write {near!r}" if near in survey.known_schemas else did_you_mean(name, survey.known_schemas)
            yield survey.error(keys, f"there is no schema {name!r} in 'schemas'", hint)


@rule("answers/json")
def valid_json(survey: Survey) -> Iterator[Finding]:
    """
    Every answer schema is a JSON object.
    """
    for _, _, path in _used(survey):
        if not path.is_file():
            continue
        try:
            found = json.loads(path.read_bytes())
        except json.JSONDecodeError as error:
            yield survey.in_file(path, error.lineno, f"is not JSON: {error.msg.lower()}", column=error.colno)
        except (UnicodeDecodeError, RecursionError, OSError):
            yield survey.in_file(path, 1, "is not JSON in UTF-8")
        else:
            if not isinstance(found, dict):
                yield survey.in_file(path, 1, "is not a JSON object", "an answer schema begins with {")


@rule("answers/schema")
def valid_schema(survey: Survey) -> Iterator[Finding]:
    """
    Every answer schema is a JSON Schema.
    """
    for _, name, path in _used(survey):
        schema = survey.answer(name)
        if schema is None:
            continue
        try:
            OutputSchema(name=name, schema=schema).validate({})
        except Invalid as error:
            message = str(error).partition(": ")[2].partition(" (")[0]
            yield survey.in_file(path, 1, f"is not a JSON Schema: {message}")


@rule("answers/object")
def closed_object(survey: Survey) -> Iterator[Finding]:
    """
    An answer is an object with declared fields and no others, as providers' strict modes need it.
    """
    for _, name, path in _used(survey):
        schema = survey.answer(name)
        if schema is None:
            continue
        if schema.get("type") != "object" or not isinstance(schema.get("properties"), dict):
            yield survey.in_file(path, 1, "an answer is an object with properties", 'write "type": "object"')
        elif schema.get("additionalProperties") is not False:
            yield survey.in_file(path, 1, "an answer has declared fields only", 'add "additionalProperties": false')


@rule("answers/confidence")
def confidence(survey: Survey) -> Iterator[Finding]:
    """
    `min_confidence` needs a number `confidence` in the answer.
    """
    for keys, pipeline in survey.pipelines:
        schema = survey.answer(pipeline.ask.output)
        for number, deliver in enumerate(pipeline.deliver):
            for field, written in (deliver.set or {}).items():
                if written.min_confidence is not None and schema is not None and not _has_confidence(schema):
                    below = (*keys, "deliver", number, "set", field, "min_confidence")
                    message = f"the answer {pipeline.ask.output!r} has no number 'confidence'"
                    yield survey.error_at_key(below, message, "add it to the schema's properties")


def _has_confidence(schema: Any) -> bool:
    return bool(kinds(part_at(schema, ["confidence"])) & {"number", "integer"})
