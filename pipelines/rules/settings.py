"""
A connection has the settings its connector asks for.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from pipelines.findings import Finding
from pipelines.places import Keys
from pipelines.rules.registry import rule
from pipelines.suggestions import did_you_mean
from pipelines.survey import Survey


@rule("settings/unknown")
def unknown(survey: Survey) -> Iterator[Finding]:
    """
    No setting the connector does not have.
    """
    for keys, given, fields, _ in _connections(survey):
        for name in given:
            if name not in fields:
                message = f"{_connector(survey, keys)!r} has no setting {name!r}"
                yield survey.error_at_key((*keys, name), message, did_you_mean(name, fields))


@rule("settings/missing")
def missing(survey: Survey) -> Iterator[Finding]:
    """
    Every setting without a default is given.
    """
    for keys, given, fields, required in _connections(survey):
        slips = {str(did_you_mean(name, fields)) for name in given if name not in fields}
        absent = [name for name in required if name not in given and f"did you mean {name!r}?" not in slips]
        if absent:
            listed = ", ".join(map(repr, absent))
            words = f"the settings {listed} are" if len(absent) > 1 else f"the setting {listed} is"
            yield survey.error_at_key(keys, f"{words} missing in {keys[-1]!r}", fields[absent[0]].get("description"))


@rule("settings/value")
def values(survey: Survey) -> Iterator[Finding]:
    """
    Plain settings look the way the connector needs them.
    """
    import jsonschema_rs  # slow to import, and not needed to load a file

    for keys, given, fields, _ in _connections(survey):
        said = set()
        for name, value in given.items():
            field = fields.get(name)
            if field is None or field.get("x-secret") or (isinstance(value, str) and "${" in value):
                continue  # secrets and references have rules of their own
            if field.get("type") != "string":
                said.add(name)
                yield from _misshapen(survey, (*keys, name), field, value)
                continue
            if not isinstance(value, str):
                said.add(name)
                yield survey.error((*keys, name), f"{name!r} is text, not {value!r}", "put it in quotes")
            elif not jsonschema_rs.is_valid(dict(field), value):
                said.add(name)
                yield survey.error((*keys, name), f"{name!r} cannot be {value!r}", _wanted(field))
        if (error := survey.misshapen.get(str(keys[1]))) is not None and error.keys[0] in set(given) - said:
            yield survey.error((*keys, *error.keys), error.said, error.hint)


def _misshapen(survey: Survey, keys: Keys, field: Mapping[str, Any], value: Any) -> Iterator[Finding]:
    """
    A setting that is data has the shape its connector says, and the connector can read it.
    """
    import jsonschema_rs

    connection, name = str(keys[1]), keys[2]
    found = sorted(jsonschema_rs.validator_for(dict(field)).iter_errors(value), key=lambda one: -len(one.instance_path))
    if found:
        yield survey.error((*keys, *found[0].instance_path), str(found[0]).splitlines()[0], field.get("description"))
    elif (error := survey.misshapen.get(connection)) is not None and error.keys[0] == name:
        yield survey.error((*keys[:2], *error.keys), error.said, error.hint)


def _wanted(field: Mapping[str, Any]) -> str:
    example = next(iter(field.get("examples", ())), None)
    words = str(field.get("description", "")).rstrip(".")
    return f"{words}, for example {example!r}" if example else f"{words}: it must match {field.get('pattern')}"


def _connections(survey: Survey) -> Iterator[tuple[Keys, dict[str, Any], Mapping[str, Any], list[str]]]:
    for name, connection in survey.declaration.connections.items():
        schema = survey.settings(name)
        if schema is not None:
            fields = schema.get("properties", {})
            yield ("connections", name), connection.settings, fields, list(schema.get("required", ()))


def _connector(survey: Survey, keys: Keys) -> str:
    return survey.declaration.connections[str(keys[1])].connector
