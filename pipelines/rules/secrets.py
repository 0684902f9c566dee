"""
Secrets stay out of the file: references where they belong, and nowhere a key in clear.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from penstock.secrets import SecretRef, SecretRefs
from penstock.secrets.references import malformed
from pipelines.declaration import Hub
from pipelines.findings import Finding
from pipelines.places import Keys
from pipelines.rules.registry import rule
from pipelines.survey import Survey

_LOOKS_LIKE = re.compile(
    r"\b(?:sk-(?:ant-)?[\w-]{16,}|xox[abeprs]-[\w-]{10,}|gh[opsur]_\w{20,}|github_pat_\w{20,}|glpat-[\w-]{16,}"
    r"|AKIA[A-Z0-9]{16}|AIza[\w-]{30,}|eyJ[\w-]{10,}\.[\w-]{10,}\.[\w-]{10,}|whsec_[\w+/=]{16,})"
    r"|-----BEGIN [A-Z ]*PRIVATE KEY"
    r"|://[^/\s:@]+:[^/\s@$]{3,}@"
)
"""Keys of well-known systems, and passwords in URLs."""
_PLACES: set[Keys] = {
    ("hub", "ledger"),
    ("hub", "bus", "kafka"),
    ("hub", "bus", "member"),
    ("hub", "alerts", "url"),
    ("hub", "otel", "url"),
}
"""Where a reference may stand, and a value as well."""
_BUS_SECRETS = ("password", "token", "client_secret")
"""Of `hub.bus.security`."""
_HINT = "write a reference, ${env:NAME} or ${file:/path}, and keep the secret out of this file"


def in_clear(survey: Survey) -> set[str]:
    """
    Return every literal that stands where a secret belongs, or looks like one, so that no output shows it.
    """
    found = {text for _, text in _literals(survey)} | set(_misplaced(survey))
    return found | {match[0] for _, text in _texts((), survey.data) for match in _LOOKS_LIKE.finditer(text)}


@rule("secrets/clear")
def clear(survey: Survey) -> Iterator[Finding]:
    """
    A secret setting is a reference, or two.
    """
    for keys, value in _secret_values(survey):
        if isinstance(value, list) and not 1 <= len(value) <= 2:
            yield survey.error(keys, f"{keys[-1]!r} is one reference or two", "write [new, old]")
            continue
        several = isinstance(value, list)
        for number, text in enumerate(value if several else [value]):
            below = (*keys, number) if several else keys
            if malformed(text) is None and not _is_reference(text):
                yield survey.error(below, f"{keys[-1]!r} is a secret, and stands here in clear", _hint(text))


@rule("secrets/malformed")
def unreadable(survey: Survey) -> Iterator[Finding]:
    """
    A reference is written as its kind asks for.
    """
    allowed = _allowed(survey)
    for keys, text in _texts((), survey.data):
        if (form := malformed(text)) and (keys in allowed or keys[:-1] in allowed):
            name = keys[-1] if keys in allowed else keys[-2]
            yield survey.error(keys, f"the reference in {name!r} cannot be read", form)


def _hint(text: object) -> str:
    try:
        SecretRef.parse(text)
    except ValueError as error:
        if "has no default" in str(error):
            return "a reference has no default: write ${env:NAME}"
    return _HINT


def _is_reference(text: object) -> bool:
    try:
        SecretRefs.parse(text)
    except ValueError:
        return False
    return True


def _literals(survey: Survey) -> Iterator[tuple[Keys, str]]:
    for keys, value in _secret_values(survey):
        for text in value if isinstance(value, list) else [value]:
            if not _is_reference(text) and len(str(text)) > 3:
                yield keys, str(text)


def _misplaced(survey: Survey) -> Iterator[str]:
    """
    Yield the texts of settings nobody knows: the name of a secret may be misspelt.
    """
    for name, connection in survey.declaration.connections.items():
        fields = (survey.settings(name) or {}).get("properties", {})
        for _, text in _texts((), {key: value for key, value in connection.settings.items() if key not in fields}):
            if not _is_reference(text) and len(text) > 3:
                yield text


def _secret_values(survey: Survey) -> Iterator[tuple[Keys, Any]]:
    for name, connection in survey.declaration.connections.items():
        fields = (survey.settings(name) or {}).get("properties", {})
        for setting, value in connection.settings.items():
            if fields.get(setting, {}).get("x-secret"):
                yield ("connections", name, setting), value
    for name, model in survey.declaration.models.items():
        if model.key is not None:
            yield ("models", name, "key"), model.key
    yield from _secrets_of_the_hub(survey.declaration.hub)


def _secrets_of_the_hub(hub: Hub) -> Iterator[tuple[Keys, Any]]:
    if hub.alerts is not None:
        yield ("hub", "alerts", "secret"), hub.alerts.secret
    if hub.otel is not None:
        yield from ((("hub", "otel", "headers", name), value) for name, value in hub.otel.headers.items())
    bus = hub.bus
    security = bus.security if bus is not None else None
    for name in _BUS_SECRETS:
        if (value := getattr(security, name, None)) is not None:
            yield ("hub", "bus", "security", name), value


@rule("secrets/literal")
def literals(survey: Survey) -> Iterator[Finding]:
    """
    Nowhere stands a text that looks like a key.
    """
    known = {keys for keys, _ in _secret_values(survey)}
    for keys, text in _texts((), survey.data):
        if _LOOKS_LIKE.search(text) and keys not in known and keys[:-1] not in known:
            yield survey.error(keys, "this looks like a secret in clear", _HINT)


@rule("secrets/reference")
def references(survey: Survey) -> Iterator[Finding]:
    """
    References stand only where secrets do.
    """
    allowed = _allowed(survey)
    unclear = {name for name, connection in survey.declaration.connections.items() if survey.spec(name) is None}
    for keys, text in _texts((), survey.data):
        if "${" not in text or keys in allowed or keys[:-1] in allowed:
            continue
        if keys[0] == "models" and keys[2:3] == ("key",):
            continue  # of a model that is wrong elsewhere
        if keys[0] == "connections" and (len(keys) < 3 or keys[1] in unclear or not _known(survey, keys)):
            continue
        yield survey.error(
            keys, f"a reference cannot stand in {keys[-1]!r}", "references are for secrets; write the value"
        )


def _allowed(survey: Survey) -> set[Keys]:
    return {keys for keys, _ in _secret_values(survey)} | _PLACES


def _known(survey: Survey, keys: Keys) -> bool:
    return keys[2] in (survey.settings(str(keys[1])) or {}).get("properties", {})


@rule("secrets/unset")
def unset(survey: Survey) -> Iterator[Finding]:
    """
    Note which references lead to nothing here.
    """
    allowed = _allowed(survey)
    for keys, text in _texts((), survey.data):
        if keys not in allowed and keys[:-1] not in allowed:
            continue
        try:
            ref = SecretRef.parse(text)
        except ValueError:
            continue
        hint = (
            "it is needed while the old secret is in use"
            if isinstance(keys[-1], int) and keys[-1]
            else "`run` needs it"
        )
        if ref.source == "env" and not survey.environ.get(ref.name):
            yield survey.note(keys, f"the environment variable {ref.name!r} is not set", hint)
        elif ref.source == "file" and not Path(ref.name).is_file():
            yield survey.note(keys, f"there is no file {ref.name!r}", hint)


def _texts(keys: Keys, part: Any) -> Iterator[tuple[Keys, str]]:
    if isinstance(part, Mapping):
        for name, below in part.items():
            yield from _texts((*keys, str(name)), below)
    elif isinstance(part, list):
        for number, below in enumerate(part):
            yield from _texts((*keys, number), below)
    elif isinstance(part, str):
        yield keys, part
